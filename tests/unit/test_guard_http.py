"""API keys at the edge: who comes in to which surface, for how long, and what nobody gets to see."""

import asyncio
import logging
import traceback
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import hasty.api.keyring
from hasty.api.bodies import BATCH_LIMIT, BODY_LIMIT, BODY_WITHIN_S
from hasty.api.guard import Gate, Guard, as_problem
from hasty.api.keyring import FRESH_S, GRACE_S, Keyring
from hasty.api.problems import CODES
from hasty.api.v1 import build_v1
from hasty.errors import Overloaded, StoreUnavailable
from hasty.keys import Scope, mint, parse, rotate
from hasty.store.memory import MemoryKeys
from hasty.testing import VirtualClock
from tests.unit.examples import VIRTUAL_BEGINNING, repeatable, virtually
from tests.unit.system import System

DAY = timedelta(days=1)
STALE_S = FRESH_S + 0.1
JOBS, POOLS = "/v1/jobs", "/v1/pools"


class Keys(MemoryKeys):
    """The reference store, which can be away or slow, and notes what it was asked."""

    def __init__(self):
        super().__init__()
        self.away, self.slow_s, self.asked = False, 0.0, []

    async def find(self, key_ids):
        self.asked.append(set(key_ids))
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if self.away:
            raise StoreUnavailable
        return await super().find(key_ids)

    def made(self, name="ci", scopes=(Scope.READ, Scope.WRITE), **changes):
        """Keep a key; return its record and its text."""
        key, text = mint(name, scopes, VIRTUAL_BEGINNING, **changes)
        self.keys[key.id] = key
        return key, text


class Guarded:
    """A hasty behind a gate."""

    def __init__(self, client, keys, gate, system):
        self.client, self.keys, self.gate, self.system = client, keys, gate, system

    async def ask(self, method, path, text=None, **more):
        headers = {"Authorization": f"Bearer {text}"} if text is not None else {}
        return await self.client.request(method, path, headers=headers | more.pop("headers", {}), **more)


@asynccontextmanager
async def guarded(rate_limit=None, **settings):
    system, keys = System(**settings), Keys()
    await system.serve()
    gate = Gate(keys, VirtualClock(asyncio.get_running_loop()), rate_limit)
    async with system.client(gate) as client:
        yield Guarded(client, keys, gate, system)
        await asyncio.sleep(1)


def is_refused(answer, status: int, code: str) -> None:
    """In the words of the surface that was asked."""
    assert answer.status_code == status == CODES[code][0]
    body = answer.json()
    if answer.request.url.path.startswith(("/v1", "/docs", "/openapi")):
        assert answer.headers["content-type"] == "application/problem+json"
        assert (body["status"], body["code"]) == (status, code)
    else:
        assert answer.headers["content-type"] == "application/json"
        assert list(body) == ["message"] and isinstance(body["message"], str)
    assert ("www-authenticate" in answer.headers) == (status == 401)


# Who comes in ---------------------------------------------------------------------------------

