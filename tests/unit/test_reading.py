"""What `/v1` shows of objects, attempts and handlers."""

import asyncio
import json
import math
import warnings
from datetime import datetime, timedelta
from typing import Annotated, Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, InstanceOf, PlainSerializer, SecretStr

import hasty
from hasty.api.app import build_app
from hasty.api.reading_schemas import HandlerView, ObjectView
from hasty.errors import StoreUnavailable
from hasty.handlers.decorator import declaration_of
from hasty.handlers.shapes import shape
from hasty.job import Status
from hasty.rerun import Past, decide
from hasty.store.base import ObjectJobs
from tests.unit.examples import NOW, VIRTUAL_BEGINNING, a_job, a_request, repeatable, virtually
from tests.unit.system import WORKER, Failing, System, running

JOBS, OBJECTS, HANDLERS = "/v1/jobs", "/v1/objects", "/v1/handlers"


async def state(client, object_id="video-1"):
    response = await client.get(f"{OBJECTS}/{object_id}")
    assert response.status_code == 200, response.text
    return response.json()


async def submitted(client, status=201, **body):
    response = await client.post(JOBS, json={"object_id": "video-1"} | body)
    assert response.status_code == status, response.text
    return response.json()


def moment(text):
    return (datetime.fromisoformat(text) - VIRTUAL_BEGINNING).total_seconds()


# Objects ------------------------------------------------------------------------------------------


@virtually
async def test_an_object_is_shown_from_its_first_job_until_it_may_have_the_next(loop_time):
    async with running() as (_, client):
        job = await submitted(client)
        begun_s = moment(job["accepted_at"])
        await asyncio.sleep(1)
        shown = await state(client)
        running_now = (await client.get(job["links"]["self"])).json()
        assert running_now["status"] == "running"
        assert shown == {
            "object_id": "video-1",
            "runs": 1,
            "opens_at": shown["opens_at"],
            "open": False,
            "retry_after": math.ceil(begun_s + 300 - loop_time()),
            "last_job": running_now,
            "waiting_job": None,
        }
        assert moment(shown["opens_at"]) == begun_s + 300
        await asyncio.sleep(begun_s + 299.9 - loop_time())
        shown = await state(client)
        assert (shown["open"], shown["retry_after"], shown["last_job"]["status"]) == (False, 1, "finished")
        await asyncio.sleep(0.1)
        shown = await state(client)
        assert (shown["open"], shown["retry_after"], shown["runs"]) == (True, 0, 1)
        await submitted(client)
        shown = await state(client)
        assert (shown["open"], shown["runs"], shown["last_job"]["run"]) == (False, 2, 2)


@virtually
async def test_an_object_whose_window_is_open_and_whose_job_goes_on_is_not_open():
    async with running(window_s=5.0) as (_, client):
        await submitted(client)
        await asyncio.sleep(10)
        shown = await state(client)
        assert (shown["open"], shown["last_job"]["status"]) == (False, "running")
        response = await client.post(JOBS, json={"object_id": "video-1"})
        assert response.json()["retry_after"] == shown["retry_after"] > 0


@virtually
async def test_a_job_that_waits_is_shown_beside_the_last_one():
    async with running() as (_, client):
        first = await submitted(client)
        second = await submitted(client, on_conflict="after")
        shown = await state(client)
        assert shown["runs"] == 2
        assert (shown["last_job"]["id"], shown["waiting_job"]["id"]) == (first["id"], second["id"])
        assert shown["waiting_job"]["follows"] == first["id"]
        assert not shown["open"]


@virtually
async def test_a_job_that_was_cancelled_while_it_waited_leaves_the_window_to_the_one_before():
    async with running() as (_, client):
        first = await submitted(client)
        alone = await state(client)
        for _ in range(3):
            waiting = await submitted(client, on_conflict="after")
            await client.post(f"{JOBS}/{waiting['id']}/cancel")
        shown = await state(client)
        assert (shown["runs"], shown["waiting_job"]) == (4, None)
        assert (shown["last_job"]["id"], shown["opens_at"]) == (first["id"], alone["opens_at"])
        await asyncio.sleep(301)
        assert (await state(client))["open"]
        await submitted(client)


