"""`/v1` as clients see it: jobs for any handler, and problems with stable codes."""

import asyncio
import json
import logging
import random
import re
from datetime import datetime, timedelta
from typing import Annotated

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import hasty
import hasty.errors
from hasty.api.bodies import BODY_LIMIT
from hasty.api.gateway import PAYLOAD_LIMIT
from hasty.api.problems import CODES
from hasty.errors import CannotStart, StoreUnavailable, TryAgainLater, Unreachable, WrongVersion
from hasty.handlers.decorator import declaration_of
from hasty.messages import Reason
from hasty.pools import PoolPlan
from tests.unit.examples import VIRTUAL_BEGINNING, repeatable, virtually
from tests.unit.system import Failing, Silent, System, running

JOBS, POOLS = "/v1/jobs", "/v1/pools"


class Order(BaseModel):
    items: list[str]
    width: int = 1


class Receipt(BaseModel):
    lines: int
    seen: list[str]


@hasty.handler(rerun_window=60)
async def invoice(job: hasty.JobContext, order: Order) -> Receipt:
    return Receipt(lines=len(order.items), seen=[job.job_id, job.object_id])


@hasty.handler
async def careless(_payload: int) -> Receipt:
    return {"lines": "two", "seen": []}


@hasty.handler
def blocking() -> None: ...


@hasty.handler(retries=1, backoff=3_600, backoff_cap=3_600)
async def fails(_payload) -> None:
    raise ConnectionError("busy")


@hasty.handler(window_after=["finished"])
async def reports(job: hasty.JobContext) -> None:
    job.progress(0.5, "half of it")
    await asyncio.sleep(30)


@hasty.handler(pool="gpu")
async def on_gpus() -> None: ...


@hasty.handler(queue_timeout=5)
async def impatient() -> None:
    await asyncio.sleep(20)


def declared(*functions):
    return [declaration_of(function).handler(timeout_s=46.0, rerun_window_s=300.0) for function in functions]


MORE = declared(invoice, careless, blocking)