EVERYTHING = [
    ("POST", "/"),
    ("GET", "/some-job"),
    ("GET", "/healthz/"),
    ("GET", "//healthz"),
    ("GET", "/nothing/there"),
    ("POST", JOBS),
    ("POST", "/v1/jobs:batch"),
    ("GET", f"{JOBS}/some-job"),
    ("POST", f"{JOBS}/some-job/cancel"),
    ("GET", POOLS),
    ("PATCH", f"{POOLS}/default"),
    ("GET", "/v1"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("OPTIONS", JOBS),
    ("TRACE", "/"),
    ("BREW", JOBS),
]


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
@virtually
async def test_without_a_key_nothing_is_served(method, path):
    async with guarded() as hasty:
        answer = await hasty.ask(method, path)
        is_refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert hasty.keys.asked == [] and hasty.system.jobs.jobs == {}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("text", [None, "hasty_aaaaaaaaaa_" + "b" * 32])
@virtually
async def test_load_balancers_need_none(path, text):
    async with guarded() as hasty:
        hasty.keys.away = True
        assert (await hasty.ask("GET", path, text)).status_code == 200


@pytest.mark.parametrize(
    "text", ["", "x", "hasty_", "hasty_aaaaaaaaaa_short", "hasty_aaaaaaaaaa_" + "b" * 33, "ß" * 50]
)
@virtually
async def test_what_is_no_key_is_refused_without_asking_mongodb(text):
    async with guarded() as hasty:
        for path in (JOBS, "/some-job"):
            sent = {"Authorization": b"Bearer " + text.encode()}
            is_refused(await hasty.client.get(path, headers=sent), 401, "unauthorized")
        assert hasty.keys.asked == []


@virtually
async def test_two_keys_are_none():
    async with guarded() as hasty:
        _, text = hasty.keys.made()
        twice = [("Authorization", f"Bearer {text}")] * 2
        is_refused(await hasty.client.get(POOLS, headers=twice), 401, "unauthorized")


@virtually
async def test_with_a_key_both_surfaces_serve_as_ever():
    async with guarded() as hasty:
        _, text = hasty.keys.made()
        answer = await hasty.ask("POST", "/", text, json={"object_id": "a"})
        assert answer.status_code == 201
        job_id = answer.json()["message"]["job_id"]
        assert (await hasty.ask("GET", f"/{job_id}", text)).status_code == 200
        answer = await hasty.ask("POST", JOBS, text, json={"object_id": "b"})
        assert answer.status_code == 201
        assert (await hasty.ask("GET", answer.headers["location"], text)).status_code == 200


@virtually
async def test_what_a_key_is_refused_for_is_told_to_who_has_its_secret():
    async with guarded() as hasty:
        key, text = hasty.keys.made(lifetime=timedelta(seconds=60))
        wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
        for path in (POOLS, "/some-job"):
            assert "not known" in (await hasty.ask("GET", path, wrong)).text
        await asyncio.sleep(61)
        assert "has expired" in (await hasty.ask("GET", POOLS, text)).text
        assert "not known" in (await hasty.ask("GET", POOLS, wrong)).text
        hasty.keys.keys[key.id] = replace(key, revoked_at=VIRTUAL_BEGINNING)
        await asyncio.sleep(STALE_S)
        answer = await hasty.ask("GET", "/some-job", text)
        is_refused(answer, 401, "unauthorized")
        assert "was revoked" in answer.text


# What for -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/some-job", Scope.READ),
        ("HEAD", "/some-job", Scope.READ),
        ("GET", f"{JOBS}/some-job", Scope.READ),
        ("GET", JOBS, Scope.READ),
        ("GET", POOLS, Scope.READ),
        ("GET", "/docs", Scope.READ),
        ("GET", "/openapi.json", Scope.READ),
        ("OPTIONS", JOBS, Scope.READ),
        ("POST", "/", Scope.WRITE),
        ("POST", JOBS, Scope.WRITE),
        ("POST", "/v1/jobs:batch", Scope.WRITE),
        ("POST", f"{JOBS}/some-job/cancel", Scope.WRITE),
        ("POST", "/v1/schedules", Scope.WRITE),
        ("DELETE", "/v1/schedules/nightly", Scope.WRITE),
        ("PATCH", f"{POOLS}/default", Scope.ADMIN),
        # What is not foreseen takes the highest.
        ("POST", f"{POOLS}/default/drain", Scope.ADMIN),
        ("DELETE", f"{POOLS}/default", Scope.ADMIN),
        ("PUT", JOBS, Scope.ADMIN),
        ("PATCH", JOBS, Scope.ADMIN),
        ("get", JOBS, Scope.ADMIN),
        ("TRACE", "/", Scope.ADMIN),
    ],
)
@virtually
async def test_each_request_takes_one_scope(method, path, scope):
    async with guarded() as hasty:
        for has in Scope:
            _, text = hasty.keys.made(has, (has,))
            request = hasty.client.build_request(method, path, headers={"Authorization": f"Bearer {text}"})
            request.method = method
            answer = await hasty.client.send(request)
            if list(Scope).index(has) >= list(Scope).index(scope):
                assert answer.status_code not in {401, 403, 429}
                continue
            is_refused(answer, 403, "forbidden")
            assert f"the scope {scope}" in answer.text
            if path.startswith("/v1"):
                assert answer.json()["scope"] == scope