@virtually
async def test_an_object_whose_only_job_was_cancelled_while_it_waited_is_open():
    async with running() as (_, client):
        waiting = await submitted(client, delay=60)
        shown = await state(client)
        assert (shown["last_job"], shown["waiting_job"]["id"], shown["open"]) == (None, waiting["id"], False)
        await client.post(f"{JOBS}/{waiting['id']}/cancel")
        shown = await state(client)
        assert (shown["last_job"], shown["waiting_job"], shown["opens_at"]) == (None, None, None)
        assert (shown["open"], shown["retry_after"], shown["runs"]) == (True, 0, 1)


@virtually
async def test_an_object_without_a_job_is_a_problem():
    async with running() as (_, client):
        for object_id in ("nobody", "", "x" * 513, "%00"):
            response = await client.get(f"{OBJECTS}/{object_id}")
            assert (response.status_code, response.json()["code"]) == (404, "unknown_object"), object_id


@virtually
@pytest.mark.parametrize(
    "object_id", ["a/b", "/", "a//b/", " ", "ü?#&%", "é/\U0001f600", "x" * 512, "a%2Fb", "a\nb", "a\n"]
)
async def test_an_object_is_found_whatever_its_name_is(object_id):
    async with running() as (_, client):
        await submitted(client, object_id=object_id)
        quoted = "".join(f"%{byte:02X}" for byte in object_id.encode())
        assert (await state(client, quoted))["object_id"] == object_id


@virtually
async def test_an_object_whose_store_is_away_is_a_503():
    system = System()
    readers = system.readers()._replace(lists=Failing(StoreUnavailable()))
    app = build_app(system.gateway(), 300.0, readers=readers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hasty") as client:
        assert (await client.get(f"{OBJECTS}/x")).status_code == 503


#: What may happen to an object, one after the other.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from(["reject", "attach", "replace", "after"])),
        st.tuples(st.just("submit later"), st.integers(1, 400)),
        st.tuples(st.just("cancel"), st.sampled_from(["last", "waiting", "newest"])),
        st.tuples(st.just("time"), st.sampled_from([0.5, 5, 20, 100, 300])),
    ),
    min_size=1,
    max_size=12,
)


@settings(repeatable, max_examples=40)
@given(steps=steps)
@virtually
async def test_an_object_that_is_shown_as_open_takes_a_job_and_no_other_does(steps):
    """Whatever was before: what is shown is what a plain request is told at that moment."""
    async with running(window_s=120.0) as (system, client):
        await submitted(client)
        for step, how in steps:
            await take(system, client, step, how)
            shown = await state(client)
            newest = max(system.jobs.jobs.values(), key=lambda job: job.run)
            assert shown["runs"] == newest.run
            waits = newest.live and newest.waits_for_turn
            assert (shown["waiting_job"] or {}).get("id") == (newest.job_id if waits else None)
            had_turn = [job for job in system.jobs.jobs.values() if not job.waits_for_turn]
            assert shown["last_job"]["id"] == max(had_turn, key=lambda job: job.run).job_id
            response = await client.post(JOBS, json={"object_id": "video-1"})
            assert response.status_code == (201 if shown["open"] else 409), (shown, response.text)
            if not shown["open"]:
                assert response.json()["retry_after"] == shown["retry_after"]


async def take(system, client, step, how):
    if step == "submit":
        await client.post(JOBS, json={"object_id": "video-1", "on_conflict": how})
    elif step == "submit later":
        await client.post(JOBS, json={"object_id": "video-1", "delay": how, "on_conflict": "after"})
    elif step == "time":
        await asyncio.sleep(how)
    else:
        shown = await state(client)
        newest = max(system.jobs.jobs.values(), key=lambda job: job.run).job_id
        job = {"newest": {"id": newest}}.get(how) or shown[f"{how}_job"]
        if job is not None:
            await client.post(f"{JOBS}/{job['id']}/cancel")


@pytest.mark.parametrize("ms", [1, 999, 1_000, 1_001])
def test_a_part_of_a_second_is_a_second_to_wait(ms):
    job = a_job(opens_at=NOW + timedelta(milliseconds=ms), status=Status.FINISHED)
    verdict = decide(Past(job, job), a_request("job-2"), NOW)
    shown = ObjectView.of("video-1", ObjectJobs(job, job, job), verdict)
    assert shown.retry_after == math.ceil(ms / 1000)


