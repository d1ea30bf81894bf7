"""HTTP as clients see it: the seed surface byte for byte, and never a 500."""

import asyncio
import dataclasses
import gc
import json
import logging
from datetime import timedelta

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hasty.api.gateway
from hasty.actors.registry import Registry
from hasty.api.app import build_app
from hasty.api.bodies import BODY_LIMIT
from hasty.api.seed import span
from hasty.batching import Batcher
from hasty.errors import Unreachable, WrongVersion
from hasty.handlers import Handlers
from hasty.handlers.catalogue import Retrying
from hasty.testing import VirtualClock
from tests.unit.examples import VIRTUAL_BEGINNING, repeatable, virtually
from tests.unit.system import WORKER, Failing, Silent, System, running

BEGINNING_S = 1_767_225_600
WAIT = b'{"message":"you need to wait 5 minutes before rerunning the same job"}'


def answer(response: httpx.Response):
    """What a client reads: status, the bytes of the body, and when to come back."""
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    return response.status_code, response.content, response.headers.get("retry-after")


def said(text: str) -> bytes:
    return json.dumps({"message": text}, ensure_ascii=False, separators=(",", ":")).encode()


# The seed surface ------------------------------------------------------------------------------


@virtually
async def test_an_object_gets_a_job():
    async with running() as (_, client):
        response = await client.post("/", json={"object_id": "video-1"})
        assert answer(response) == (201, b'{"message":{"job_id":"job-1"}}', None)
        response = await client.post("/", json={"object_id": "video-2"})
        assert answer(response) == (201, b'{"message":{"job_id":"job-2"}}', None)


@virtually
async def test_the_same_object_is_refused_within_its_window_and_taken_at_its_end():
    async with running() as (_, client):
        # Jobs are accepted in whole milliseconds, and a window ends exactly.
        assert (await client.post("/", json={"object_id": "x"})).status_code == 201
        for waited_s, retry_after in ((0, "300"), (120.25, "180"), (179.5, "1"), (0.249, "1")):
            await asyncio.sleep(waited_s)
            assert answer(await client.post("/", json={"object_id": "x"})) == (400, WAIT, retry_after)
        await asyncio.sleep(0.001)
        response = await client.post("/", json={"object_id": "x"})
        assert answer(response)[0] == 201


@virtually
async def test_a_job_that_outlasts_its_window_is_refused_until_it_ends():
    async with running(window_s=10.0, sleep_s=40.0) as (_, client):
        await client.post("/", json={"object_id": "x"})
        await asyncio.sleep(30)
        wait = said("you need to wait 10 seconds before rerunning the same job")
        assert answer(await client.post("/", json={"object_id": "x"})) == (400, wait, "5")
        await asyncio.sleep(15)
        assert (await client.post("/", json={"object_id": "x"})).status_code == 201


@pytest.mark.parametrize(
    ("window_s", "told"),
    [
        (300.0, "5 minutes"),
        (120.0, "2 minutes"),
        (60.0, "1 minute"),
        (61.0, "61 seconds"),
        (90.0, "90 seconds"),
        (1.0, "1 second"),
        (30.0, "30 seconds"),
        (0.5, "0.5 seconds"),
        (86_400.0, "1440 minutes"),
    ],
)
def test_a_refusal_names_the_window_that_is_set(window_s, told):
    assert span(window_s) == told