@virtually
async def test_a_refused_request_does_nothing_and_its_body_is_not_read():
    async with guarded() as hasty:
        _, text = hasty.keys.made("reader", (Scope.READ,))

        async def body():
            raise AssertionError("it was read")
            yield b""

        for sent in (text, None):
            for path in ("/", JOBS):
                answer = await hasty.ask("POST", path, sent, content=body())
                assert answer.status_code in {401, 403}
        assert hasty.system.jobs.jobs == {}


# What is passed on ----------------------------------------------------------------------------


@asynccontextmanager
async def around(app):
    """A client of an application behind a guard, and its keys."""
    keys = Keys()
    gate = Gate(keys, VirtualClock(asyncio.get_running_loop()))
    transport = httpx.ASGITransport(Guard(app, gate, as_problem))
    async with httpx.AsyncClient(transport=transport, base_url="http://hasty") as client:
        yield client, keys


@virtually
async def test_the_application_sees_which_key_it_is_and_nothing_of_its_secret():
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)
        await PlainTextResponse("ok")(scope, receive, send)

    async with around(app) as (client, keys):
        key, text = keys.made()
        sent = {"Authorization": f"Bearer {text}", "X-Other": "kept"}
        assert (await client.get("/", headers=sent)).text == "ok"
    assert seen["state"] == {"key_id": key.id}
    assert (b"x-other", b"kept") in seen["headers"]
    assert text.rpartition("_")[2] not in repr(seen)


@virtually
async def test_keys_keep_their_idempotency_keys_apart_and_rotation_keeps_them():
    async with guarded() as hasty:
        key, mine = hasty.keys.made("mine")
        _, yours = hasty.keys.made("yours")
        named = {"Idempotency-Key": "one"}
        body = {"object_id": "a"}
        first = await hasty.ask("POST", JOBS, mine, json=body, headers=named)
        rotated, new = rotate(key, VIRTUAL_BEGINNING, overlap=DAY)
        await hasty.keys.rotate(key, rotated, VIRTUAL_BEGINNING)
        await asyncio.sleep(STALE_S)
        again = await hasty.ask("POST", JOBS, new, json=body, headers=named)
        assert again.json()["id"] == first.json()["id"]
        other = await hasty.ask("POST", JOBS, yours, json={"object_id": "b"}, headers=named)
        assert other.status_code == 201 and other.json()["id"] != first.json()["id"]


@virtually
async def test_start_and_stop_pass_through_and_websockets_do_not():
    kinds, sent = [], []

    async def app(scope, _receive, _send):
        kinds.append(scope["type"])

    async def send(message):
        sent.append(message)

    guard = Guard(app, Gate(Keys(), VirtualClock(asyncio.get_running_loop())), as_problem, ["/open"])
    await guard({"type": "lifespan"}, None, send)
    await guard({"type": "websocket", "path": "/open", "headers": []}, None, send)
    assert kinds == ["lifespan"]
    assert [message["type"] for message in sent] == ["websocket.close"]


# How long a key is believed -------------------------------------------------------------------


@virtually
async def test_mongodb_is_asked_once_in_a_while():
    async with guarded() as hasty:
        key, text = hasty.keys.made()
        await asyncio.gather(*(hasty.ask("GET", POOLS, text) for _ in range(20)))
        await asyncio.sleep(FRESH_S - 0.1)
        await hasty.ask("GET", POOLS, text)
        assert hasty.keys.asked == [{key.id}]
        await asyncio.sleep(0.1)
        await asyncio.gather(*(hasty.ask("GET", POOLS, text) for _ in range(20)))
        assert hasty.keys.asked == [{key.id}] * 2


