"""`/v1` as clients see it: jobs for any handler, and problems with stable codes."""

import asyncio
import json
import logging

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import hasty
import hasty.errors
from hasty.api.bodies import BODY_LIMIT
from hasty.api.gateway import PAYLOAD_LIMIT
from hasty.api.problems import CODES
from hasty.errors import TryAgainLater, Unreachable, WrongVersion
from hasty.handlers.decorator import declaration_of
from hasty.messages import Reason
from tests.unit.examples import repeatable, virtually
from tests.unit.system import Failing, System, running

JOBS = "/v1/jobs"


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


MORE = [
    declaration_of(function).handler(timeout_s=46.0, rerun_window_s=300.0)
    for function in (invoice, careless, blocking)
]


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
            "accepted_at": "2026-01-01T00:00:00.100000Z",
            "started_at": None,
            "ended_at": None,
            "links": {"self": "/v1/jobs/job-1"},
        }
        assert response.json() == queued
        await asyncio.sleep(1)
        job = (await client.get("/v1/jobs/job-1")).json()
        begun = {"status": "running", "attempt": 1, "started_at": "2026-01-01T00:00:00.100000Z"}
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
    [("GET", JOBS, "POST"), ("PUT", JOBS, "POST"), ("POST", "/v1/jobs/a", "GET")],
)
def test_a_method_that_is_not_served_is_a_problem(method, path, allowed):
    @virtually
    async def scenario():
        async with running() as (_, client):
            response = await client.request(method, path)
            problem(response, 405, "method_not_allowed")
            assert response.headers["allow"] == allowed

    scenario()


@virtually
async def test_the_surface_describes_itself():
    async with running() as (_, client):
        described = (await client.get("/openapi.json")).json()
        assert set(described["paths"]) == {JOBS, JOBS + "/{job_id}"}
        post = described["paths"][JOBS]["post"]
        assert set(post["responses"]) == {"201", "400", "404", "409", "413", "422", "503"}
        body = post["requestBody"]["content"]["application/json"]["schema"]
        assert set(body["properties"]) == {"object_id", "handler", "payload"}
        assert set(described["paths"][JOBS + "/{job_id}"]["get"]["responses"]) == {"200", "404", "503"}
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

    met = below(hasty.errors.FixTheRequest) | below(TryAgainLater)
    assert {error.code for error in met} | {str(reason) for reason in Reason} <= set(CODES)