def problem(response: httpx.Response, status: int, code: str):
    """Check what is the same in all problems; return the document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert (document["type"], document["status"], document["code"]) == ("about:blank", status, code)
    assert document["title"]
    assert document["detail"]
    assert response.headers.get("retry-after") == (
        str(document["retry_after"]) if "retry_after" in document else None
    )
    return document


async def ended(client: httpx.AsyncClient, **body):
    """Submit a job, and return how it ended."""
    response = await client.post(JOBS, json={"object_id": "x"} | body)
    assert response.status_code == 201, response.text
    await asyncio.sleep(1)
    return (await client.get(response.headers["location"])).json()


# Jobs ------------------------------------------------------------------------------------------


@virtually
async def test_a_job_is_told_where_it_is_and_how_it_stands_until_it_ends():
    async with running() as (_, client):
        response = await client.post(JOBS, json={"object_id": "video-1"})
        assert (response.status_code, response.headers["location"]) == (201, "/v1/jobs/job-1")
        queued = {
            "id": "job-1",
            "object_id": "video-1",
            "handler": "sleep",
            "run": 1,
            "status": "queued",
            "attempt": 0,
            "payload": None,
            "result": None,
            "error": None,
            "progress": None,
            "run_at": None,
            "follows": None,
            "priority": 0,
            "timeout": 46.0,
            "pool": "default",
            "worker": None,
            "labels": {},
            "webhook": None,
            "accepted_at": "2026-01-01T00:00:00.100000Z",
            "started_at": None,
            "ended_at": None,
            "links": {"self": "/v1/jobs/job-1"},
        }
        assert response.json() == queued
        await asyncio.sleep(1)
        job = (await client.get("/v1/jobs/job-1")).json()
        begun = {
            "status": "running",
            "attempt": 1,
            "worker": "hasty-worker-default-0",
            "started_at": "2026-01-01T00:00:00.100000Z",
        }
        assert job == queued | begun
        await asyncio.sleep(20)
        job = (await client.get("/v1/jobs/job-1")).json()
        end = {
            "status": "finished",
            "result": {"sleep_time_used": 20},
            "ended_at": "2026-01-01T00:00:20.100000Z",
        }
        assert job == queued | begun | end


@virtually
async def test_a_typed_payload_comes_back_as_a_typed_result():
    async with running(more=MORE) as (_, client):
        job = await ended(client, handler="invoice", payload={"items": ["tea", "milk"]})
        assert job["payload"] == {"items": ["tea", "milk"]}
        assert (job["status"], job["error"]) == ("finished", None)
        assert job["result"] == {"lines": 2, "seen": ["job-1", "x"]}


@virtually
async def test_a_job_whose_result_is_not_what_the_handler_promised_has_failed():
    async with running(more=MORE) as (_, client):
        job = await ended(client, handler="careless", payload=1)
        told = "result.lines: Input should be a valid integer, unable to parse string as an integer"
        assert (job["status"], job["result"]) == ("failed", None)
        assert job["error"] == {"type": "BadResult", "message": told}


@virtually
async def test_a_job_shows_how_far_it_has_come_while_it_runs():
    async with running(more=declared(reports)) as (_, client):
        job = await ended(client, handler="reports")
        at = "2026-01-01T00:00:00.100000Z"
        assert job["status"] == "running"
        assert job["progress"] == {"at": at, "fraction": 0.5, "message": "half of it"}
        await asyncio.sleep(30)
        job = (await client.get("/v1/jobs/job-1")).json()
        assert (job["status"], job["progress"]) == ("finished", None)


@virtually
async def test_a_job_that_is_to_be_tried_again_shows_why_and_when():
    random.seed(1)
    async with running(more=declared(fails)) as (_, client):
        job = await ended(client, handler="fails", payload=1)
        assert (job["status"], job["attempt"], job["ended_at"]) == ("scheduled", 1, None)
        assert job["error"] == {"type": "ConnectionError", "message": "busy"}
        at = datetime.fromisoformat(job["run_at"])
        assert timedelta(0) < at - VIRTUAL_BEGINNING < timedelta(hours=1, seconds=1)
        await asyncio.sleep((at - VIRTUAL_BEGINNING).total_seconds())
        job = (await client.get("/v1/jobs/job-1")).json()
        # There is no third.
        assert (job["status"], job["attempt"], job["run_at"]) == ("failed", 2, None)
        assert job["error"] == {"type": "ConnectionError", "message": "busy"}


@virtually
async def test_a_job_that_nobody_starts_in_time_is_cancelled_and_one_that_runs_is_not():
    async with running(more=declared(impatient)) as (system, client):
        # It has a slot of its own; then there are none left.
        await client.post(JOBS, json={"object_id": "first", "handler": "impatient"})
        for n in range(99):
            await client.post(JOBS, json={"object_id": f"object-{n}"})
        waits = (await client.post(JOBS, json={"object_id": "last", "handler": "impatient"})).json()
        await asyncio.sleep(4.5)
        assert (await client.get(f"{JOBS}/{waits['id']}")).json()["status"] == "queued"
        await asyncio.sleep(1)
        job = (await client.get(f"{JOBS}/{waits['id']}")).json()
        assert (job["status"], job["attempt"], job["started_at"]) == ("cancelled", 0, None)
        assert job["error"]["type"] == "QueueTimeout"
        # Nobody cancelled it.
        told = problem(await client.post(cancel_of(waits["id"])), 409, "already_ended")
        assert told["job_status"] == "cancelled"
        await asyncio.sleep(20)
        assert (await client.get(f"{JOBS}/job-1")).json()["status"] == "finished"
        assert system.ledger.pages[waits["id"]].attempts == ()


@virtually
async def test_both_surfaces_show_the_same_jobs():
    async with running(more=MORE) as (_, client):
        job_id = (await client.post("/", json={"object_id": "x"})).json()["message"]["job_id"]
        assert (await client.get(f"{JOBS}/{job_id}")).json()["object_id"] == "x"
        other = (await client.post(JOBS, json={"object_id": "y"})).json()["id"]
        assert (await client.get(f"/{other}")).json()["message"]["object_id"] == "y"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "x", None])
def test_json_is_read_whatever_the_client_calls_it(content_type):
    @virtually
    async def scenario():
        headers = {"content-type": content_type} if content_type else {}
        async with running() as (_, client):
            response = await client.post(JOBS, content=b'{"object_id": "x"}', headers=headers)
            assert response.status_code == 201

    scenario()


# Refusals --------------------------------------------------------------------------------------


@virtually
async def test_the_window_is_the_handlers_own_and_names_the_job_that_shut_it():
    async with running(more=MORE) as (_, client):
        body = {"object_id": "x", "handler": "invoice", "payload": {"items": []}}
        await client.post(JOBS, json=body)
        await asyncio.sleep(0.5)
        told = problem(await client.post(JOBS, json=body), 409, "rerun_window")
        assert (told["job_id"], told["retry_after"]) == ("job-1", 60)
        assert told["links"] == {"job": "/v1/jobs/job-1"}
        await asyncio.sleep(60)
        again = await client.post(JOBS, json=body)
        assert (again.status_code, again.json()["run"]) == (201, 2)


@virtually
async def test_a_job_that_outlasts_its_window_stands_in_the_way():
    async with running(window_s=10.0, sleep_s=40.0) as (_, client):
        await client.post(JOBS, json={"object_id": "x"})
        await asyncio.sleep(30)
        told = problem(await client.post(JOBS, json={"object_id": "x"}), 409, "unfinished")
        assert (told["job_id"], told["retry_after"]) == ("job-1", 5)


@virtually
async def test_an_unknown_handler_is_told_which_there_are():
    async with running(more=MORE) as (system, client):
        response = await client.post(JOBS, json={"object_id": "x", "handler": "invoise"})
        told = problem(response, 404, "unknown_handler")
        assert told["handlers"] == ["blocking", "careless", "invoice", "sleep"]
        assert "'invoise'" in told["detail"]
        assert system.jobs.jobs == {}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"object_id": "Field required"}),
        ([], {"body": "Input should be an object"}),
        (None, {"body": "Input should be an object"}),
        ({"object_id": 7}, {"object_id": "Input should be a valid string"}),
        ({"object_id": ""}, {"object_id": "String should have at least 1 character"}),
        ({"object_id": "x" * 513}, {"object_id": "String should have at most 512 characters"}),
        ({"object_id": "x", "handler": None}, {"handler": "Input should be a valid string"}),
        ({"object_id": "x", "handler": "x" * 129}, {"handler": "String should have at most 128 characters"}),
        ({"object_id": "x", "pay": 1}, {"pay": "Extra inputs are not permitted"}),
        ({"object_id": "x", "handler": "invoice"}, {"payload": "Input should be an object"}),
        ({"object_id": "x", "handler": "invoice", "payload": {}}, {"payload.items": "Field required"}),
        (
            {"object_id": "x", "handler": "invoice", "payload": {"items": [1], "width": "wide"}},
            {
                "payload.items.0": "Input should be a valid string",
                "payload.width": "Input should be a valid integer, unable to parse string as an integer",
            },
        ),
        (
            {"object_id": "x", "handler": "blocking", "payload": {}},
            {"payload": "must be left out: the handler takes none"},
        ),
    ],
    ids=str,
)
def test_a_field_that_will_not_do_is_named(body, errors):
    @virtually
    async def scenario():
        async with running(more=MORE) as (system, client):
            told = problem(await client.post(JOBS, content=json.dumps(body)), 422, "invalid_request")
            assert {error["field"]: error["message"] for error in told["errors"]} == errors
            assert told["detail"] == "; ".join(f"{field}: {what}" for field, what in errors.items())
            assert system.jobs.jobs == {}

    scenario()


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b'{"a": [-1e999]}'])
def test_a_number_that_json_cannot_keep_is_named(number):
    @virtually
    async def scenario():
        async with running() as (_, client):
            response = await client.post(JOBS, content=b'{"object_id": "x", "payload": ' + number + b"}")
            told = problem(response, 422, "invalid_request")
            assert told["detail"] == "payload: has a number that is out of range"

    scenario()


@virtually
async def test_a_payload_may_be_as_long_as_its_limit_and_no_longer():
    async with running() as (_, client):
        fits = {"object_id": "x", "payload": "ü" * (PAYLOAD_LIMIT // 2 - 1)}
        assert (await client.post(JOBS, json=fits)).status_code == 201
        too_long = {"object_id": "y", "payload": "x" * (PAYLOAD_LIMIT - 1)}
        problem(await client.post(JOBS, json=too_long), 413, "payload_too_large")


@virtually
async def test_a_body_over_the_limit_is_refused():
    async with running() as (_, client):
        problem(await client.post(JOBS, content=b"x" * (BODY_LIMIT + 1)), 413, "body_too_large")


@pytest.mark.parametrize("body", [b"", b"object_id=x", b'{"object_id": "\xff"}', b"[" * 100_000])
def test_a_body_that_is_not_json_is_told_so(body):
    @virtually
    async def scenario():
        async with running() as (_, client):
            problem(await client.post(JOBS, content=body), 400, "not_json")

    scenario()


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_handlers = st.sampled_from(["sleep", "invoice", "careless", "blocking"]) | _json
_jobs = st.fixed_dictionaries(
    {"object_id": st.just("x") | _json}, optional={"handler": _handlers, "payload": _json, "items": _json}
)
_bodies = (
    st.binary(max_size=300)
    | (_json | _jobs).map(lambda value: json.dumps(value).encode())
    | (_json | _jobs).map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))
    | st.tuples(st.binary(max_size=9), _jobs, st.binary(max_size=9)).map(
        lambda parts: parts[0] + json.dumps(parts[1]).encode() + parts[2]
    )
)


@settings(repeatable, max_examples=200)
@given(_bodies)
@example(b'{"object_id": "x", "payload": ' + b"9" * 5_000 + b"}")
@example(b'{"object_id": "x", "payload": ' + b"[" * 190 + b"]" * 190 + b"}")
@example(b'{"object_id": "x", "payload": ' + b"[" * 5_000 + b"]" * 5_000 + b"}")
@example(rb'{"object_id": "x", "handler": "\u0000"}')
def test_whatever_bytes_are_sent_the_answer_is_a_job_or_a_problem_of_the_client(body):
    async def scenario():
        async with System(more=MORE).client() as client:
            response = await client.post(JOBS, content=body)
            if response.status_code == 201:
                assert response.json()["id"] == "job-1"
            else:
                code = response.json()["code"]
                assert 400 <= response.status_code < 500
                problem(response, CODES[code][0], code)

    virtually(scenario)()


@hasty.handler
async def measured(_width: Annotated[int, Field(json_schema_extra={"unit": Order})]) -> None: ...


@virtually
async def test_a_type_with_odd_metadata_keeps_no_gateway_from_starting():
    async with running(more=declared(measured)) as (_, client):
        shown = (await client.get("/v1/handlers")).json()["handlers"]
        assert [each["payload_schema"] for each in shown if each["name"] == "measured"] == [None]


# Cancelling ------------------------------------------------------------------------------------


def cancel_of(job_id: str) -> str:
    return f"{JOBS}/{job_id}/cancel"


async def cancelled(client: httpx.AsyncClient, job_id: str = "job-1", **body):
    response = await client.post(cancel_of(job_id), json=body)
    assert response.status_code == 200, response.text
    return response.json()


@virtually
async def test_a_running_job_is_cancelled_and_its_handler_stopped():
    stopped = []

    async def sleeps(context, _payload):
        try:
            await asyncio.sleep(40)
        finally:
            stopped.append(context.job_id)

    async with running(function=sleeps) as (system, client):
        await ended(client)
        job = await cancelled(client, reason="sold out")
        assert job == (await client.get("/v1/jobs/job-1")).json()
        assert (job["status"], job["attempt"], job["result"]) == ("cancelled", 1, None)
        assert job["error"] == {"type": "CancelRequested", "message": "sold out"}
        assert (job["started_at"], job["ended_at"]) == (
            "2026-01-01T00:00:00.100000Z",
            "2026-01-01T00:00:01.100000Z",
        )
        await asyncio.sleep(0.1)
        assert stopped == ["job-1"]
        assert (await system.dispatcher.health()).running == 0


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_cancel_needs_no_reason_and_repeating_it_changes_nothing(body):
    @virtually
    async def scenario():
        async with running() as (_, client):
            await ended(client)
            first = await client.post(cancel_of("job-1"), content=body)
            assert first.status_code == 200
            assert first.json()["error"] == {"type": "CancelRequested", "message": "cancelled over HTTP"}
            await asyncio.sleep(10)
            assert await cancelled(client, reason="another") == first.json()

    scenario()


@virtually
async def test_a_job_that_waits_for_its_next_attempt_is_cancelled():
    random.seed(1)
    async with running(more=declared(fails)) as (system, client):
        assert (await ended(client, handler="fails", payload=1))["status"] == "scheduled"
        job = await cancelled(client)
        assert (job["status"], job["attempt"], job["run_at"]) == ("cancelled", 1, None)
        assert job["error"]["type"] == "CancelRequested"
        await asyncio.sleep(3_600)
        assert (await client.get("/v1/jobs/job-1")).json() == job
        assert len(system.ledger.pages["job-1"].attempts) == 1


@virtually
async def test_a_job_that_waits_for_a_slot_is_cancelled_and_never_starts():
    started = []

    async def sleeps(context, _payload):
        started.append(context.job_id)
        await asyncio.sleep(20)

    async with running(function=sleeps) as (_, client):
        # One more than the worker has slots.
        jobs = [(await client.post(JOBS, json={"object_id": f"object-{n}"})).json() for n in range(101)]
        await asyncio.sleep(1)
        assert len(started) == 100
        (waits,) = {job["id"] for job in jobs} - set(started)
        job = await cancelled(client, waits)
        assert (job["status"], job["attempt"], job["started_at"]) == ("cancelled", 0, None)
        await asyncio.sleep(60)
        assert len(started) == 100


@virtually
async def test_a_job_that_ended_before_it_could_be_cancelled_is_told_so():
    async with running(more=MORE) as (_, client):
        job = await ended(client, handler="invoice", payload={"items": []})
        told = problem(await client.post(cancel_of("job-1")), 409, "already_ended")
        assert (told["job_id"], told["job_status"]) == ("job-1", "finished")
        assert told["links"] == {"job": "/v1/jobs/job-1"}
        assert "it is finished" in told["detail"]
        assert (await client.get("/v1/jobs/job-1")).json() == job


@virtually
async def test_a_job_that_overran_its_timeout_was_not_cancelled_by_anybody():
    async with running(timeout_s=5.0) as (_, client):
        await ended(client)
        await asyncio.sleep(10)
        told = problem(await client.post(cancel_of("job-1")), 409, "already_ended")
        assert told["job_status"] == "cancelled"


class CancelRequested(Exception):
    """A user's own, which only has our name."""