def test_jobs_that_never_had_their_turn_are_passed_over_in_the_order_of_runs():
    """Also one that is still live below one that ended: it stands in the way, and is not the last."""
    ended = {"turn_due": NOW, "status": Status.CANCELLED}
    waits = {"turn_due": NOW, "status": Status.SCHEDULED}
    first, second, third, fourth = (
        a_job("1", run=1, status=Status.FINISHED),
        a_job("2", run=2, **ended),
        a_job("3", run=3, **waits),
        a_job("4", run=4, **ended),
    )
    assert ObjectJobs.of([fourth, third, second, first]) == (fourth, third, first)
    assert ObjectJobs.of([third, second, first]) == (third, third, first)
    assert ObjectJobs.of([second, first]) == (second, first, first)
    assert ObjectJobs.of([second]) == (second, None, None)
    assert ObjectJobs.of([]) is None


# Attempts -------------------------------------------------------------------------------------------


@hasty.handler(retries=2, backoff=1, backoff_cap=1)
async def stumbles(job: hasty.JobContext) -> int:
    if job.attempt < 3:
        raise ConnectionError(f"busy {job.attempt}")
    return job.attempt


def declared(function):
    return declaration_of(function).handler(timeout_s=46.0, rerun_window_s=300.0)


async def attempts(client, job_id):
    response = await client.get(f"{JOBS}/{job_id}/attempts")
    assert response.status_code == 200, response.text
    return response.json()["attempts"]


@virtually
async def test_each_attempt_is_told_with_its_process_its_times_and_its_end():
    async with running(more=[declared(stumbles)]) as (_, client):
        job = await submitted(client, handler="stumbles")
        await asyncio.sleep(10)
        assert (await client.get(job["links"]["self"])).json()["status"] == "finished"
        told = await attempts(client, job["id"])
    assert [each["attempt"] for each in told] == [1, 2, 3]
    assert [each["outcome"] for each in told] == ["retried", "retried", "finished"]
    assert [each["error"] for each in told] == [
        {"type": "ConnectionError", "message": "busy 1"},
        {"type": "ConnectionError", "message": "busy 2"},
        None,
    ]
    times = [moment(each[name]) for each in told for name in ("started_at", "ended_at")]
    assert times == sorted(times)
    for each in told:
        about = (each["worker"], each["node"], each["pid"], each["boot"], each["cause"])
        assert about == (WORKER, "node", 1, 1, None)


@virtually
async def test_a_running_attempt_and_one_that_was_cancelled_say_so():
    async with running() as (_, client):
        job = await submitted(client)
        assert await attempts(client, job["id"]) == []
        await asyncio.sleep(1)
        (attempt,) = await attempts(client, job["id"])
        assert (attempt["outcome"], attempt["ended_at"], attempt["error"]) == ("running", None, None)
        await client.post(f"{JOBS}/{job['id']}/cancel", json={"reason": "sold out"})
        (attempt,) = await attempts(client, job["id"])
        assert attempt["outcome"] == "cancelled"
        assert attempt["error"] == {"type": "CancelRequested", "message": "sold out"}


@virtually
async def test_a_job_that_never_ran_has_no_attempts_and_one_that_is_unknown_is_a_problem():
    async with running() as (_, client):
        job = await submitted(client, delay=60)
        await client.post(f"{JOBS}/{job['id']}/cancel")
        assert await attempts(client, job["id"]) == []
        response = await client.get(f"{JOBS}/nobody/attempts")
        assert (response.status_code, response.json()["code"]) == (404, "unknown_job")


