"""`/v1/schedules` as clients see it, and the jobs that schedules make."""

import asyncio
import itertools
import json
import re
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

import hasty
from hasty.actors.timetable import Timetable
from hasty.api import scheduling
from hasty.api.schedule_schemas import LONGEST_INTERVAL_S, NewSchedule, ScheduledJob
from hasty.api.scheduling import Scheduling, compose
from hasty.api.schemas import NewJob
from hasty.api.v1 import build_v1
from hasty.errors import StoreUnavailable
from hasty.schedule import GRACE, Cron, FiringOutcome, Interval
from hasty.store.memory import MemoryScheduleStore
from hasty.testing import run_virtually
from tests.unit.examples import NOW, VIRTUAL_BEGINNING, repeatable, virtually
from tests.unit.system import System
from tests.unit.test_v1 import declared, problem

SCHEDULES = "/v1/schedules"


class Report(BaseModel):
    pages: int

    @field_validator("pages")
    @classmethod
    def _is_not_thirteen(cls, pages):
        if pages == 13:
            raise ZeroDivisionError
        return pages


@hasty.handler(rerun_window=0)
async def report(report: Report) -> int:
    return report.pages


class Scheduled(System):
    """A system with schedules, and who looks after them."""

    def __init__(self):
        super().__init__(window_s=0, sleep_s=0.1, more=declared(report))
        self.schedules = Shaky()
        self.numbers = itertools.count(1)

    def schedules_client(self):
        check = self.gateway().check
        mint = lambda: f"uid-{next(self.numbers)}"  # noqa: E731
        scheduling = Scheduling(self.schedules, self.jobs, self._clock, check=check, mint=mint)
        app = build_v1(self.gateway(), scheduling=scheduling)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://hasty")

    def timetable(self):
        check = self.gateway().check
        return Timetable(
            self.schedules,
            self.registry,
            self._clock,
            compose=lambda schedule, job_id: compose(schedule, job_id, check),
            mint=self.mint,
        )

    async def keep_time(self):
        """Serve, and let schedules have their jobs."""
        await self.serve()
        self._duties.append(asyncio.ensure_future(self.timetable().serve()))