@virtually
async def test_a_job_that_failed_was_not_cancelled_whatever_its_error_is_called():
    async def gives_up(_context, _payload):
        raise CancelRequested

    async with running(function=gives_up) as (_, client):
        assert (await ended(client))["error"]["type"] == "CancelRequested"
        told = problem(await client.post(cancel_of("job-1")), 409, "already_ended")
        assert told["job_status"] == "failed"


@virtually
async def test_a_cancel_makes_room_for_the_next_job_where_the_handler_says_so():
    async with running(more=declared(reports)) as (_, client):
        body = {"object_id": "x", "handler": "reports"}
        await client.post(JOBS, json=body)
        problem(await client.post(JOBS, json=body), 409, "rerun_window")
        await cancelled(client)
        again = await client.post(JOBS, json=body)
        assert (again.status_code, again.json().get("run")) == (201, 2)


@virtually
async def test_nobody_can_cancel_a_job_that_is_not_there():
    async with running() as (_, client):
        told = problem(await client.post(cancel_of("nobody")), 404, "unknown_job")
        assert "nobody" in told["detail"]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"reason": "x" * 501}, {"reason": "String should have at most 500 characters"}),
        ({"reason": 7}, {"reason": "Input should be a valid string"}),
        ({"reason": None}, {"reason": "Input should be a valid string"}),
        ({"why": "x"}, {"why": "Extra inputs are not permitted"}),
        ([], {"body": "Input should be an object"}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_reason_that_will_not_do_is_named_and_nothing_is_cancelled(body, errors):
    @virtually
    async def scenario():
        async with running() as (system, client):
            await ended(client)
            told = problem(await client.post(cancel_of("job-1"), json=body), 422, "invalid_request")
            assert {error["field"]: error["message"] for error in told["errors"]} == errors
            assert system.jobs.jobs["job-1"].status == "running"

    scenario()


@virtually
async def test_the_body_of_a_cancel_is_read_as_any_other():
    async with running() as (_, client):
        await ended(client)
        problem(await client.post(cancel_of("job-1"), content=b"why"), 400, "not_json")
        large = b"x" * (BODY_LIMIT + 1)
        problem(await client.post(cancel_of("job-1"), content=large), 413, "body_too_large")
        assert (await cancelled(client, reason="x" * 500))["error"]["message"] == "x" * 500


@virtually
async def test_a_reason_may_be_any_text():
    async with running() as (_, client):
        await ended(client)
        reason = '\0 "\u2028 \N{GRINNING FACE}'
        assert (await cancelled(client, reason=reason))["error"]["message"] == reason


# Pools -----------------------------------------------------------------------------------------

POOL = {
    "name": "default",
    "min_workers": 1,
    "max_workers": 1,
    "workers": 1,
    "pinned": False,
    "present": 1,
    "outdated": 0,
    "running": 0,
    "queued": 0,
    "oldest_wait_s": 0.0,
}


@virtually
async def test_the_pools_show_what_they_have_to_do():
    async with running() as (_, client):
        told = (await client.get(POOLS)).json()
        assert told == {"generation": 1, "pools": [POOL]}
        for n in range(103):
            await client.post(JOBS, json={"object_id": f"object-{n}"})
        await asyncio.sleep(5)
        (pool,) = (await client.get(POOLS)).json()["pools"]
        assert (pool["running"], pool["queued"]) == (100, 3)
        assert 5 <= pool["oldest_wait_s"] < 6


@virtually
async def test_a_pool_gets_as_many_workers_as_somebody_says_until_it_is_left_to_itself():
    async with running() as (system, client):
        response = await client.patch(f"{POOLS}/default", json={"workers": 3})
        assert response.status_code == 200
        assert response.json() == POOL | {"workers": 3, "pinned": True}
        assert (await client.get(POOLS)).json()["pools"] == [response.json()]
        # A 200 is durable: whoever comes after this Dispatcher finds it.
        assert (await system.jobs.rosters())["default"].size == 3
        for _ in range(2):
            response = await client.patch(f"{POOLS}/default", json={"workers": "auto"})
            assert (response.status_code, response.json()) == (200, POOL)


@virtually
async def test_a_pool_that_is_not_there_is_told_which_there_are():
    async with running() as (system, client):
        response = await client.patch(f"{POOLS}/gpu", json={"workers": 3})
        told = problem(response, 404, "unknown_pool")
        assert told["detail"] == "There is no pool 'gpu'; there are: default."
        assert list(await system.jobs.rosters()) == ["default"]


def slow_to_enroll(system):
    """Let MongoDB take its time over what a Dispatcher writes of its workers."""
    enroll = system.jobs.enroll

    async def later(*about):
        await asyncio.sleep(3)
        return await enroll(*about)

    system.jobs.enroll = later


@virtually
async def test_the_pools_can_be_looked_at_while_a_deployment_brings_another():
    async with running() as (system, client):
        slow_to_enroll(system)
        await system.jobs.deploy({"default": ONE, "gpu": PoolPlan(1, 2, 4)}, "")
        following = asyncio.ensure_future(system.dispatcher.follow())
        await asyncio.sleep(1)
        response = await client.get(POOLS)
        assert response.status_code == 200, response.text
        await following
        told = (await client.get(POOLS)).json()
        assert [(pool["name"], pool["workers"]) for pool in told["pools"]] == [("default", 1), ("gpu", 1)]
        assert told["generation"] == 2


@virtually
async def test_what_somebody_said_of_a_pool_is_not_undone_by_the_dispatchers_own_bookkeeping():
    """Which notes at the same time that workers are gone that were not wanted any more."""
    async with running() as (system, client):
        await client.patch(f"{POOLS}/default", json={"workers": 3})
        await asyncio.sleep(20)
        slow_to_enroll(system)
        await client.patch(f"{POOLS}/default", json={"workers": 1})
        told = (await client.patch(f"{POOLS}/default", json={"workers": 2})).json()
        assert (told["workers"], told["pinned"]) == (2, True)
        await asyncio.sleep(10)
        assert (await client.get(POOLS)).json()["pools"] == [told]
        assert (await system.jobs.rosters())["default"].size == 2


@virtually
async def test_a_deployment_that_takes_a_pool_away_does_not_cost_the_dispatcher_its_office():
    async with running() as (system, client):
        await system.jobs.deploy({"default": ONE, "gpu": PoolPlan(1, 2, 4)}, "")
        await system.dispatcher.follow()
        slow_to_enroll(system)
        await system.jobs.deploy({"default": ONE}, "")
        await system.dispatcher.follow()
        await asyncio.sleep(5.5)
        told = (await client.get(POOLS)).json()
        assert [pool["name"] for pool in told["pools"]] == ["default"]
        # It took its office once.
        assert await system.jobs.renew_epoch(1, 9.0)


@pytest.mark.parametrize("told_of", [True, False], ids=["hint", "sweep"])
@virtually
async def test_what_a_gateway_still_admits_for_a_pool_that_is_gone_runs_in_the_default_one(told_of):
    """The Gateways are replaced last, and a hint may be lost."""
    async with running(more=declared(on_gpus)) as (system, client):
        await system.jobs.deploy({"default": ONE, "gpu": ONE}, "")
        await system.dispatcher.follow()
        await system.jobs.deploy({"default": ONE}, "")
        await system.dispatcher.follow()
        dispatcher = system.dispatcher
        system.dispatcher = dispatcher if told_of else Failing(Unreachable())
        assert (await client.post(JOBS, json={"object_id": "x", "handler": "on_gpus"})).status_code == 201
        system.dispatcher = dispatcher
        await asyncio.sleep(60)
        assert (await client.get("/v1/jobs/job-1")).json()["status"] == "finished"


ONE = PoolPlan(1, 1, 100)

WHOLE = "must be a whole number from 1 to 10000, or auto"


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"workers": "Field required"}),
        ({"workers": 0}, {"workers": WHOLE}),
        ({"workers": 10_001}, {"workers": WHOLE}),
        ({"workers": 1.5}, {"workers": WHOLE}),
        ({"workers": "3"}, {"workers": WHOLE}),
        ({"workers": True}, {"workers": WHOLE}),
        ({"workers": None}, {"workers": WHOLE}),
        ({"workers": 3, "slots": 9}, {"slots": "Extra inputs are not permitted"}),
        (None, {"body": "Input should be an object"}),
    ],
    ids=str,
)
def test_a_number_of_workers_that_will_not_do_is_named_and_changes_nothing(body, errors):
    @virtually
    async def scenario():
        async with running() as (_, client):
            response = await client.patch(f"{POOLS}/default", content=json.dumps(body))
            told = problem(response, 422, "invalid_request")
            assert {error["field"]: error["message"] for error in told["errors"]} == errors
            assert (await client.get(POOLS)).json()["pools"] == [POOL]

    scenario()