@virtually
async def test_what_is_revoked_is_so_after_a_moment():
    async with guarded() as hasty:
        _, text = hasty.keys.made()
        assert (await hasty.ask("GET", POOLS, text)).status_code == 200
        await hasty.keys.revoke("ci", VIRTUAL_BEGINNING)
        await asyncio.sleep(STALE_S)
        is_refused(await hasty.ask("GET", POOLS, text), 401, "unauthorized")


@virtually
async def test_what_expires_does_so_at_once_also_while_mongodb_is_away():
    async with guarded() as hasty:
        _, text = hasty.keys.made(lifetime=timedelta(seconds=100))
        assert (await hasty.ask("GET", POOLS, text)).status_code == 200
        hasty.keys.away = True
        await asyncio.sleep(99)
        assert (await hasty.ask("GET", POOLS, text)).status_code == 200
        await asyncio.sleep(1)
        is_refused(await hasty.ask("GET", POOLS, text), 401, "unauthorized")


@virtually
async def test_a_key_that_is_new_is_known_at_once():
    async with guarded() as hasty:
        await hasty.ask("GET", POOLS, hasty.keys.made("other")[1])
        assert (await hasty.ask("GET", POOLS, hasty.keys.made()[1])).status_code == 200


@virtually
async def test_while_mongodb_is_away_known_keys_are_good_for_a_while_and_others_are_told_to_come_back():
    async with guarded() as hasty:
        _, known = hasty.keys.made("known")
        _, stranger = hasty.keys.made("stranger")
        assert (await hasty.ask("GET", "/some-job", known)).status_code == 400
        hasty.keys.away = True
        for _ in range(10):
            await asyncio.sleep(GRACE_S / 10 - 0.1)
            assert (await hasty.ask("GET", POOLS, known)).status_code == 200
            for path in (POOLS, "/some-job"):
                answer = await hasty.ask("GET", path, stranger)
                is_refused(answer, 503, "store_unavailable")
                assert answer.headers["retry-after"] == "2"
        await asyncio.sleep(2)
        is_refused(await hasty.ask("GET", POOLS, known), 503, "store_unavailable")
        hasty.keys.away = False
        for text in (known, stranger):
            assert (await hasty.ask("GET", POOLS, text)).status_code == 200


@virtually
async def test_nobody_with_a_known_key_waits_long_for_a_mongodb_that_hangs(loop_time):
    async with guarded() as hasty:
        _, text = hasty.keys.made()
        await hasty.gate.recognise(parse(text))
        await asyncio.sleep(STALE_S)
        hasty.keys.slow_s = 60.0
        start = loop_time()
        await asyncio.gather(*(hasty.gate.recognise(parse(text)) for _ in range(50)))
        first = loop_time() - start
        for _ in range(50):
            await hasty.gate.recognise(parse(text))
        assert 0 < first <= 0.5 and loop_time() - start == first
        # It is asked by one at a time, who notices that it is back.
        assert len(hasty.keys.asked) == 2
        hasty.keys.slow_s = 0.0
        await asyncio.sleep(61)
        await hasty.gate.recognise(parse(text))
        await asyncio.sleep(0.1)
        asked = len(hasty.keys.asked)
        await hasty.keys.revoke("ci", VIRTUAL_BEGINNING)
        await asyncio.sleep(STALE_S)
        is_refused(await hasty.ask("GET", POOLS, text), 401, "unauthorized")
        assert asked < len(hasty.keys.asked)


@virtually
async def test_who_asks_meanwhile_piles_up_nothing():
    keys = Keys()
    ring = Keyring(keys, VirtualClock(asyncio.get_running_loop()))
    key, _ = keys.made()
    await ring.find(key.id)
    await asyncio.sleep(STALE_S)
    keys.slow_s = 1_000.0
    for _ in range(1_000):
        assert await ring.find(key.id) == key
    assert ring._familiar._size <= 1