class Shaky(MemoryScheduleStore):
    """A store in memory, of which a method can be made to fail, or to come too late."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.meanwhile = []

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith("_") and callable(found) and self.away:
            return self._refuse
        return found

    async def _refuse(self, *_arguments):
        raise StoreUnavailable("MongoDB gave no clear answer (NetworkTimeout)")

    async def find(self, name):
        found = await super().find(name)
        # Somebody else changes it right after it was read.
        if self.meanwhile:
            await self.advance([self.meanwhile.pop(0)(found)])
        return found


@asynccontextmanager
async def scheduled():
    system = Scheduled()
    async with system.schedules_client() as client:
        yield system, client


def a_body(**changes):
    return {"name": "nightly", "cron": "30 2 * * *", "job": {"object_id": "x"}} | changes


async def created(client, **changes):
    response = await client.post(SCHEDULES, json=a_body(**changes))
    assert response.status_code == 201, response.text
    return response.json()


# Creating --------------------------------------------------------------------------------------


@virtually
async def test_a_new_schedule_is_told_where_it_is_and_when_it_fires():
    async with scheduled() as (_, client):
        response = await client.post(SCHEDULES, json=a_body(timezone="Europe/Berlin"))
        assert (response.status_code, response.headers["location"]) == (201, "/v1/schedules/nightly")
        assert "idempotency-replayed" not in response.headers
        shown = {
            "name": "nightly",
            "cron": "30 2 * * *",
            "interval": None,
            "timezone": "Europe/Berlin",
            "missed": "skip",
            "paused": False,
            "job": {
                "object_id": "x",
                "handler": "sleep",
                "payload": None,
                "timeout": None,
                "priority": 0,
                "labels": {},
                "on_conflict": "reject",
                "webhook": None,
            },
            "next_at": "2026-01-01T01:30:00Z",
            "last": None,
            "created_at": "2026-01-01T00:00:00Z",
        }
        assert response.json() == shown
        response = await client.get(response.headers["location"])
        assert (response.status_code, response.json()) == (200, shown)


@virtually
async def test_an_interval_counts_from_the_creation():
    async with scheduled() as (_, client):
        await asyncio.sleep(0.25)
        shown = await created(client, cron=None, interval=1.5)
        assert (shown["cron"], shown["interval"], shown["timezone"]) == (None, 1.5, "UTC")
        assert shown["created_at"] == "2026-01-01T00:00:00.250000Z"
        assert shown["next_at"] == "2026-01-01T00:00:01.750000Z"


@virtually
async def test_all_that_a_job_may_say_is_kept():
    job = {
        "object_id": "é/1",
        "handler": "report",
        "payload": {"pages": 7},
        "timeout": 9.5,
        "priority": -3,
        "labels": {"team": "a=b", "env": "test"},
        "on_conflict": "after",
        "webhook": {"url": "https://example.org/hooks"},
    }
    async with scheduled() as (system, client):
        assert (await created(client, job=job))["job"] == job
        request = compose(system.schedules.schedules["nightly"], "job-1", system.gateway().check)
        assert (request.job_id, request.object_id, request.payload) == ("job-1", "é/1", {"pages": 7})
        assert (request.timeout_s, request.priority, request.on_conflict) == (9.5, -3, "after")
        assert request.labels == (("env", "test"), ("team", "a=b"))
        assert request.webhook == "https://example.org/hooks"
        assert (request.run_at, request.window) == (None, system.handlers["report"].window)


JOB = {"object_id": "x"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "Nightly"}, ("name", "String should match")),
        ({"name": "a/b"}, ("name", "String should match")),
        ({"name": "-a"}, ("name", "String should match")),
        ({"name": ""}, ("name", "String should match")),
        ({"name": "nightly\n"}, ("name", "String should match")),
        ({"name": "a" * 64}, ("name", "String should match")),
        ({"name": 7}, ("name", "Input should be a valid string")),
        ({"cron": "61 * * * *"}, ("cron", "is no cron expression that ever fires: bad minute")),
        ({"cron": "0 2 30 2 *"}, ("cron", "is no cron expression that ever fires: bad day-of-month")),
        ({"cron": "* * * * * *"}, ("cron", "must have 5 fields: minute, hour, day of month, month")),
        ({"cron": "*" * 256}, ("cron", "String should have at most 255 characters")),
        ({"cron": None}, ("body", "must have either cron or interval")),
        ({"interval": 60}, ("body", "must have either cron or interval")),
        ({"cron": None, "interval": 0.999}, ("interval", "Input should be greater than or equal to 1")),
        ({"cron": None, "interval": 366 * 86_400 + 1}, ("interval", "Input should be less than or equal")),
        ({"cron": None, "interval": "60"}, ("interval", "Input should be a valid number")),
        ({"cron": None, "interval": True}, ("interval", "Input should be a valid number")),
        ({"timezone": "Mars/Olympus"}, ("timezone", "is no time zone of the IANA database")),
        ({"timezone": "Europe"}, ("timezone", "is no time zone of the IANA database")),
        (
            {"cron": None, "interval": 60, "timezone": "Europe/Berlin"},
            ("body", "must have no timezone where it has an interval"),
        ),
        ({"missed": "all"}, ("missed", "Input should be 'skip' or 'once'")),
        ({"paused": 1}, ("paused", "Input should be a valid boolean")),
        ({"retries": 3}, ("retries", "Extra inputs are not permitted")),
        ({"job": None}, ("job", "Input should be an object")),
        ({"job": {}}, ("job.object_id", "Field required")),
        ({"job": JOB | {"run_at": "2026-01-01T00:00:00Z"}}, ("job.run_at", "Input should be null")),
        ({"job": JOB | {"delay": 0}}, ("job.delay", "Input should be null")),
        ({"job": JOB | {"priority": 101}}, ("job.priority", "Input should be less than or equal to 100")),
        ({"job": JOB | {"labels": {"a b": "c"}}}, ("job.labels.a b.[key]", "String should match")),
        ({"job": JOB | {"timeout": 46.1}}, ("timeout", "must be at most 46")),
        ({"job": JOB | {"handler": "report", "payload": {}}}, ("payload.pages", "Field required")),
        ({"job": JOB | {"handler": "report", "payload": {"pages": "x"}}}, ("payload.pages", "Input should")),
    ],
)
@virtually
async def test_what_can_never_be_a_schedule_is_refused(changes, complaint):
    async with scheduled() as (system, client):
        response = await client.post(SCHEDULES, json=a_body(**changes))
        (error,) = problem(response, 422, "invalid_request")["errors"]
        assert error["field"] == complaint[0]
        assert error["message"].startswith(complaint[1])
        assert not system.schedules.schedules


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@virtually
async def test_a_payload_that_is_no_json_is_refused_as_for_a_job(number):
    async with scheduled() as (system, client):
        await created(client)
        body = json.dumps(a_body(name="other", job=JOB | {"payload": "?"})).replace('"?"', number)
        response = await client.post(SCHEDULES, content=body)
        (error,) = problem(response, 422, "invalid_request")["errors"]
        assert error == {"field": "payload", "message": "has a number that is out of range"}
        assert set(system.schedules.schedules) == {"nightly"}


@virtually
async def test_a_handler_is_there_and_a_payload_small_enough():
    async with scheduled() as (system, client):
        response = await client.post(SCHEDULES, json=a_body(job=JOB | {"handler": "nobody"}))
        assert problem(response, 404, "unknown_handler")["handlers"] == ["report", "sleep"]
        response = await client.post(SCHEDULES, json=a_body(job=JOB | {"payload": "x" * 256 * 1024}))
        problem(response, 413, "payload_too_large")
        response = await client.post(SCHEDULES, content=b"x" * (1024 * 1024 + 1))
        problem(response, 413, "body_too_large")
        response = await client.post(SCHEDULES, content=b"{")
        problem(response, 400, "not_json")
        assert not system.schedules.schedules


@virtually
async def test_there_are_no_more_schedules_than_there_may_be(monkeypatch):
    monkeypatch.setattr(scheduling, "MOST_SCHEDULES", 2)
    async with scheduled() as (_, client):
        await created(client, name="a")
        await created(client, name="b")
        problem(await client.post(SCHEDULES, json=a_body(name="c")), 409, "too_many_schedules")
        # Those that there are stay what they are.
        assert (await client.post(SCHEDULES, json=a_body(name="b"))).status_code == 200
        assert (await client.delete(SCHEDULES + "/a")).status_code == 204
        await created(client, name="c")


def test_so_many_schedules_there_may_be():
    assert scheduling.MOST_SCHEDULES == 10_000


# Again -----------------------------------------------------------------------------------------


SAME = [
    {},
    {"interval": None, "timezone": "UTC", "missed": "skip", "paused": False},
    {"cron": " 30  2 * * *"},
    {"job": {"handler": "sleep", "object_id": "x", "labels": {}, "priority": 0, "webhook": None}},
]
OTHERS = [
    {"cron": "31 2 * * *"},
    {"cron": None, "interval": 60},
    {"timezone": "Europe/Berlin"},
    {"missed": "once"},
    {"paused": True},
    {"job": {"object_id": "y"}},
    {"job": {"object_id": "x", "payload": 1}},
    {"job": {"object_id": "x", "labels": {"a": "b"}}},
]


@pytest.mark.parametrize("changes", SAME)
@virtually
async def test_the_same_again_changes_nothing(changes):
    async with scheduled() as (_, client):
        first = await created(client)
        await asyncio.sleep(1)
        response = await client.post(SCHEDULES, json=a_body(**changes))
        assert (response.status_code, response.json()) == (200, first)
        assert response.headers["location"] == "/v1/schedules/nightly"


@virtually
async def test_the_order_of_names_in_a_body_means_nothing():
    async with scheduled() as (_, client):
        ordered = {"payload": {"a": 1, "b": 2}, "labels": {"a": "1", "b": "2"}}
        await created(client, job=JOB | ordered)
        turned = {name: dict(reversed(value.items())) for name, value in ordered.items()}
        assert (await client.post(SCHEDULES, json=a_body(job=turned | JOB))).status_code == 200


@pytest.mark.parametrize("changes", OTHERS)
@virtually
async def test_another_of_its_name_is_refused(changes):
    async with scheduled() as (_, client):
        first = await created(client)
        response = await client.post(SCHEDULES, json=a_body(**changes))
        problem(response, 409, "schedule_exists")
        assert (await client.get(SCHEDULES + "/nightly")).json() == first


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), ({"a": 1}, {"a": True})])
@virtually
async def test_payloads_that_python_takes_for_equal_are_different(one, other):
    async with scheduled() as (_, client):
        await created(client, job=JOB | {"payload": one})
        response = await client.post(SCHEDULES, json=a_body(job=JOB | {"payload": other}))
        problem(response, 409, "schedule_exists")


@virtually
async def test_what_there_is_stays_so_also_where_its_handler_is_gone():
    async with scheduled() as (system, client):
        await created(client, job=JOB | {"handler": "report", "payload": {"pages": 1}})
        system.handlers._by_name.pop("report")
        response = await client.post(
            SCHEDULES, json=a_body(job=JOB | {"handler": "report", "payload": {"pages": 1}})
        )
        assert response.status_code == 200


@virtually
async def test_a_repeat_with_its_key_gets_the_first_answer():
    async with scheduled() as (_, client):
        key = {"Idempotency-Key": "k-1"}
        first = await client.post(SCHEDULES, json=a_body(), headers=key)
        again = await client.post(SCHEDULES, json=a_body(), headers=key)
        assert (again.status_code, again.json()) == (first.status_code, first.json()) == (201, first.json())
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        # One with another key, or none, is no repeat.
        other = await client.post(SCHEDULES, json=a_body(), headers={"Idempotency-Key": "k-2"})
        assert (other.status_code, "idempotency-replayed" in other.headers) == (200, False)


@pytest.mark.parametrize("changes", [{"name": "other"}, *OTHERS])
@virtually
async def test_a_key_is_for_one_request(changes):
    async with scheduled() as (system, client):
        key = {"Idempotency-Key": "k-1"}
        await client.post(SCHEDULES, json=a_body(), headers=key)
        response = await client.post(SCHEDULES, json=a_body(**changes), headers=key)
        problem(response, 422, "idempotency_key_reused")
        assert set(system.schedules.schedules) == {"nightly"}


@virtually
async def test_a_key_counts_before_a_name():
    async with scheduled() as (_, client):
        await client.post(SCHEDULES, json=a_body(), headers={"Idempotency-Key": "k-1"})
        await created(client, name="other")
        response = await client.post(SCHEDULES, json=a_body(name="other"), headers={"Idempotency-Key": "k-1"})
        problem(response, 422, "idempotency_key_reused")


@virtually
async def test_a_key_is_visible_ascii():
    async with scheduled() as (_, client):
        response = await client.post(SCHEDULES, json=a_body(), headers={"Idempotency-Key": "a b"})
        (error,) = problem(response, 422, "invalid_request")["errors"]
        assert error["field"] == "Idempotency-Key"


@virtually
async def test_a_schedule_whose_answer_was_lost_is_there_when_it_is_made_again():
    async with scheduled() as (system, client):
        create = system.schedules.create

        async def create_and_be_silent(schedule):
            await create(schedule)
            raise StoreUnavailable

        system.schedules.create = create_and_be_silent
        response = await client.post(SCHEDULES, json=a_body(), headers={"Idempotency-Key": "k"})
        problem(response, 503, "store_unavailable")
        again = await client.post(SCHEDULES, json=a_body(), headers={"Idempotency-Key": "k"})
        assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")


@virtually
async def test_of_two_who_create_it_at_once_both_are_told_of_the_one():
    async with scheduled() as (system, client):
        known, system.schedules.known = system.schedules.known, Later(system.schedules.known)
        answers = await asyncio.gather(*(client.post(SCHEDULES, json=a_body()) for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == [200, 201]
        assert answers[0].json() == answers[1].json()
        system.schedules.known = Later(known)
        others = [a_body(name="other", cron=f"{n} 0 * * *") for n in range(2)]
        answers = await asyncio.gather(*(client.post(SCHEDULES, json=body) for body in others))
        assert sorted(answer.status_code for answer in answers) == [201, 409]


class Later:
    """A call whose answer takes a while."""

    def __init__(self, call):
        self._call = call

    async def __call__(self, *args):
        answer = await self._call(*args)
        await asyncio.sleep(0.1)
        return answer


# Showing ---------------------------------------------------------------------------------------


@virtually
async def test_schedules_are_listed_by_their_names():
    async with scheduled() as (_, client):
        assert (await client.get(SCHEDULES)).json() == {"schedules": [], "next_cursor": None}
        shown = {name: await created(client, name=name) for name in ("c", "a", "b", "d", "e")}
        listed = (await client.get(SCHEDULES)).json()
        assert listed == {"schedules": [shown[name] for name in "abcde"], "next_cursor": None}
        first = (await client.get(SCHEDULES, params={"limit": 2})).json()
        assert first == {"schedules": [shown["a"], shown["b"]], "next_cursor": "b"}
        # Whatever goes and comes meanwhile.
        await client.delete(SCHEDULES + "/b")
        await created(client, name="aa")
        rest = (await client.get(SCHEDULES, params={"limit": 9, "cursor": first["next_cursor"]})).json()
        assert rest == {"schedules": [shown[name] for name in "cde"], "next_cursor": None}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "A"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"offset": "7"}, "offset"),
    ],
)
@virtually
async def test_a_list_is_asked_for_as_it_can_be_had(params, field):
    async with scheduled() as (_, client):
        response = await client.get(SCHEDULES, params=params)
        assert problem(response, 422, "invalid_request")["errors"][0]["field"] == field


@virtually
async def test_a_schedule_that_is_not_there_is_told_apart_from_a_path_that_is_not():
    async with scheduled() as (_, client):
        for method, path in [
            ("GET", "/nobody"),
            ("DELETE", "/nobody"),
            ("POST", "/nobody/pause"),
            ("POST", "/nobody/resume"),
            ("GET", "/%00"),
        ]:
            problem(await client.request(method, SCHEDULES + path), 404, "unknown_schedule")
        problem(await client.get(SCHEDULES + "/a/b"), 404, "not_found")
        problem(await client.put(SCHEDULES + "/a"), 405, "method_not_allowed")


@virtually
async def test_a_stored_job_that_this_release_takes_no_more_is_shown_all_the_same():
    async with scheduled() as (system, client):
        await created(client)
        job = system.schedules.schedules["nightly"].job
        job["on_conflict"] = "explode"
        job["webhook"] = "somewhere"
        shown = (await client.get(SCHEDULES)).json()["schedules"][0]["job"]
        assert (shown["on_conflict"], shown["webhook"], shown["priority"]) == ("explode", "somewhere", 0)


# Pausing, resuming, deleting -------------------------------------------------------------------


@virtually
async def test_a_schedule_is_paused_and_resumed_and_neither_twice():
    async with scheduled() as (system, client):
        first = await created(client, cron=None, interval=10)
        await asyncio.sleep(12)
        for _ in range(2):
            paused = await client.post(SCHEDULES + "/nightly/pause")
            assert (paused.status_code, paused.json()) == (200, first | {"paused": True, "next_at": None})
        await asyncio.sleep(30)
        for _ in range(2):
            resumed = await client.post(SCHEDULES + "/nightly/resume")
            expected = first | {"next_at": "2026-01-01T00:00:50Z"}
            assert (resumed.status_code, resumed.json()) == (200, expected)
            await asyncio.sleep(1)
        assert system.schedules.schedules["nightly"].version == 3


@virtually
async def test_time_is_what_the_store_says_not_the_machine():
    async with scheduled() as (system, client):

        async def in_the_past():
            return VIRTUAL_BEGINNING - timedelta(days=1)

        system.jobs.server_time = in_the_past
        shown = await created(client, cron=None, interval=10)
        assert shown["next_at"] == "2025-12-31T00:00:10Z"
        await client.post(SCHEDULES + "/nightly/pause")
        resumed = await client.post(SCHEDULES + "/nightly/resume")
        assert resumed.json()["next_at"] == "2025-12-31T00:00:10Z"


@virtually
async def test_resuming_what_is_not_paused_skips_nothing_that_is_due():
    async with scheduled() as (_, client):
        await created(client, cron=None, interval=10)
        await asyncio.sleep(12)
        resumed = await client.post(SCHEDULES + "/nightly/resume")
        assert resumed.json()["next_at"] == "2026-01-01T00:00:10Z"


@virtually
async def test_a_pause_stands_also_when_a_firing_comes_in_between():
    async with scheduled() as (system, client):
        await created(client, cron=None, interval=10)
        system.schedules.meanwhile = [lambda schedule: schedule.decided(schedule.next_at, "job-1")]
        await asyncio.sleep(10)
        response = await client.post(SCHEDULES + "/nightly/pause")
        assert response.json()["paused"]
        schedule = system.schedules.schedules["nightly"]
        assert (schedule.pending.job_id, schedule.next_at) == ("job-1", None)


@virtually
async def test_a_change_that_loses_again_and_again_says_so():
    async with scheduled() as (system, client):
        await created(client)
        system.schedules.meanwhile = [lambda schedule: schedule.decided(schedule.next_at, "job")] * 99
        problem(await client.post(SCHEDULES + "/nightly/pause"), 503, "store_unavailable")
        system.schedules.meanwhile = []
        assert (await client.post(SCHEDULES + "/nightly/pause")).status_code == 200


@virtually
async def test_a_schedule_is_deleted_and_its_name_is_free():
    async with scheduled() as (_, client):
        first = await client.post(SCHEDULES, json=a_body(), headers={"Idempotency-Key": "k"})
        response = await client.delete(SCHEDULES + "/nightly")
        assert (response.status_code, response.content) == (204, b"")
        problem(await client.delete(SCHEDULES + "/nightly"), 404, "unknown_schedule")
        problem(await client.get(SCHEDULES + "/nightly"), 404, "unknown_schedule")
        again = await client.post(SCHEDULES, json=a_body(cron="* * * * *"), headers={"Idempotency-Key": "k"})
        assert (first.status_code, again.status_code) == (201, 201)


@virtually
async def test_while_the_store_is_away_clients_are_told_to_come_back():
    async with scheduled() as (system, client):
        await created(client)
        system.schedules.away = True
        asked = [
            client.post(SCHEDULES, json=a_body()),
            client.post(SCHEDULES, json=a_body(name="other")),
            client.get(SCHEDULES),
            client.get(SCHEDULES + "/nightly"),
            client.post(SCHEDULES + "/nightly/pause"),
            client.post(SCHEDULES + "/nightly/resume"),
            client.delete(SCHEDULES + "/nightly"),
        ]
        for response in await asyncio.gather(*asked):
            assert problem(response, 503, "store_unavailable")["retry_after"] == 2


# Firing ----------------------------------------------------------------------------------------


@virtually
async def test_a_firing_is_a_job_like_any_other():
    async with scheduled() as (system, client), system.client() as jobs:
        await system.keep_time()
        job = {"object_id": "x", "handler": "report", "payload": {"pages": 7}, "labels": {"a": "b"}}
        await created(client, cron=None, interval=10, job=job)
        await asyncio.sleep(12)
        last = (await client.get(SCHEDULES + "/nightly")).json()["last"]
        assert last == {
            "at": "2026-01-01T00:00:10.100000Z",
            "outcome": "accepted",
            "job_id": "job-1",
            "error": None,
        }
        job = (await jobs.get("/v1/jobs/job-1")).json()
        assert (job["object_id"], job["handler"], job["labels"]) == ("x", "report", {"a": "b"})
        assert (job["status"], job["result"]) == ("finished", 7)


@virtually
async def test_a_handler_that_is_gone_is_told_of_and_the_schedule_goes_on_once_it_is_back():
    async with scheduled() as (system, client):
        await system.keep_time()
        await created(
            client, cron=None, interval=10, job=JOB | {"handler": "report", "payload": {"pages": 1}}
        )
        gone = system.handlers._by_name.pop("report")
        await asyncio.sleep(12)
        last = (await client.get(SCHEDULES + "/nightly")).json()["last"]
        assert (last["outcome"], last["job_id"]) == ("refused", None)
        assert last["error"]["code"] == "unknown_handler"
        system.handlers._by_name["report"] = gone
        await asyncio.sleep(10)
        last = (await client.get(SCHEDULES + "/nightly")).json()["last"]
        assert (last["outcome"], last["error"]) == ("accepted", None)


@virtually
async def test_what_this_release_or_its_handlers_take_no_more_is_told_of_too():
    async with scheduled() as (system, client):
        await system.keep_time()
        for name, job in {
            "unfit": {"handler": "report", "payload": {"pages": "many"}},
            "broken": {"handler": "report", "payload": {"pages": 13}},
            "old": {"on_conflict": "explode"},
        }.items():
            await created(client, name=name, cron=None, interval=10)
            system.schedules.schedules[name].job.update(job)
        await asyncio.sleep(12)
        shown = (await client.get(SCHEDULES)).json()["schedules"]
        errors = {schedule["name"]: schedule["last"]["error"] for schedule in shown}
        assert {name: error["code"] for name, error in errors.items()} == {
            "unfit": "invalid_request",
            "broken": "invalid_request",
            "old": "invalid_request",
        }
        assert errors["old"]["message"].startswith("job.on_conflict: Input should be 'reject'")


# Whatever comes --------------------------------------------------------------------------------


def bodies():
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=5,
    )
    cron = st.text(alphabet="0123456789*/,-LW#MONJAN \t", max_size=30)
    fields = {
        "name": st.text(max_size=9) | st.just("a"),
        "cron": st.none() | cron | anything,
        "interval": st.none() | st.floats() | anything,
        "timezone": st.sampled_from(["UTC", "Europe/Berlin", "Europe", "", "\0"]) | st.text(max_size=30),
        "missed": st.sampled_from(["skip", "once"]) | anything,
        "paused": st.booleans() | anything,
        "job": st.just(JOB) | st.builds(lambda more: JOB | more, st.dictionaries(st.text(), anything)),
    }
    return st.fixed_dictionaries({}, optional=fields)


@settings(repeatable, max_examples=80)
@given(bodies())
def test_no_body_makes_it_fail(body):
    async def scenario():
        async with scheduled() as (_, client):
            response = await client.post(SCHEDULES, content=json.dumps(body))
            assert response.status_code in {201, 400, 404, 422}, response.text
            if response.status_code == 201:
                assert (await client.get(response.headers["location"])).json() == response.json()
                assert (await client.post(SCHEDULES, content=json.dumps(body))).status_code == 200

    run_virtually(scenario())


@repeatable
@given(st.text(alphabet="0123456789*/,-LW#MON ", max_size=20))
def test_no_cron_expression_makes_it_fail(text):
    body = {"name": "a", "cron": f"{text} * * * *", "job": JOB}
    try:
        schedule = NewSchedule.model_validate(body)
    except ValueError:
        return
    assert schedule.cron.split()[1:] == ["*"] * 4


# Documentation ---------------------------------------------------------------------------------


@virtually
async def test_the_surface_is_described():
    async with scheduled() as (_, client):
        described = (await client.get("/openapi.json")).json()
    operations = {
        (method, path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if path.startswith(SCHEDULES)
    }
    assert set(operations) == {
        ("post", SCHEDULES),
        ("get", SCHEDULES),
        ("get", SCHEDULES + "/{name}"),
        ("delete", SCHEDULES + "/{name}"),
        ("post", SCHEDULES + "/{name}/pause"),
        ("post", SCHEDULES + "/{name}/resume"),
    }
    create = operations["post", SCHEDULES]
    assert set(create["responses"]) == {"200", "201", "400", "404", "409", "413", "422", "503"}
    assert "`schedule_exists`" in create["responses"]["409"]["description"]
    assert [p["name"] for p in operations["get", SCHEDULES]["parameters"]] == ["limit", "cursor"]
    assert set(operations["delete", SCHEDULES + "/{name}"]["responses"]) == {"204", "404", "503"}
    referred = set(json.dumps(described).split('"#/components/schemas/')[1:])
    names = {name.partition('"')[0] for name in referred}
    assert {"ScheduledJob", "ScheduleView", "OnConflict"} <= names <= set(described["components"]["schemas"])


def test_a_scheduled_job_says_all_that_a_job_says_but_when():
    assert set(ScheduledJob.model_fields) == set(NewJob.model_fields)
    body = {"object_id": "x", "run_at": None, "delay": None}
    assert ScheduledJob.model_validate(body).order() == NewJob.model_validate(body).order()


def test_an_interval_is_kept_in_whole_milliseconds():
    for seconds, ms in ((1.1, 1_100), (2.0004, 2_000), (86_400, 86_400_000)):
        body = {"name": "a", "interval": seconds, "job": JOB}
        schedule = NewSchedule.model_validate(body).begin("uid", NOW)
        assert schedule.timing == Interval(ms, NOW)


# The page --------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]

PAGE = (ROOT / "docs" / "schedules.md").read_text()

#: Each request that the page makes, and what it shows of the answer.
_EXAMPLE = r"^```http\n(\w+) (\S+)\n\n?(.*?)^```\n(?:\n```json\n(.*?)^```)?"
EXAMPLES = re.findall(_EXAMPLE, PAGE, re.MULTILINE | re.DOTALL)

(JOB_ID,) = re.findall(r'"job_id": "(.+)"', PAGE)


def rows(heading):
    """Return the cells of the table that begins so."""
    lines = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]


@virtually
async def test_the_examples_of_the_page_are_answered_as_it_says():
    @hasty.handler(rerun_window=60)
    async def invoice(order: dict) -> int:
        return len(order["items"])

    assert len(EXAMPLES) == PAGE.count("```http") == 5
    async with scheduled() as (system, client):
        system.handlers._by_name["invoice"] = declared(invoice)[0]
        system.mint = lambda: JOB_ID
        timetable = system.timetable()
        for method, path, body, shown in EXAMPLES:
            if method == "GET":
                await asyncio.sleep(1.5 * 3_600)
                await timetable.go_round()
            if path.endswith("resume"):
                await asyncio.sleep(4 * 86_400)
            response = await client.request(method, path, content=body or None)
            assert response.is_success, response.text
            if shown:
                expected, answer = json.loads(shown), response.json()
                assert {name: answer[name] for name in expected} == expected
            else:
                assert response.status_code == 204


def test_the_page_says_what_fires_when_clocks_are_set():
    berlin = ZoneInfo("Europe/Berlin")
    for expression, march, october in rows("`cron` | 29 March: from 02:00 to 03:00"):
        for day, cell in (
            (datetime(2026, 3, 29, tzinfo=berlin), march),
            (datetime(2026, 10, 25, tzinfo=berlin), october),
        ):
            cron, found = Cron(expression, "Europe/Berlin"), []
            midnight, four = (day.replace(hour=hour) for hour in (0, 4))
            at = midnight - timedelta(milliseconds=1)
            while (at := cron.after(at)) <= four:
                found.append(f"{at.astimezone(berlin):%H:%M}")
            assert found == re.findall(r"\d\d:\d\d", cell), expression


def test_the_page_names_every_field_and_outcome():
    assert [name for name, *_ in rows("Field")] == [*NewSchedule.model_fields]
    assert [name for name, *_ in rows("`outcome`")] == [*FiringOutcome]
    assert f"at most {LONGEST_INTERVAL_S // 86_400} days" in PAGE
    assert f"There may be {scheduling.MOST_SCHEDULES:,}." in PAGE
    assert timedelta(minutes=1) == GRACE


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) == 5
    assert all(f"def {name}(" in (ROOT / file).read_text() for file, name in named)