@virtually
async def test_the_body_for_a_pool_is_read_as_any_other():
    async with running() as (_, client):
        problem(await client.patch(f"{POOLS}/default", content=b""), 400, "not_json")
        large = b"x" * (BODY_LIMIT + 1)
        problem(await client.patch(f"{POOLS}/default", content=large), 413, "body_too_large")


# Paths and methods -----------------------------------------------------------------------------


@virtually
async def test_an_unknown_job_is_told_so():
    async with running() as (_, client):
        told = problem(await client.get("/v1/jobs/nobody"), 404, "unknown_job")
        assert "nobody" in told["detail"]


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/job", "/v1/jobs/", "/v1/jobs/a/b", "/v1//x"])
def test_a_path_that_is_not_served_is_a_problem(path):
    @virtually
    async def scenario():
        async with running() as (_, client):
            response = await client.get(httpx.URL("http://hasty", raw_path=path.encode()))
            problem(response, 404, "not_found")

    scenario()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", JOBS, "POST"),
        ("POST", "/v1/jobs/a", "GET"),
        ("GET", "/v1/jobs/a/cancel", "POST"),
        ("DELETE", POOLS, "GET"),
        ("GET", "/v1/pools/default", "PATCH"),
    ],
)
def test_a_method_that_is_not_served_is_a_problem(method, path, allowed):
    @virtually
    async def scenario():
        async with running() as (_, client):
            response = await client.request(method, path)
            problem(response, 405, "method_not_allowed")
            assert response.headers["allow"] == allowed

    scenario()