@virtually
async def test_that_mongodb_is_back_is_noticed_by_the_next_who_asks():
    async with guarded() as hasty:
        _, text = hasty.keys.made()
        assert (await hasty.ask("GET", POOLS, text)).status_code == 200
        hasty.keys.away = True
        for _ in range(3):
            await asyncio.sleep(STALE_S)
            assert (await hasty.ask("GET", POOLS, text)).status_code == 200
        hasty.keys.away = False
        await hasty.keys.revoke("ci", VIRTUAL_BEGINNING)
        assert (await hasty.ask("GET", POOLS, text)).status_code == 200, "nobody waits for it"
        await asyncio.sleep(0.1)
        is_refused(await hasty.ask("GET", POOLS, text), 401, "unauthorized")


@virtually
async def test_a_stranger_waits_for_a_mongodb_that_hangs_no_longer_than_a_client_would(loop_time):
    async with guarded() as hasty:
        hasty.keys.slow_s = 60.0
        start = loop_time()
        is_refused(await hasty.ask("GET", POOLS, hasty.keys.made()[1]), 503, "store_unavailable")
        assert loop_time() - start <= 5.0


def small(monkeypatch):
    for name in ("_MOST_KNOWN", "_MOST_UNKNOWN"):
        monkeypatch.setattr(hasty.api.keyring, name, 5)


@virtually
async def test_ids_that_nobody_knows_fill_no_memory_and_push_out_no_key(monkeypatch):
    small(monkeypatch)
    keys = Keys()
    ring = Keyring(keys, VirtualClock(asyncio.get_running_loop()))
    good = [keys.made(str(number))[0] for number in range(5)]
    for key in good:
        assert await ring.find(key.id) == key
    for number in range(1_000):
        assert await ring.find(f"random-{number}") is None
    assert (len(ring._known), len(ring._unknown)) == (5, 5)
    asked = len(keys.asked)
    for key in good:
        assert await ring.find(key.id) == key
    assert await ring.find("random-999") is None
    assert len(keys.asked) == asked


@virtually
async def test_an_unknown_id_is_asked_for_once_in_a_while_and_may_come_to_be(monkeypatch):
    keys = Keys()
    ring = Keyring(keys, VirtualClock(asyncio.get_running_loop()))
    key, _ = mint("ci", (Scope.READ,), VIRTUAL_BEGINNING)
    assert [await ring.find(key.id) for _ in range(9)] == [None] * 9
    assert len(keys.asked) == 1
    keys.keys[key.id] = key
    await asyncio.sleep(STALE_S)
    assert await ring.find(key.id) == key
    del keys.keys[key.id]
    await asyncio.sleep(STALE_S)
    assert await ring.find(key.id) is None
    keys.away = True
    await asyncio.sleep(STALE_S)
    with pytest.raises(StoreUnavailable):
        await ring.find(key.id)


@virtually
async def test_more_keys_than_are_remembered_are_all_found(monkeypatch):
    small(monkeypatch)
    keys = Keys()
    ring = Keyring(keys, VirtualClock(asyncio.get_running_loop()))
    good = [keys.made(str(number))[0] for number in range(40)]
    for _ in range(3):
        assert await asyncio.gather(*(ring.find(key.id) for key in good)) == good
        await asyncio.sleep(STALE_S)
    assert len(ring._known) == 5


@virtually
async def test_many_who_try_ids_at_once_wait_in_a_bounded_queue_and_no_known_key_behind_them(loop_time):
    keys = Keys()
    ring = Keyring(keys, VirtualClock(asyncio.get_running_loop()))
    key, _ = keys.made()
    await ring.find(key.id)
    await asyncio.sleep(STALE_S)
    keys.slow_s = 0.2
    crowd = [asyncio.ensure_future(ring.find(f"random-{number}")) for number in range(5_000)]
    await asyncio.sleep(0)
    start = loop_time()
    assert await ring.find(key.id) == key
    assert loop_time() - start == pytest.approx(0.2)
    ends = await asyncio.gather(*crowd, return_exceptions=True)
    assert {type(end) for end in ends} == {type(None), Overloaded}
    assert ends.count(None) == 1_000
    assert len(keys.asked) < 10


# How often ------------------------------------------------------------------------------------