@virtually
async def test_attempts_that_cannot_be_read_now_are_a_503():
    system = System()
    await system.jobs.insert([a_job()])
    readers = system.readers()._replace(attempts=Failing(StoreUnavailable()))
    app = build_app(system.gateway(), 300.0, readers=readers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hasty") as client:
        assert (await client.get(f"{JOBS}/job-1/attempts")).status_code == 503


# Handlers -------------------------------------------------------------------------------------------


class Size(BaseModel):
    width: int = Field(1, gt=0, alias="w", description="In pixels.")


class Thumbnail(BaseModel):
    """A picture that is made."""

    size: Size
    url: str = Field(serialization_alias="href")


class Opaque:
    """Nothing that JSON schema knows."""


@hasty.handler(
    name="thumb",
    timeout=7,
    max_timeout=70,
    rerun_window=11,
    window_from="finished",
    window_after=["finished", "failed"],
    retries=4,
    max_crashes=2,
    pool="gpu",
    queue_timeout=13,
)
async def thumbnail(_job: hasty.JobContext, _size: Size) -> Thumbnail:
    """Make a thumbnail.

    It is for the team that it is slow: see the secret page.
    """
    raise NotImplementedError


@hasty.handler
def plain(_payload): ...


@hasty.handler
def takes_nothing() -> None: ...


@virtually
async def test_handlers_are_listed_by_name_with_all_that_clients_need():
    async with running(more=[declared(each) for each in (thumbnail, plain, takes_nothing)]) as (_, client):
        response = await client.get(HANDLERS)
    assert response.status_code == 200
    told = {each["name"]: each for each in response.json()["handlers"]}
    assert list(told) == ["plain", "sleep", "takes_nothing", "thumb"]
    schemas = {name: told["thumb"].pop(name) for name in ("payload_schema", "result_schema")}
    assert told["thumb"] == {
        "name": "thumb",
        "description": "Make a thumbnail.",
        "pool": "gpu",
        "timeout": 7,
        "max_timeout": 70,
        "rerun_window": 11,
        "window_from": "finished",
        "window_after": ["failed", "finished"],
        "retries": 4,
        "max_crashes": 2,
        "queue_timeout": 13,
    }
    # As clients send it, by its alias; and as they get it.
    assert schemas["payload_schema"]["properties"]["w"]["exclusiveMinimum"] == 0
    assert schemas["result_schema"]["properties"]["size"] == {"$ref": "#/$defs/Size"}
    assert schemas["result_schema"]["required"] == ["size", "href"]
    plain_one = told["plain"]
    assert (plain_one["timeout"], plain_one["rerun_window"], plain_one["window_from"]) == (
        46,
        300,
        "accepted",
    )
    assert plain_one["max_timeout"] is plain_one["queue_timeout"] is plain_one["description"] is None
    assert (plain_one["payload_schema"], plain_one["result_schema"]) == (None, None)
    assert told["takes_nothing"]["payload_schema"] == {"type": "null"}
    assert told["takes_nothing"]["result_schema"] == {"type": "null"}
    assert told["sleep"]["pool"] == "default"


@virtually
async def test_nothing_is_told_of_where_handlers_come_from():
    async with running(more=[declared(thumbnail)]) as (_, client):
        told = (await client.get(HANDLERS)).text
    assert not any(word in told for word in ("tests", "test_reading", "thumbnail(", "secret page", ".py"))


@pytest.mark.parametrize(
    "annotation",
    [
        InstanceOf[Opaque],
        Annotated[int, Field(default=object())],
        Annotated[Any, PlainSerializer(lambda value: value)],
        dict[str, SecretStr],
        list[Size] | None,
    ],
)
def test_a_type_that_json_schema_cannot_tell_is_no_reason_to_fail(annotation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for side in ("payload", "result"):
            json.dumps(shape(annotation).schema(side))


def test_a_model_with_a_default_that_is_no_json_is_told_without_it():
    class Strange(BaseModel):
        value: Any = object()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shape(Strange).schema("payload")["properties"] == {"value": {"title": "Value"}}


def test_a_function_that_says_nothing_of_itself_has_no_description():
    assert HandlerView.of(declared(plain)).description is None


@pytest.mark.parametrize("path", [OBJECTS + "/{object_id}", HANDLERS, JOBS + "/{job_id}/attempts"])
@virtually
async def test_the_reading_endpoints_describe_themselves(path):
    async with running() as (_, client):
        described = (await client.get("/openapi.json")).json()
    operation = described["paths"][path]["get"]
    assert operation["description"]
    names = [each["name"] for each in operation.get("parameters", ())]
    assert names == [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert reference.rpartition("/")[2] in described["components"]["schemas"]