MISSING = "you must provide an object_id"
NOT_JSON = "the body must be JSON"
NOT_AN_OBJECT = "the body must be a JSON object"
NOT_A_STRING = "object_id must be a string"
TOO_LONG = "object_id must have at most 512 characters"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{}", MISSING),
        (b'{"object": "x"}', MISSING),
        (b'{"OBJECT_ID": "x"}', MISSING),
        (b"", NOT_JSON),
        (b"object_id=x", NOT_JSON),
        (b'{"object_id": "x"', NOT_JSON),
        (b'{"object_id": "x"} {}', NOT_JSON),
        (b"{'object_id': 'x'}", NOT_JSON),
        (b'{"object_id": "\xff"}', NOT_JSON),
        (b'{"object_id": "\xed\xa0\x80"}', NOT_JSON),
        (rb'{"object_id": "\ud800"}', NOT_JSON),
        (rb'{"object_id": "a\udfff"}', NOT_JSON),
        (rb'{"object_id": "\ud800\u0041"}', NOT_JSON),
        (b"[" * 100_000, NOT_JSON),
        (b'{"object_id":' * 50_000, NOT_JSON),
        (b'{"object_id": "x", "a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", NOT_JSON),
        (b"null", NOT_AN_OBJECT),
        (b"[]", NOT_AN_OBJECT),
        (b'"object_id"', NOT_AN_OBJECT),
        (b"1e999", NOT_AN_OBJECT),
        (b'{"object_id": null}', NOT_A_STRING),
        (b'{"object_id": 7}', NOT_A_STRING),
        (b'{"object_id": true}', NOT_A_STRING),
        (b'{"object_id": ["x"]}', NOT_A_STRING),
        (b'{"object_id": {}}', NOT_A_STRING),
        (b'{"object_id": ""}', "object_id must not be empty"),
        (b'{"object_id": "' + b"x" * 513 + b'"}', TOO_LONG),
        ('{"object_id": "' + "\N{GRINNING FACE}" * 513 + '"}', TOO_LONG),
        (b'{"object_id": "' + b"x" * 500_000 + b'"}', TOO_LONG),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_body_that_is_no_job_is_told_what_is_wrong_with_it(body, told):
    @virtually
    async def scenario():
        async with running() as (system, client):
            assert answer(await client.post("/", content=body)) == (400, said(told), None)
            assert system.jobs.jobs == {}

    scenario()


@pytest.mark.parametrize(
    "object_id",
    ["x", " ", "0", "a/b?c#d", "\0", "\n", "x" * 512, "\N{GRINNING FACE}" * 512, '</script>\u2028 ü \\ "'],
    ids=lambda value: repr(value)[:40],
)
def test_any_other_text_is_an_object_and_comes_back_as_it_was(object_id):
    @virtually
    async def scenario():
        async with running() as (system, client):
            response = await client.post("/", json={"object_id": object_id})
            assert answer(response) == (201, b'{"message":{"job_id":"job-1"}}', None)
            assert system.jobs.jobs["job-1"].object_id == object_id
            assert (await client.get("/job-1")).json()["message"]["object_id"] == object_id

    scenario()


@pytest.mark.parametrize(
    "body",
    [
        rb'{"object_id": "\u0078"}',
        b' {"handler": "other", "object_id": "x", "payload": {"a": [1]}} \r\n',
        b'{"object_id": "y", "object_id": "x"}',
        b'{"object_id": "x", "a": ' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_other_fields_are_ignored_as_the_seed_did(body):
    @virtually
    async def scenario():
        async with running() as (system, client):
            assert (await client.post("/", content=body)).status_code == 201
            job = system.jobs.jobs["job-1"]
            assert (job.object_id, job.handler, job.payload, job.priority) == ("x", "sleep", None, 0)

    scenario()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_json_is_read_whatever_the_client_calls_it(content_type):
    @virtually
    async def scenario():
        async with running() as (_, client):
            headers = {"content-type": content_type}
            response = await client.post("/", content=b'{"object_id": "x"}', headers=headers)
            assert response.status_code == 201

    scenario()


def shown(status: str, used: int = 0) -> bytes:
    return (
        b'{"message":{"id":"job-1","job_id":"job-1","object_id":"x","status":"%s",'
        b'"timestamp":%d,"sleep_time_used":%d}}' % (status.encode(), BEGINNING_S, used)
    )


@virtually
async def test_a_job_is_shown_while_it_waits_while_it_runs_and_when_it_has_finished():
    system = System(sleep_s=20.0)
    async with system.client() as client:
        await client.post("/", json={"object_id": "x"})
        assert answer(await client.get("/job-1")) == (200, shown("processing"), None)
        await system.serve()
        await asyncio.sleep(10)
        assert system.jobs.jobs["job-1"].status == "running"
        assert answer(await client.get("/job-1")) == (200, shown("processing"), None)
        await asyncio.sleep(15)
        assert answer(await client.get("/job-1")) == (200, shown("finished", 20), None)


@virtually
async def test_a_job_is_forwarded_at_once_and_need_not_wait_for_a_sweep():
    async with running() as (system, client):
        await asyncio.sleep(1)
        await client.post("/", json={"object_id": "x"})
        await asyncio.sleep(0.1)
        assert system.jobs.jobs["job-1"].status == "running"


@virtually
async def test_a_job_that_overran_its_timeout_is_shown_as_cancelled():
    async with running(sleep_s=60.0) as (_, client):
        await client.post("/", json={"object_id": "x"})
        await asyncio.sleep(45.5)
        assert answer(await client.get("/job-1")) == (200, shown("processing"), None)
        await asyncio.sleep(1)
        assert answer(await client.get("/job-1")) == (200, shown("cancelled"), None)


@virtually
async def test_a_job_whose_handler_raised_is_shown_as_failed():
    async def broken(_context, _payload):
        raise ValueError

    async with running(function=broken) as (_, client):
        await client.post("/", json={"object_id": "x"})
        await asyncio.sleep(1)
        assert answer(await client.get("/job-1")) == (200, shown("failed"), None)


@virtually
async def test_a_job_that_is_to_be_tried_again_is_shown_as_processing_until_it_has_ended():
    retrying = Retrying(1, 10.0, 10.0)

    async def works_the_second_time(context, _payload):
        if context.attempt == 1:
            raise ValueError
        return {"sleep_time_used": 7}

    async with running(function=works_the_second_time) as (system, client):
        (handler,) = system.handlers.values()
        system.worker._attempts._handlers = Handlers(dataclasses.replace(handler, retry=retrying))
        await client.post("/", json={"object_id": "x"})
        await asyncio.sleep(0.1)
        assert system.jobs.jobs["job-1"].status == "scheduled"
        assert answer(await client.get("/job-1")) == (200, shown("processing"), None)
        assert answer(await client.post("/", json={"object_id": "x"})) == (400, WAIT, "300")
        await asyncio.sleep(12)
        assert answer(await client.get("/job-1")) == (200, shown("finished", 7), None)


@pytest.mark.parametrize(
    "result",
    [None, [], "text", {}, {"sleep_time_used": "20"}, {"sleep_time_used": 2.5}, {"sleep_time_used": True}],
    ids=str,
)
def test_a_result_that_says_nothing_of_sleep_shows_a_zero(result):
    async def other(_context, _payload):
        return result

    @virtually
    async def scenario():
        async with running(function=other) as (_, client):
            await client.post("/", json={"object_id": "x"})
            await asyncio.sleep(1)
            assert answer(await client.get("/job-1")) == (200, shown("finished", 0), None)

    scenario()


@pytest.mark.parametrize(
    ("path", "job_id"),
    [
        ("/job-1", "job-1"),
        ("/favicon.ico", "favicon.ico"),
        ("/%F0%9F%98%80", "\N{GRINNING FACE}"),
        ("/%22%5C%0A%00", '"\\\n\0'),
        ("/%ff", "\ufffd"),
        ("/" + "x" * 10_000, "x" * 10_000),
        ("/$where", "$where"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_id_that_nobody_was_given_is_told_back(path, job_id):
    @virtually
    async def scenario():
        async with running() as (_, client):
            response = await client.get(path)
            assert answer(response) == (400, said(f"no job with id: {job_id}"), None)

    scenario()


def test_the_clock_of_the_examples_begins_where_the_timestamps_say():
    assert VIRTUAL_BEGINNING.timestamp() == BEGINNING_S


# Bodies that are too large ---------------------------------------------------------------------

LARGE = (413, b'{"message":"The body is larger than 1 MiB."}', None)


async def chunks(count, size, taken):
    for number in range(count):
        taken.append(number)
        yield b" " * size


@virtually
async def test_a_body_is_refused_by_its_declared_length_before_any_of_it_is_read():
    async with running() as (_, client):
        taken = []
        response = await client.post(
            "/", content=chunks(99, 65_536, taken), headers={"content-length": str(BODY_LIMIT + 1)}
        )
        assert answer(response) == LARGE
        assert taken == []


@pytest.mark.parametrize("declared", [str(BODY_LIMIT + 1), "9" * 30, "9" * 5_000])
@virtually
async def test_any_declared_length_over_the_limit_is_too_large(declared):
    async with running() as (_, client):
        headers = {"content-length": declared}
        assert answer(await client.post("/", content=b'{"object_id": "x"}', headers=headers)) == LARGE


@virtually
async def test_a_body_of_undeclared_length_is_refused_as_soon_as_it_is_too_large():
    async with running() as (_, client):
        taken = []
        response = await client.post("/", content=chunks(99, 65_536, taken))
        assert "content-length" not in response.request.headers
        assert answer(response) == LARGE
        # Sixteen chunks are the limit, the next is over it, and one more may be on its way.
        assert len(taken) <= 18


@virtually
async def test_a_body_that_is_longer_than_declared_is_refused_as_well():
    async with running() as (_, client):
        response = await client.post("/", content=chunks(99, 65_536, []), headers={"content-length": "10"})
        assert answer(response) == LARGE


@pytest.mark.parametrize("declared", ["", "-1", "x", "1_000", "0x10", "1e9"])
def test_a_declared_length_that_is_no_number_is_left_to_what_comes(declared):
    @virtually
    async def scenario():
        async with running() as (_, client):
            headers = {"content-length": declared}
            response = await client.post("/", content=b'{"object_id": "x"}', headers=headers)
            assert response.status_code == 201

    scenario()


@virtually
async def test_a_body_of_exactly_the_limit_is_read():
    assert BODY_LIMIT == 1_048_576
    body = b'{"object_id": "x"}'.ljust(BODY_LIMIT)
    async with running() as (_, client):
        assert (await client.post("/", content=body)).status_code == 201
        assert answer(await client.post("/", content=body + b" ")) == LARGE


# Whatever a client sends -----------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(st.sampled_from(["object_id", "x"]), _json, max_size=2)
_bodies = (
    st.binary(max_size=300)
    | (_json | _objects).map(lambda value: json.dumps(value).encode())
    | (_json | _objects).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")
    )
    | st.tuples(st.binary(max_size=9), _objects, st.binary(max_size=9)).map(
        lambda parts: parts[0] + json.dumps(parts[1]).encode() + parts[2]
    )
)


@settings(repeatable, max_examples=100)
@given(_bodies)
@example(b'{"object_id": "x"}')
@example(rb'{"object_id": "\ud800"}')
@example(b'{"object_id": ' + b"9" * 10_000 + b"}")
def test_whatever_bytes_are_sent_the_answer_is_json_and_never_a_500(body):
    async def scenario():
        async with System().client() as client:
            response = await client.post("/", content=body)
            status, content, _ = answer(response)
            message = json.loads(content)["message"]
            if status == 201:
                assert message == {"job_id": "job-1"}
            else:
                assert status == 400
                assert message in {
                    MISSING,
                    NOT_JSON,
                    NOT_AN_OBJECT,
                    NOT_A_STRING,
                    TOO_LONG,
                    "object_id must not be empty",
                }

    virtually(scenario)()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/", "POST"),
        ("PUT", "/", "POST"),
        ("DELETE", "/", "POST"),
        ("POST", "/job-1", "GET, HEAD"),
        ("DELETE", "/job-1", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PATCH", "/readyz", "GET, HEAD"),
        ("BREW", "/", "POST"),
    ],
)
def test_a_method_that_is_not_served_is_answered_in_json(method, path, allowed):
    @virtually
    async def scenario():
        async with running() as (_, client):
            response = await client.request(method, path)
            assert answer(response) == (405, b'{"message":"Method Not Allowed"}', None)
            assert ", ".join(sorted(response.headers["allow"].split(", "))) == allowed

    scenario()


@pytest.mark.parametrize("path", ["/a/b", "/v2/jobs", "//x", "/job-1/x/y", "/job-1/", "/healthz/"])
def test_a_path_that_is_not_served_is_answered_in_json(path):
    @virtually
    async def scenario():
        async with running() as (_, client):
            response = await client.get(httpx.URL("http://hasty", raw_path=path.encode()))
            assert answer(response) == (404, b'{"message":"Not Found"}', None)

    scenario()


@virtually
async def test_a_client_that_hangs_up_while_it_sends_is_no_error_inside_hasty(caplog):
    system = System()
    app = build_app(system.gateway(), 300.0)
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(_message):
        return None

    await app(scope, receive, send)
    assert messages == []
    assert caplog.records == []
    assert system.jobs.jobs == {}


@virtually
async def test_an_error_inside_hasty_says_nothing_of_itself_to_the_client_and_all_to_the_log(caplog):
    system = System()
    system.registry = Failing(ZeroDivisionError("secret"))
    async with system.client() as client:
        with caplog.at_level(logging.ERROR, logger="hasty.api"):
            response = await client.post("/", json={"object_id": "x"})
    told = "something went wrong inside hasty; the same request may succeed later"
    assert answer(response) == (500, said(told), None)
    (record,) = [record for record in caplog.records if record.name == "hasty.api"]
    assert isinstance(record.exc_info[1], ZeroDivisionError)


# Many clients ----------------------------------------------------------------------------------


@virtually
async def test_of_many_who_ask_for_one_object_at_once_one_gets_it():
    async with running() as (system, client):
        responses = await asyncio.gather(*(client.post("/", json={"object_id": "x"}) for _ in range(64)))
        answers = [answer(response) for response in responses]
        assert [status for status, _, _ in answers].count(201) == 1
        assert answers.count((400, WAIT, "300")) == 63
        assert len(system.jobs.jobs) == 1


@virtually
async def test_of_many_who_ask_two_gateways_for_one_object_one_gets_it():
    async with running() as (system, client), system.client() as other:
        asked = [who.post("/", json={"object_id": "x"}) for who in (client, other) * 32]
        answers = [answer(response) for response in await asyncio.gather(*asked)]
        assert [status for status, _, _ in answers].count(201) == 1
        assert answers.count((400, WAIT, "300")) == 63


@virtually
async def test_many_objects_at_once_get_a_job_each():
    async with running() as (system, client):
        asked = [client.post("/", json={"object_id": f"object-{n}"}) for n in range(64)]
        job_ids = [response.json()["message"]["job_id"] for response in await asyncio.gather(*asked)]
        assert len(set(job_ids)) == 64
        shown = await asyncio.gather(*(client.get(f"/{job_id}") for job_id in job_ids))
        assert [response.json()["message"]["object_id"] for response in shown] == [
            f"object-{n}" for n in range(64)
        ]
        await asyncio.sleep(21)
        assert {job.status for job in system.jobs.jobs.values()} == {"finished"}


@virtually
async def test_a_client_that_hangs_up_does_not_take_back_its_job():
    system = System()
    await system.serve()
    gateway = system.gateway()
    asked = asyncio.ensure_future(gateway.submit("x"))
    # It is on its way to the Registry after the turn in which it was asked for.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.sleep(0.1)
    assert asked.cancelled()
    # It was forwarded all the same, and need not wait for a sweep.
    assert system.jobs.jobs["job-1"].status == "running"


# Parts that are away ---------------------------------------------------------------------------


@virtually
async def test_a_registry_that_cannot_be_reached_is_a_503():
    system = System()
    system.registry = Failing(Unreachable("admit was not answered (ActorDiedError)"))
    async with system.client() as client:
        response = await client.post("/", json={"object_id": "x"})
        assert answer(response) == (503, said("admit was not answered (ActorDiedError)"), "1")


@virtually
async def test_a_registry_that_does_not_answer_is_a_503_after_ten_seconds(loop_time):
    system = System()
    system.registry = Silent()
    async with system.client() as client:
        response = await client.post("/", json={"object_id": "x"}, timeout=None)
        assert answer(response) == (503, said("the registry did not answer in time"), "1")
        assert loop_time() == pytest.approx(10.0)


@virtually
async def test_who_comes_while_the_registry_is_silent_waits_no_longer_than_the_first(loop_time):
    system = System()
    system.registry = Silent()
    async with system.client() as client:
        first = asyncio.ensure_future(client.post("/", json={"object_id": "x"}, timeout=None))
        await asyncio.sleep(1)
        response = await client.post("/", json={"object_id": "y"}, timeout=None)
        assert answer(response) == (503, said("the registry did not answer in time"), "1")
        assert loop_time() == pytest.approx(11.0)
        assert answer(await first) == answer(response)


AWAY = "MongoDB gave no clear answer (NetworkTimeout)"


@virtually
async def test_while_mongodb_is_away_posting_and_reading_are_a_503():
    async with running() as (system, client):
        system.jobs.away = True
        assert answer(await client.post("/", json={"object_id": "x"})) == (503, said(AWAY), "2")
        assert answer(await client.get("/job-1")) == (503, said(AWAY), "2")
        system.jobs.away = False
        assert (await client.post("/", json={"object_id": "x"})).status_code == 201


@virtually
async def test_a_body_that_is_no_job_is_told_so_whatever_is_away():
    system = System()
    system.registry = Silent()
    async with system.client() as client:
        assert answer(await client.post("/", content=b"{}")) == (400, said(MISSING), None)


@pytest.mark.parametrize("away", [Failing(Unreachable()), Silent()], ids=["unreachable", "silent"])
@virtually
async def test_a_dispatcher_that_is_away_costs_a_client_nothing(away, caplog):
    system = System()
    dispatcher, system.dispatcher = system.dispatcher, away
    async with system.client() as client:
        assert (await client.post("/", json={"object_id": "x"})).status_code == 201
        await asyncio.sleep(11)
    # An error that nobody looks at would be told when its future goes.
    gc.collect()
    assert caplog.records == []
    system.dispatcher = dispatcher
    await system.serve()
    await asyncio.sleep(30)
    assert system.jobs.jobs["job-1"].status == "finished"


@virtually
async def test_a_queue_of_forwards_that_is_full_costs_a_client_nothing():
    system = System()
    gateway, registry = system.gateway(), system.registry
    registry._forwards = Batcher(registry._forward, capacity=0)
    assert (await gateway.submit("x")).job_id == "job-1"
    assert "job-1" in system.jobs.jobs


@virtually
async def test_a_registry_that_is_stopping_is_a_503():
    async with running() as (system, client):
        await system.registry.drain()
        response = await client.post("/", json={"object_id": "x"})
        assert answer(response) == (503, said("This system is stopping and takes no new jobs."), "10")
        assert system.jobs.jobs == {}


@virtually
async def test_more_than_can_wait_for_the_registry_are_told_to_come_back(monkeypatch):
    monkeypatch.setattr(hasty.api.gateway, "_WAITING", 3)
    system = System()
    system.registry = Silent()
    gateway = system.gateway()
    waiting = [asyncio.ensure_future(gateway.submit(f"object-{n}")) for n in range(5)]
    await asyncio.sleep(0)
    told = [str(task.exception()) for task in waiting if task.done()]
    assert told == ["3 items are waiting already"] * 2


# Health ----------------------------------------------------------------------------------------


@virtually
async def test_the_gateway_is_alive_whatever_is_away():
    system = System()
    system.registry = system.dispatcher = Silent()
    system.jobs.away = True
    async with system.client() as client:
        assert answer(await client.get("/healthz")) == (200, b'{"message":"ok"}', None)


@virtually
async def test_when_everything_answers_the_gateway_is_ready():
    async with running() as (_, client):
        assert answer(await client.get("/readyz")) == (200, b'{"message":"ready"}', None)


def not_ready(*problems):
    return 503, said("not ready: " + "; ".join(problems)), "1"


@virtually
async def test_without_mongodb_the_gateway_is_not_ready():
    async with running() as (system, client):
        system.jobs.away = True
        assert answer(await client.get("/readyz")) == not_ready(f"mongodb: {AWAY}", f"registry: {AWAY}")


@virtually
async def test_with_a_registry_that_does_not_answer_the_gateway_is_not_ready(loop_time):
    system = System()
    await system.serve()
    system.registry = Silent()
    async with system.client() as client:
        asked_at = loop_time()
        response = await client.get("/readyz")
        assert answer(response) == not_ready("registry: did not answer within 2 s")
        assert loop_time() - asked_at == pytest.approx(2.0)


@virtually
async def test_with_a_registry_that_cannot_be_reached_the_gateway_is_not_ready():
    system = System()
    await system.serve()
    system.registry = Failing(Unreachable("health was not answered"))
    async with system.client() as client:
        assert answer(await client.get("/readyz")) == not_ready("registry: health was not answered")


@virtually
async def test_with_a_registry_that_fails_in_an_unforeseen_way_the_gateway_is_not_ready():
    system = System()
    await system.serve()
    system.registry = Failing(ZeroDivisionError("secret"))
    async with system.client() as client:
        assert answer(await client.get("/readyz")) == not_ready("registry: failed (ZeroDivisionError)")


@virtually
async def test_with_a_registry_of_another_release_posting_is_a_503():
    system = System()
    system.registry = Failing(WrongVersion())
    async with system.client() as client:
        told = said("A process of another release of hasty spoke; restart the older one.")
        assert answer(await client.post("/", json={"object_id": "x"})) == (503, told, "1")


@virtually
async def test_with_a_registry_that_is_stopping_the_gateway_is_not_ready():
    async with running() as (system, client):
        await system.registry.drain()
        assert answer(await client.get("/readyz")) == not_ready("registry: stopping")


@pytest.mark.parametrize(
    ("off_s", "problem"), [(2.0, "-2.0 s"), (-2.0, "+2.0 s"), (1.0, None), (0.5, None), (-1.0, None)]
)
def test_with_a_clock_that_is_more_than_a_second_off_the_gateway_is_not_ready(off_s, problem):
    class Off(VirtualClock):
        """A machine's clock that MongoDB's is so far ahead of."""

        def follow(self, reference):
            return timedelta(seconds=off_s)

    @virtually
    async def scenario():
        system = System()
        await system.serve()
        system.registry = Registry(system.jobs, system.dispatcher, Off(asyncio.get_running_loop()))
        async with system.client() as client:
            response = await client.get("/readyz")
        told = f"registry: this machine's clock is {problem} off MongoDB's: set it"
        assert answer(response) == (not_ready(told) if problem else (200, said("ready"), None))

    scenario()


@virtually
async def test_with_a_dispatcher_without_office_the_gateway_is_not_ready():
    async with System().client() as client:
        assert answer(await client.get("/readyz")) == not_ready(
            "dispatcher: waits for its office: MongoDB, or another's lease"
        )


@virtually
async def test_with_a_dispatcher_without_workers_the_gateway_is_not_ready():
    system = System()
    system.pool.members[WORKER] = Silent()
    duty = asyncio.ensure_future(system.dispatcher.serve())
    await asyncio.sleep(1)
    async with system.client() as client:
        assert answer(await client.get("/readyz")) == not_ready("dispatcher: waits for its workers")
    assert not duty.done()


@virtually
async def test_all_that_is_not_ready_is_named():
    system = System()
    system.registry = system.dispatcher = Silent()
    system.jobs.away = True
    async with system.client() as client:
        silent = "did not answer within 2 s"
        problems = f"mongodb: {AWAY}", f"registry: {silent}", f"dispatcher: {silent}"
        assert answer(await client.get("/readyz")) == not_ready(*problems)