#: Everything.
SERVED = {
    "post /",
    "get /{job_id}",
    "get /healthz",
    "get /readyz",
    "post /v1/jobs",
    "post /v1/jobs:batch",
    "get /v1/jobs",
    "get /v1/jobs/{job_id}",
    "get /v1/jobs/{job_id}/attempts",
    "get /v1/jobs/{job_id}/deliveries",
    "get /v1/jobs/{job_id}/events",
    "post /v1/jobs/{job_id}/cancel",
    "post /v1/jobs/{job_id}/rerun",
    "get /v1/events",
    "get /v1/handlers",
    "get /v1/objects/{object_id}",
    "get /v1/pools",
    "patch /v1/pools/{name}",
    "post /v1/schedules",
    "get /v1/schedules",
    "get /v1/schedules/{name}",
    "delete /v1/schedules/{name}",
    "post /v1/schedules/{name}/pause",
    "post /v1/schedules/{name}/resume",
}


@virtually
async def test_the_surface_describes_itself():
    async with running() as (_, client):
        described = (await client.get("/openapi.json")).json()
        paths = described["paths"]
        assert {f"{method} {path}" for path, methods in paths.items() for method in methods} == SERVED
        post = paths[JOBS]["post"]
        assert set(post["responses"]) == {"200", "201", "400", "404", "409", "413", "422", "429", "503"}
        body = post["requestBody"]["content"]["application/json"]["schema"]
        assert set(body["properties"]) == {
            *("object_id", "handler", "payload", "timeout", "priority", "run_at", "delay"),
            *("labels", "on_conflict", "webhook"),
        }

        cancel = paths[JOBS + "/{job_id}/cancel"]["post"]
        assert set(cancel["responses"]) == {"200", "400", "404", "409", "413", "422", "503"}
        assert "`already_ended`" in cancel["responses"]["409"]["description"]
        assert not cancel["requestBody"]["required"]
        body = cancel["requestBody"]["content"]["application/json"]["schema"]
        assert set(body["properties"]) == {"reason"}

        assert set(paths[POOLS]["get"]["responses"]) == {"200", "503"}
        scale = paths[POOLS + "/{name}"]["patch"]
        assert set(scale["responses"]) == {"200", "400", "404", "413", "422", "503"}
        assert scale["requestBody"]["required"]
        body = scale["requestBody"]["content"]["application/json"]["schema"]
        assert body["required"] == ["workers"]

        for path, methods in paths.items():
            for method in methods.values():
                named = [each["name"] for each in method.get("parameters", ()) if each["in"] == "path"]
                assert named == re.findall(r"{(\w+)}", path)
        job = described["components"]["schemas"]["JobView"]["properties"]
        assert {"progress", "run_at"} <= set(job)
        referred = set(json.dumps(described).split('"#/components/schemas/')[1:])
        names = {reference.split('"')[0] for reference in referred}
        assert names <= set(described["components"]["schemas"])
        assert "HTTPValidationError" not in described["components"]["schemas"]
        assert "/openapi.json" in (await client.get("/docs")).text