@virtually
async def test_who_asks_too_often_is_told_when_to_come_back_on_both_surfaces():
    async with guarded() as hasty:
        _, text = hasty.keys.made(rate=0.25)
        assert (await hasty.ask("GET", POOLS, text)).status_code == 200
        for path in (POOLS, "/some-job"):
            answer = await hasty.ask("GET", path, text)
            is_refused(answer, 429, "rate_limited")
            assert answer.headers["retry-after"] == "4"
        await asyncio.sleep(4)
        assert (await hasty.ask("GET", "/some-job", text)).status_code == 400


@virtually
async def test_a_key_without_a_rate_of_its_own_has_that_of_the_settings():
    async with guarded(rate_limit=1.0) as hasty:
        _, plain = hasty.keys.made("plain")
        _, quick = hasty.keys.made("quick", rate=100.0)
        codes = [(await hasty.ask("GET", POOLS, plain)).status_code for _ in range(4)]
        assert codes == [200, 200, 429, 429]
        assert {(await hasty.ask("GET", POOLS, quick)).status_code for _ in range(100)} == {200}


@virtually
async def test_what_a_key_may_not_counts_and_what_is_no_key_does_not():
    async with guarded() as hasty:
        _, text = hasty.keys.made("reader", (Scope.READ,), rate=0.5)
        wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
        for _ in range(20):
            is_refused(await hasty.ask("POST", JOBS, wrong), 401, "unauthorized")
        is_refused(await hasty.ask("POST", JOBS, text), 403, "forbidden")
        is_refused(await hasty.ask("POST", JOBS, text), 429, "rate_limited")


@virtually
async def test_without_a_gate_there_is_no_limit():
    system = System()
    await system.serve()
    async with system.client() as client:
        assert {(await client.get(POOLS)).status_code for _ in range(50)} == {200}


# Answers that go on ---------------------------------------------------------------------------


def streaming(end=60.0):
    """An application that sends a line every second, and notes how it ended."""
    notes = []

    async def lines():
        try:
            for second in range(round(end)):
                yield f"{second}\n"
                await asyncio.sleep(1)
            notes.append("done")
        except BaseException as error:
            notes.append(type(error).__name__)
            raise

    async def serve(_request):
        return StreamingResponse(lines())

    return Starlette(routes=[Route("/", serve)]), notes


@virtually
async def test_a_stream_goes_on_while_its_key_is_good():
    app, notes = streaming()
    async with around(app) as (client, keys):
        _, text = keys.made()
        answer = await client.get("/", headers={"Authorization": f"Bearer {text}"})
        assert len(answer.text.split()) == 60 and notes == ["done"]
        assert 10 <= len(keys.asked) <= 14


@pytest.mark.parametrize("how", ["revoked", "expired", "rotated"])
@virtually
async def test_a_stream_ends_soon_after_its_key_does(how, caplog, loop_time):
    app, notes = streaming()
    async with around(app) as (client, keys):
        key, text = keys.made(lifetime=timedelta(seconds=20 if how == "expired" else 900))

        async def end_the_key():
            await asyncio.sleep(20)
            if how == "revoked":
                await keys.revoke("ci", VIRTUAL_BEGINNING)
            if how == "rotated":
                rotated, _ = rotate(key, VIRTUAL_BEGINNING, overlap=timedelta(0))
                await keys.rotate(key, rotated, VIRTUAL_BEGINNING)

        asyncio.ensure_future(end_the_key())  # noqa: RUF006  the test outlives it
        answer = await client.get("/", headers={"Authorization": f"Bearer {text}"})
        assert 20 <= len(answer.text.split()) <= 20 + 2 * FRESH_S
        assert notes in (["CancelledError"], ["GeneratorExit"])
        assert loop_time() < 35
    assert not caplog.records


@virtually
async def test_an_application_that_listens_to_nobody_is_ended_as_well(loop_time):
    ended = []

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(1)
        finally:
            ended.append(loop_time())

    async with around(app) as (client, keys):
        _, text = keys.made(lifetime=timedelta(seconds=20))
        async with asyncio.timeout(60):
            answer = await client.get("/", headers={"Authorization": f"Bearer {text}"})
    assert len(answer.text) <= 20 + 2 * FRESH_S and ended[0] <= 20 + 2 * FRESH_S


