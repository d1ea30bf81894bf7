"""What counts as a clear answer: from a server that says exactly what HAProxy or hasty would."""

import asyncio
import json

import pytest

from hasty.chaos.answers import Client, count
from hasty.chaos.load import Load
from hasty.clock import SystemClock


def http(status: str, body: str, length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {length or len(body)}\r\n\r\n{body}".encode()


def ours(status: str, message) -> bytes:
    return http(status, json.dumps({"message": message}))


class Says:
    """A server with one answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def _serve(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._answer)
        writer.close()

    async def __aenter__(self) -> Client:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return Client(self._server.sockets[0].getsockname()[1], SystemClock())

    async def __aexit__(self, *_) -> None:
        self._server.close()
        await self._server.wait_closed()


async def test_a_201_names_its_job():
    async with Says(ours("201 Created", {"job_id": "j"})) as client:
        answer = await client.post("o")
    assert (answer.accepted, answer.clear, answer.job_id, answer.object_id) == (True, True, "j", "o")
    assert answer.sent_at <= answer.received_at


async def test_a_refusal_is_clear():
    async with Says(ours("400 Bad Request", "you need to wait")) as client:
        answer = await client.post("o")
    assert (answer.accepted, answer.refused, answer.clear) == (False, True, True)


async def test_a_job_is_shown():
    async with Says(ours("200 OK", {"status": "finished"})) as client:
        answer = await client.get("o", "j")
    assert (answer.shown, answer.clear, answer.job_id) == (True, True, "j")


@pytest.mark.parametrize(
    "said",
    [
        ours("503 Service Unavailable", "MongoDB gave no clear answer"),
        ours("500 Internal Server Error", "something went wrong"),
        http("404 Not Found", "Path '/' not found"),
        http("400 Bad Request", "<html>of HAProxy</html>"),
        http("500 Internal Server Error", "Internal Server Error"),
        http("201 Created", '{"message": {"job_', 40),
        b"HTTP/1.1 20",
        b"",
    ],
    ids=lambda said: said[:30].decode(),
)
async def test_all_else_is_not_clear(said):
    async with Says(said) as client:
        assert not (await client.post("o")).clear
        assert not (await client.get("o", "j")).clear


async def test_nobody_there_is_not_clear(unused_port):
    answer = await Client(unused_port, SystemClock()).post("o")
    assert (answer.clear, answer.reply.status) == (False, None)


@pytest.fixture
async def unused_port():
    async with Says(b"") as client:
        pass
    return client._port


async def test_a_load_names_objects_again_and_asks_about_jobs():
    stop, posted = asyncio.Event(), []

    def seen():
        posted[:] = [answer.object_id for answer in load.answers if answer.method == "POST"]
        return len(set(posted)) < len(posted) and any(answer.method == "GET" for answer in load.answers)

    async with Says(ours("201 Created", {"job_id": "j", "status": "processing"})) as client:
        load = Load(client, rate=500, seed=1, window_s=1)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(stop))
            while not seen():  # noqa: ASYNC110  it is in another task
                await asyncio.sleep(0.01)
            stop.set()
    assert all(name.startswith(load.prefix) for name in posted)


async def test_answers_are_counted_by_what_a_client_knows():
    async with Says(http("404 Not Found", "nothing here")) as client:
        answers = [await client.post("o")]
    async with Says(ours("201 Created", {"job_id": "j"})) as client:
        answers += [await client.post("o"), await client.post("p")]
    assert count(answers) == {"accepted": 2, "refused": 0, "no clear answer": 1}