# What is away ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unreachable(), WrongVersion(), TryAgainLater()])
def test_what_may_succeed_later_is_a_503(error):
    @virtually
    async def scenario():
        system = System()
        system.registry = Failing(error)
        async with system.client() as client:
            told = problem(await client.post(JOBS, json={"object_id": "x"}), 503, error.code)
            assert told["retry_after"] == error.retry_after_s

    scenario()


@virtually
async def test_while_mongodb_is_away_posting_and_reading_are_a_503():
    async with running() as (system, client):
        system.jobs.away = True
        problem(await client.post(JOBS, json={"object_id": "x"}), 503, "store_unavailable")
        problem(await client.get("/v1/jobs/job-1"), 503, "store_unavailable")
        system.jobs.away = False


WAYS = [("POST", cancel_of("job-1")), ("GET", POOLS), ("PATCH", f"{POOLS}/default")]


@pytest.mark.parametrize(("method", "path"), WAYS)
@pytest.mark.parametrize("error", [Unreachable(), WrongVersion(), StoreUnavailable()])
def test_what_only_a_dispatcher_can_do_is_a_503_without_one(method, path, error):
    @virtually
    async def scenario():
        system = System()
        system.dispatcher = Failing(error)
        async with system.client() as client:
            told = problem(await client.request(method, path, json=BODIES[method]), 503, error.code)
            assert told["retry_after"] == error.retry_after_s

    scenario()


