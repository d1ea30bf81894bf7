"""Posting to URLs that clients named: over real sockets, to receivers that are slow, broken or hostile."""

import asyncio
import contextlib
import gc
import gzip
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc

import httpx
import pytest

from hasty.outgoing import sender as sending
from hasty.outgoing.addresses import Allowed
from hasty.outgoing.names import Resolver, look_up
from hasty.outgoing.sender import NO_ADDRESS, Reply, Sender
from tests.unit.examples import virtually

PUBLIC = "93.184.216.34"
LOCAL = "127.0.0.1"

#: What ends by itself within a second ends within this, however busy the machine is; what does not, never.
SOON_S = 25
NEVER_S = 600


# Real receivers --------------------------------------------------------------------------------


class Receiver:
    """A server that notes what comes, and answers as it is told to."""

    def __init__(self, answer):
        self._answer = answer if callable(answer) else lambda _reader, writer: self._say(writer, answer)
        self.requests, self._answering = [], set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, LOCAL, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{LOCAL}:{self.port}/hook?a=b"
        return self

    async def __aexit__(self, *_error):
        self._server.close()
        for task in self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering)

    async def _serve(self, reader, writer):
        # Apart, so that it can be ended: the task of a connection must not be.
        task = asyncio.ensure_future(self._take(reader, writer))
        self._answering.add(task)
        await asyncio.wait([task])
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()
        self._answering.discard(task)

    async def _take(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            self.requests.append((head.decode(), await reader.readexactly(length)))
            await self._answer(reader, writer)

    async def _say(self, writer, answer):
        writer.write(answer)
        await writer.drain()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def a_sender(*allowed, timeout_s=30.0, **parts):
    return Sender(Allowed(allowed or (LOCAL,)), timeout_s=timeout_s, **parts)


async def post(receiver, sender=None, body=b'{"a": 1}'):
    sender = sender or a_sender()
    try:
        return await sender.post(receiver.url, {"webhook-id": "msg_1"}, body)
    finally:
        await sender.close()


async def test_what_is_posted_arrives_as_it_is():
    async with Receiver(OK) as receiver:
        assert await post(receiver) == Reply(200)
        ((head, body),) = receiver.requests
    first, *headers = head.strip().split("\r\n")
    assert (first, body) == ("POST /hook?a=b HTTP/1.1", b'{"a": 1}')
    assert {name.lower(): value for name, _, value in (header.partition(": ") for header in headers)} == {
        "host": f"{LOCAL}:{receiver.port}",
        "user-agent": "hasty",
        "content-type": "application/json",
        "content-length": "8",
        "connection": "close",
        "webhook-id": "msg_1",
    }


@pytest.mark.parametrize("code", [201, 400, 404, 410, 429, 500, 503])
async def test_whatever_a_receiver_answers_is_told(code):
    async with Receiver(f"HTTP/1.1 {code} X\r\nRetry-After: 7\r\n\r\n".encode()) as receiver:
        assert await post(receiver) == Reply(code, None, "7")


async def test_this_machine_is_not_called_unless_it_is_allowed():
    async with Receiver(OK) as receiver:
        sender = Sender(Allowed(), timeout_s=5)
        for host in (LOCAL, "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"):
            url = f"http://{host}:{receiver.port}/"
            assert await sender.post(url, {}, b"") == Reply(error=NO_ADDRESS)
        await sender.close()
        assert receiver.requests == []


async def test_nobody_is_led_on_by_a_redirect():
    async with Receiver(OK) as inside:
        answer = f"HTTP/1.1 307 X\r\nLocation: {inside.url}\r\nContent-Length: 0\r\n\r\n"
        async with Receiver(answer.encode()) as receiver:
            assert await post(receiver) == Reply(307, "a redirect is not followed")
        assert inside.requests == []


async def test_a_receiver_that_is_down():
    async with Receiver(OK) as receiver:
        pass
    assert await post(receiver) == Reply(error="no connection")


async def never(_reader, _writer):
    await asyncio.sleep(NEVER_S)


async def drip(_reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def go_on_and_on(_reader, writer):
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("answer", [never, drip, go_on_and_on])
async def test_a_receiver_that_does_not_come_to_the_point_is_left(answer):
    async with Receiver(answer) as receiver:
        began = time.monotonic()
        assert await post(receiver, a_sender(timeout_s=0.3)) == Reply(error="no answer within 0.3 s")
        assert time.monotonic() - began < SOON_S


async def test_a_receiver_that_takes_nothing_is_left():
    taken = asyncio.Event()

    async def stand_still(reader, writer):
        reader._transport.pause_reading()
        await taken.wait()
        writer.close()

    server = await asyncio.start_server(stand_still, LOCAL, 0)
    url = f"http://{LOCAL}:{server.sockets[0].getsockname()[1]}/"
    sender = a_sender(timeout_s=0.3)
    assert await sender.post(url, {}, b"x" * 20_000_000) == Reply(error="no answer within 0.3 s")
    taken.set()
    await sender.close()
    server.close()


async def test_of_an_answer_without_an_end_only_the_beginning_is_read():
    written = 0

    async def flood(_reader, writer):
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            written += 65_536
            await writer.drain()

    async with Receiver(flood) as receiver:
        began = time.monotonic()
        assert await post(receiver) == Reply(200)
        assert time.monotonic() - began < SOON_S
        # What the kernel takes off the receiver's hands is not ours.
        assert written < 16_000_000


async def test_a_receiver_that_never_ends_its_answer_has_taken_the_message(monkeypatch):
    monkeypatch.setattr(sending, "_READ_WITHIN_S", 0.1)

    async def hesitate(_reader, writer):
        writer.write(b"HTTP/1.1 202 OK\r\nContent-Length: 10\r\n\r\nx")
        await writer.drain()
        await asyncio.sleep(NEVER_S)

    async with Receiver(hesitate) as receiver:
        began = time.monotonic()
        assert await post(receiver, a_sender(timeout_s=NEVER_S)) == Reply(202)
        assert time.monotonic() - began < SOON_S


class Endless(httpx.AsyncByteStream):
    """Never says another word, nor lets itself be closed."""

    async def __aiter__(self):
        await asyncio.sleep(NEVER_S)
        yield b""

    async def aclose(self):
        await asyncio.sleep(NEVER_S)


class At(Resolver):
    """Knows one address, and needs no thread to say so: in virtual time there is none."""

    async def addresses(self, _host):
        return (PUBLIC,)


@virtually
async def test_once_the_status_is_there_the_timeout_no_longer_counts():
    async def answer(_request):
        await asyncio.sleep(0.4)
        return httpx.Response(202, stream=Endless())

    wire = httpx.MockTransport(answer)
    sender = Sender(Allowed(), timeout_s=0.5, resolver=At(), transport=wire)
    assert await sender.post("http://hooks.example/", {}, b"") == Reply(202)
    assert asyncio.get_running_loop().time() == pytest.approx(0.4 + 2 * sending._READ_WITHIN_S)
    await sender.close()


BROKEN = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
    "half a line": b"HTTP/1.1 20",
    "zeros": bytes(200_000),
    "headers without an end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    "a line without an end": b"HTTP/1.1 200 " + b"x" * 1_000_000,
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_answer_is_told_as_such(answer):
    async with Receiver(answer) as receiver:
        reply = await post(receiver)
    assert reply.status_code is None
    assert reply.error in {"the answer was not HTTP", "the connection broke"}


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 100\r\n\r\nx",
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
        b"Transfer-Encoding: chunked\r\n\r\nno chunk at all\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_after_the_status_nothing_matters(rest):
    async with Receiver(b"HTTP/1.1 200 OK\r\n" + rest) as receiver:
        reply = await post(receiver)
    # Where the head itself contradicts itself, it is no answer.
    assert reply in {Reply(200), Reply(error="the answer was not HTTP")}
    assert (reply.error is None) is (b"Length: 5" not in rest)


async def test_what_is_packed_small_stays_small():
    packed = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    async with Receiver(head.encode() + packed) as receiver:
        tracemalloc.start()
        assert await post(receiver) == Reply(200)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 5_000_000


async def test_nothing_is_kept_from_one_call_to_the_next():
    async with Receiver(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n") as receiver:
        sender = a_sender()
        for _ in range(2):
            assert await sender.post(receiver.url, {}, b"") == Reply(200)
        await sender.close()
        assert "cookie" not in receiver.requests[1][0].lower()


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    async with Receiver(OK) as proxy, Receiver(OK) as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{LOCAL}:{proxy.port}")
        assert await post(receiver) == Reply(200)
        assert (len(receiver.requests), len(proxy.requests)) == (1, 0)


# Names -----------------------------------------------------------------------------------------


class Names(Resolver):
    """Answers from a list, one after the other; the last again and again."""

    def __init__(self, *answers):
        super().__init__(self._answer)
        self.answers, self.asked = list(answers), []

    def _answer(self, host):
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return tuple(answer)


class Wire(httpx.AsyncBaseTransport):
    """Notes what would be sent to where."""

    def __init__(self, *failing):
        self.requests, self.failing = [], failing

    async def handle_async_request(self, request):
        self.requests.append(request)
        if request.url.host in self.failing:
            raise httpx.ConnectError("failed")
        return httpx.Response(200, stream=httpx.ByteStream(b""))

    @property
    def addresses(self):
        return [request.url.host for request in self.requests]


async def test_the_address_that_was_checked_is_the_one_that_is_called():
    """A name that has another address each time it is asked for is asked for once."""
    names, wire = Names([PUBLIC], [LOCAL]), Wire()
    sender = Sender(Allowed(), timeout_s=5, resolver=names, transport=wire)
    assert await sender.post("https://Hooks.example:8443/x?y", {}, b"") == Reply(200)
    (request,) = wire.requests
    assert names.asked == ["hooks.example"]
    assert str(request.url) == f"https://{PUBLIC}:8443/x?y"
    assert request.headers["host"] == "hooks.example:8443"
    assert request.extensions["sni_hostname"] == "hooks.example"
    # And for the next call again.
    assert await sender.post("https://hooks.example:8443/x?y", {}, b"") == Reply(error=NO_ADDRESS)
    assert (len(wire.requests), len(names.asked)) == (1, 2)
    await sender.close()


async def test_of_several_addresses_those_that_may_be_called_are_tried():
    others = ["93.184.216.35", "2606:4700::1111"]
    names, wire = Names(["10.0.0.1", PUBLIC, LOCAL, *others]), Wire(PUBLIC, "93.184.216.35")
    sender = Sender(Allowed(), timeout_s=6, resolver=names, transport=wire)
    assert await sender.post("http://hooks.example/", {}, b"") == Reply(200)
    assert wire.addresses == [PUBLIC, *others]
    # Each leaves time for those that follow.
    assert [request.extensions["timeout"]["connect"] for request in wire.requests] == [2, 3, 6]
    await sender.close()


async def test_of_very_many_addresses_a_few_are_tried():
    many = [f"93.184.216.{n}" for n in range(200)]
    wire = Wire(*many)
    sender = Sender(Allowed(), timeout_s=5, resolver=Names(many), transport=wire)
    assert await sender.post("http://hooks.example/", {}, b"") == Reply(error="no connection")
    assert wire.addresses == many[:4]
    await sender.close()


async def test_a_real_connection_goes_on_to_the_next_address():
    async with Receiver(OK) as receiver:
        sender = a_sender("127.0.0.0/8", resolver=Names(["127.0.0.99", LOCAL]))
        assert await sender.post(f"http://hooks.example:{receiver.port}/", {}, b"") == Reply(200)
        assert f"host: hooks.example:{receiver.port}\r\n" in receiver.requests[0][0].lower()
        await sender.close()


@pytest.mark.parametrize(
    "answer", [OSError("no such host"), UnicodeError(), [], ["10.0.0.1"], [LOCAL, "::1"]]
)
async def test_what_is_not_there_and_what_is_inside_are_not_told_apart(answer):
    sender = Sender(Allowed(), timeout_s=5, resolver=Names(answer), transport=Wire())
    assert await sender.post("http://inside.example/", {}, b"") == Reply(error=NO_ADDRESS)
    await sender.close()


async def test_a_url_that_should_never_have_come_this_far():
    wire = Wire()
    sender = Sender(Allowed(), timeout_s=5, resolver=Names([PUBLIC]), transport=wire)
    for url in ("", "no url", "http://", "ftp://hooks.example/", "http://\ud800/", "http://[::1"):
        assert await sender.post(url, {}, b"") == Reply(error="the URL cannot be called")
    assert wire.requests == []
    await sender.close()


class Hanging(Resolver):
    """Finds every host but those whose name says that it hangs: those when it is released."""

    def __init__(self):
        super().__init__(self._find)
        self.asked, self.released = [], threading.Event()

    def _find(self, host):
        self.asked.append(host)
        if host.startswith("hangs"):
            self.released.wait(NEVER_S)
        return (PUBLIC,)

    async def has_asked(self, times):
        """Wait until the threads have begun; return for whom they ask."""
        async with asyncio.timeout(SOON_S):
            while len(self.asked) < times:  # noqa: ASYNC110  it happens in other threads
                await asyncio.sleep(0.01)
        return sorted(self.asked)


@contextlib.asynccontextmanager
async def hanging():
    """Yield who looks names up, a sender that soon gives up, and one that has time."""
    names = Hanging()
    hurried, patient = (
        Sender(Allowed(), timeout_s=timeout_s, resolver=names, transport=Wire()) for timeout_s in (0.2, 60)
    )
    try:
        yield names, hurried, patient
    finally:
        names.released.set()
        await hurried.close()
        await patient.close()


SLOW = Reply(error="no answer within 0.2 s")


async def test_a_name_server_that_does_not_answer_holds_up_its_own_names_alone():
    async with hanging() as (names, hurried, patient):
        replies = await asyncio.gather(*(hurried.post("http://hangs.example/", {}, b"") for _ in range(100)))
        assert set(replies) == {SLOW}
        assert await names.has_asked(1) == ["hangs.example"]
        assert await patient.post("http://answers.example/", {}, b"") == Reply(200)


async def test_an_answer_that_nobody_waits_for_any_more_is_not_missed(caplog):
    release, answered = threading.Event(), asyncio.Event()

    def lookup(_host):
        release.wait(30)
        raise OSError("no such host")

    resolver = Resolver(lookup)
    asked = asyncio.ensure_future(resolver.addresses("a.example"))
    await asyncio.sleep(0)
    resolver._pending["a.example"].add_done_callback(lambda _done: answered.set())
    asked.cancel()
    await asyncio.wait([asked])
    release.set()
    await answered.wait()
    del asked
    gc.collect()
    assert (caplog.messages, resolver._pending) == ([], {})
    resolver.close()


async def test_names_that_are_asked_for_together_share_the_answer_and_later_ones_do_not():
    names = Names([PUBLIC], [LOCAL])
    assert set(await asyncio.gather(*(names.addresses("a.example") for _ in range(5)))) == {(PUBLIC,)}
    assert await names.addresses("a.example") == (LOCAL,)
    assert names.asked == ["a.example"] * 2
    assert names._pending == {}
    names.close()


async def test_however_many_names_hang_others_are_found_as_long_as_there_is_room_and_then_it_is_said():
    def hang(numbers):
        return asyncio.gather(*(hurried.post(f"http://hangs-{n}.example/", {}, b"") for n in numbers))

    async with hanging() as (names, hurried, patient):
        assert {*await hang(range(255))} == {SLOW}
        assert await patient.post("http://answers.example/", {}, b"") == Reply(200)
        full = Reply(error="too many names are being looked up")
        assert await hang(range(255, 258)) == [SLOW, full, full]
        # Whoever asks for one that hangs waits for that, and takes no room.
        assert {*await hang(range(9))} == {SLOW}
        hosts = sorted([*(f"hangs-{n}.example" for n in range(256)), "answers.example"])
        assert await names.has_asked(257) == hosts


def test_the_systems_own_names_are_looked_up():
    assert LOCAL in look_up("localhost")
    assert look_up("192.0.2.1") == ("192.0.2.1",)
    with pytest.raises(socket.gaierror):
        look_up("no-such-host.invalid")


# TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for `hooks.example`, which nobody has signed but itself, with its key."""
    file = tmp_path_factory.mktemp("tls") / "hooks.pem"
    made = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {file} -out {file}.crt"
    )
    about = "-days 2 -subj /CN=hooks.example -addext subjectAltName=DNS:hooks.example"
    subprocess.run(f"{made} {about}".split(), check=True, capture_output=True)
    return file, f"{file}.crt"


@pytest.fixture
async def tls_port(certificate):
    """Where a receiver speaks TLS."""
    key, signed = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(signed, key)

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, LOCAL, 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize(
    ("host", "trusted", "error"),
    [
        ("hooks.example", True, None),
        ("other.example", True, "TLS: Hostname mismatch, certificate is not valid for 'other.example'."),
        ("hooks.example", False, "TLS: self-signed certificate"),
    ],
)
async def test_the_certificate_must_be_for_the_name(certificate, tls_port, host, trusted, error):
    trust = ssl.create_default_context(cafile=certificate[1]) if trusted else None
    sender = a_sender(LOCAL, resolver=Names([LOCAL]), trust=trust)
    reply = await sender.post(f"https://{host}:{tls_port}/", {}, b"{}")
    assert reply == Reply(None if error else 200, error)
    await sender.close()


async def test_a_receiver_that_does_not_speak_tls():
    async def hail(_reader, writer):
        writer.write(b"220 mail.example ready\r\n")
        writer.close()

    server = await asyncio.start_server(hail, LOCAL, 0)
    sender = a_sender(resolver=Names([LOCAL]))
    reply = await sender.post(f"https://hooks.example:{server.sockets[0].getsockname()[1]}/", {}, b"{}")
    assert reply.status_code is None and reply.error.startswith("TLS: ")
    await sender.close()
    server.close()