@virtually
async def test_a_stream_goes_on_while_mongodb_is_away():
    app, notes = streaming(GRACE_S + 100)
    async with around(app) as (client, keys):
        _, text = keys.made()
        asyncio.get_running_loop().call_later(10, lambda: setattr(keys, "away", True))
        answer = await client.get("/", headers={"Authorization": f"Bearer {text}"})
        assert len(answer.text.split()) == GRACE_S + 100 and notes == ["done"]


@virtually
async def test_an_answer_that_was_waited_for_is_given_whole():
    """Of a key that ended meanwhile, too: its request was good."""

    async def app(scope, receive, send):
        await asyncio.sleep(60)
        await PlainTextResponse("what was waited for")(scope, receive, send)

    async with around(app) as (client, keys):
        _, text = keys.made(lifetime=timedelta(seconds=30))
        answer = await client.get("/", headers={"Authorization": f"Bearer {text}"})
        assert answer.text == "what was waited for"


@virtually
async def test_what_goes_wrong_behind_the_guard_is_not_taken_for_its_own():
    async def app(_scope, _receive, _send):
        raise TimeoutError("mine")

    async with around(app) as (client, keys):
        _, text = keys.made()
        with pytest.raises(TimeoutError, match="mine"):
            await client.get("/", headers={"Authorization": f"Bearer {text}"})


# What nobody gets to see ----------------------------------------------------------------------


class Everything(logging.Handler):
    """Keeps all that is logged, by whomever, with its traceback and whatever hangs on it."""

    def __init__(self):
        super().__init__(level=0)
        self.kept = []

    def emit(self, record):
        told = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        self.kept.append(f"{record.getMessage()} {vars(record)!r} {told}")


@contextmanager
def everything():
    """All that is logged meanwhile, whatever the levels."""
    handler, root = Everything(), logging.getLogger()
    before = root.level
    root.setLevel(1)
    root.addHandler(handler)
    try:
        yield handler.kept
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


@given(
    asked=st.sampled_from([*EVERYTHING, ("GET", "/healthz"), ("POST", "/readyz")]),
    body=st.sampled_from([b"", b"{", b'{"object_id": "a"}', b"\xff" * 50]),
    which=st.sampled_from(["good", "wrong", "expired", "revoked", "poor", "broken", "unknown"]),
    scheme=st.sampled_from(["Bearer ", "Basic ", ""]),
    trouble=st.sampled_from(["none", "away", "inside"]),
)
@settings(repeatable, max_examples=100)
def test_no_key_is_in_any_answer_log_or_error(asked, **kind):
    @virtually
    async def scenario():
        async with guarded() as hasty:
            await sees_no_secret(hasty, asked, **kind)

    scenario()


async def sees_no_secret(hasty, asked, *, body, which, scheme, trouble):
    method, path = asked
    scopes = (Scope.READ,) if which == "poor" else (Scope.ADMIN,)
    lifetime = timedelta(seconds=-1) if which == "expired" else None
    key, text = hasty.keys.made("ci", scopes, lifetime=lifetime)
    if which == "revoked":
        await hasty.keys.revoke("ci", VIRTUAL_BEGINNING)
    if which == "unknown":
        del hasty.keys.keys[key.id]
    hasty.keys.away = trouble == "away"
    if trouble == "inside":
        hasty.client._transport.app._seed._app = broken
        hasty.client._transport.app._v1._app = broken
    sent = {"wrong": text[:-1] + "_", "broken": text[:-1] + "ä"}.get(which, text)
    with everything() as logged:
        headers = {"Authorization": (scheme + sent).encode()}
        answer = await hasty.client.request(method, path, content=body, headers=headers)
    shown = f"{answer.status_code} {answer.headers!r} {answer.text} {logged}"
    assert text.rpartition("_")[2][:-1] not in shown
    assert key.credentials[0].digest not in shown
    if (trouble, which, scheme) == ("inside", "good", "Bearer "):
        assert "user-agent" in shown, "else nothing of the request would be seen here"