BODIES = {"POST": {"reason": "x"}, "GET": None, "PATCH": {"workers": 3}}


@pytest.mark.parametrize(("method", "path"), WAYS)
@virtually
async def test_a_dispatcher_without_office_or_that_does_not_answer_is_a_503(method, path, loop_time):
    system = System()
    async with system.client() as client:
        told = problem(await client.request(method, path, json=BODIES[method]), 503, "unreachable")
        assert told["detail"] == "the Dispatcher holds no office"
    system.dispatcher = Silent()
    began = loop_time()
    async with system.client() as client:
        asked = client.request(method, path, json=BODIES[method], timeout=None)
        told = problem(await asked, 503, "unreachable")
        assert told["detail"] == "the dispatcher did not answer in time"
    assert loop_time() - began == pytest.approx(30.0)


@virtually
async def test_a_dispatcher_that_a_later_one_has_superseded_is_a_503():
    """It does not know yet; the next one is asked when the client comes back."""
    async with running() as (system, client):
        await system.jobs.enroll(await system.jobs.rosters(), 99)
        response = await client.patch(f"{POOLS}/default", json={"workers": 3})
        assert response.status_code == 503, response.text


@virtually
async def test_a_pool_that_grows_as_its_dispatchers_office_ends_is_a_503():
    async with running() as (system, client):
        enroll, noted, may_go_on = system.jobs.enroll, asyncio.Event(), asyncio.Event()

        async def slowly(*about):
            noted.set()
            await may_go_on.wait()
            return await enroll(*about)

        system.jobs.enroll = slowly
        asked = asyncio.create_task(client.patch(f"{POOLS}/default", json={"workers": 5}))
        await noted.wait()
        system.dispatcher._reign.fail(StoreUnavailable())
        await asyncio.sleep(0.1)
        may_go_on.set()
        problem(await asked, 503, "unreachable")


@virtually
async def test_a_database_of_a_later_release_is_a_503():
    system = System()

    async def of_a_later_one():
        raise CannotStart("the database is of schema 99, this hasty knows 3")

    system.jobs.prepare = of_a_later_one
    async with system.client() as client:
        told = problem(await client.post(JOBS, json={"object_id": "x"}), 503, "wrong_version")
        assert "schema 99" in told["detail"]
        response = await client.post("/", json={"object_id": "x"})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")


@virtually
async def test_while_mongodb_is_away_a_cancel_is_a_503_and_afterwards_the_job_is_cancelled():
    async with running() as (system, client):
        await ended(client)
        system.jobs.away = True
        problem(await client.post(cancel_of("job-1")), 503, "store_unavailable")
        system.jobs.away = False
        assert (await cancelled(client))["status"] == "cancelled"


@virtually
async def test_a_cancel_that_is_not_written_down_yet_is_a_503_and_is_not_lost():
    """The ledger has it; MongoDB goes away before the job shows it."""
    async with running() as (system, client):
        await ended(client)
        close = system.ledger.close

        async def close_and_lose_mongodb(closings):
            answers = await close(closings)
            system.jobs.away = True
            return answers

        system.ledger.close = close_and_lose_mongodb
        problem(await client.post(cancel_of("job-1"), timeout=None), 503, "store_unavailable")
        system.jobs.away = False
        await asyncio.sleep(5)
        job = (await client.get("/v1/jobs/job-1")).json()
        assert (job["status"], job["error"]["type"]) == ("cancelled", "CancelRequested")


@virtually
async def test_an_error_inside_hasty_says_nothing_of_itself_to_the_client_and_all_to_the_log(caplog):
    system = System()
    system.registry = Failing(ZeroDivisionError("secret"))
    async with system.client() as client:
        with caplog.at_level(logging.ERROR, logger="hasty.api"):
            response = await client.post(JOBS, json={"object_id": "x"})
    problem(response, 500, "internal")
    assert "secret" not in response.text
    (record,) = [record for record in caplog.records if record.name == "hasty.api"]
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def test_every_error_that_a_client_can_meet_has_its_code_in_the_table():
    def below(error):
        return {error, *(child for kind in error.__subclasses__() for child in below(kind))}

    # These two are found out by clients, and by receivers of webhooks.
    elsewhere = {hasty.errors.NotHasty, hasty.errors.NotVerified}
    met = below(hasty.errors.FixTheRequest) - elsewhere | below(TryAgainLater)
    assert {error.code for error in met} | {str(reason) for reason in Reason} <= set(CODES)