async def broken(scope, _receive, _send):
    logging.getLogger("hasty").error("%r", {**scope, "app": None})
    raise ZeroDivisionError(repr(scope["headers"]))


# What is described ----------------------------------------------------------------------------


@virtually
async def test_the_description_says_that_a_key_is_asked_for():
    async with guarded() as hasty:
        _, text = hasty.keys.made()
        described = (await hasty.ask("GET", "/openapi.json", text)).json()
        (scheme,) = described["components"]["securitySchemes"].values()
        assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
        assert described["security"] == [{"api_key": []}]
        for path, operations in described["paths"].items():
            for operation in operations.values():
                is_open = path in {"/healthz", "/readyz"}
                assert is_open == (operation.get("security") == [])
                assert is_open or operation["responses"].keys() >= {"401", "403", "429", "503"}, path
        again = (await hasty.ask("GET", "/openapi.json", text)).json()
        assert again == described


@virtually
async def test_where_none_is_asked_for_v1_says_nothing_of_keys():
    described = build_v1(System().gateway()).openapi()
    assert "securitySchemes" not in described["components"] and "security" not in described
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert not path.startswith("/v1") or "401" not in operation["responses"]


# Bodies ---------------------------------------------------------------------------------------


def endless():
    """A body in chunks, which says how much of it was read, and does not end."""
    read = [0]

    async def chunks():
        while True:
            read[0] += 65_536
            assert read[0] < BATCH_LIMIT + 1_000_000, "the whole body would be read"
            yield b" " * 65_536

    return chunks(), read


def every_endpoint_with_a_body() -> list[tuple[str, str]]:
    described = build_v1(System().gateway()).openapi()["paths"]
    return [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, operations in described.items()
        for method in operations
        if method in {"post", "patch", "put"}
    ]


@virtually
async def test_no_endpoint_reads_more_of_a_body_than_it_may():
    endpoints = every_endpoint_with_a_body()
    # Those that take none read none.
    endpoints = [each for each in endpoints if not each[1].endswith(("/pause", "/resume"))]
    assert {("POST", "/"), ("POST", JOBS), ("PATCH", f"{POOLS}/name")} <= set(endpoints)
    async with guarded() as hasty:
        _, text = hasty.keys.made(scopes=(Scope.ADMIN,))
        for method, path in endpoints:
            limit = BATCH_LIMIT if path.endswith(":batch") else BODY_LIMIT
            body, read = endless()
            answer = await hasty.ask(method, path, text, content=body)
            assert answer.status_code == 413, (method, path, answer.text)
            assert read[0] <= limit + 2 * 65_536
            # By what is declared, without reading any of it; and what is declared is not believed.
            body, read = endless()
            declared = {"Content-Length": str(limit + 1)}
            answer = await hasty.ask(method, path, text, content=body, headers=declared)
            assert (answer.status_code, read[0]) == (413, 0), (method, path)
            body, read = endless()
            answer = await hasty.ask(method, path, text, content=body, headers={"Content-Length": "2"})
            assert answer.status_code == 413, (method, path)


@virtually
async def test_a_body_that_does_not_come_holds_no_place_for_long(loop_time):
    """Less than was declared, or a drop at a time."""

    async def stalls():
        yield b'{"object_id": '
        await asyncio.Event().wait()

    async def drips():
        while True:
            yield b" "
            await asyncio.sleep(1)

    async with guarded() as hasty:
        _, text = hasty.keys.made()
        for body, headers in ((stalls, {"Content-Length": "100"}), (drips, {})):
            for path in (JOBS, "/"):
                start = loop_time()
                answer = await hasty.ask("POST", path, text, content=body(), headers=headers)
                assert answer.status_code == 400 and "did not arrive" in answer.text
                assert loop_time() - start <= BODY_WITHIN_S + 1
