"""Submitting over HTTP, in every way there is: conflicts, keys, many at once, reruns, a full backlog."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, field_validator

import hasty
from hasty.actors.registry import Registry
from hasty.api.bodies import BATCH_LIMIT, BODY_LIMIT
from hasty.api.gateway import PAYLOAD_LIMIT
from hasty.errors import Unreachable
from hasty.handlers import Handlers
from hasty.handlers.decorator import declaration_of
from hasty.testing import VirtualClock
from tests.unit.examples import virtually
from tests.unit.system import Failing, System, Whoever, running

JOBS, BATCH = "/v1/jobs", "/v1/jobs:batch"

NDJSON = {"content-type": "application/x-ndjson"}


class Width(BaseModel):
    width: int


@hasty.handler(timeout=20, max_timeout=60)
async def patient(_payload: Any) -> None:
    await asyncio.sleep(50)


@hasty.handler(timeout=20)
async def typed(payload: Width) -> int:
    return payload.width


class Length(BaseModel):
    unit: str

    @field_validator("unit")
    @classmethod
    def known(cls, unit: str) -> str:
        return {"cm": "cm", "m": "m"}[unit]


@hasty.handler
async def measured(length: Length) -> str:
    return length.unit


@hasty.handler(window_after=["finished"])
async def opens() -> None:
    await asyncio.sleep(30)


MORE = [
    declaration_of(each).handler(timeout_s=46.0, rerun_window_s=300.0)
    for each in (patient, typed, measured, opens)
]


def key(name):
    return {"Idempotency-Key": name}


async def post(client, path=JOBS, headers=None, **body):
    return await client.post(path, json=body, headers=headers)


async def made(client, headers=None, **body):
    response = await post(client, headers=headers, **({"object_id": "x"} | body))
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"{JOBS}/{response.json()['id']}"
    return response.json()


async def shown(client, job_id):
    response = await client.get(f"{JOBS}/{job_id}")
    assert response.status_code == 200, response.text
    return response.json()


def problem(response, status, code):
    """Check what is the same in all problems; return the document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert (document["status"], document["code"]) == (status, code)
    assert response.headers.get("retry-after") == (
        str(document["retry_after"]) if "retry_after" in document else None
    )
    return document


def complaints(response):
    return {error["field"]: error["message"] for error in problem(response, 422, "invalid_request")["errors"]}


# What can be said of a job ---------------------------------------------------------------------


@virtually
async def test_whatever_is_said_of_a_job_is_kept_and_shown():
    async with running(more=MORE) as (system, client):
        said = {
            "handler": "patient",
            "payload": {"a": [1, None]},
            "timeout": 60,
            "priority": -100,
            "labels": {"b/c": "x=y", "a": ""},
            "webhook": {"url": "https://example.org/hook?a=b"},
            "on_conflict": "reject",
        }
        job = await made(client, **said)
        for told in (job, await shown(client, job["id"])):
            assert (told["handler"], told["payload"]) == ("patient", {"a": [1, None]})
            assert (told["timeout"], told["priority"]) == (60.0, -100)
            assert told["labels"] == {"a": "", "b/c": "x=y"}
            assert told["webhook"] == "https://example.org/hook?a=b"
        stored = system.jobs.jobs[job["id"]]
        assert stored.labels == (("a", ""), ("b/c", "x=y"))
        await asyncio.sleep(49)
        assert (await shown(client, job["id"]))["status"] == "running"
        await asyncio.sleep(5)
        assert (await shown(client, job["id"]))["status"] == "finished"


@virtually
async def test_the_timeout_that_was_asked_for_counts():
    async with running(more=MORE) as (_, client):
        shorter = await made(client, handler="patient", timeout=5.5)
        usual = await made(client, object_id="y", handler="patient")
        assert usual["timeout"] == 20.0
        await asyncio.sleep(7)
        assert (await shown(client, shorter["id"]))["status"] == "cancelled"
        assert (await shown(client, usual["id"]))["status"] == "running"
        await asyncio.sleep(15)
        assert (await shown(client, usual["id"]))["status"] == "cancelled"


@virtually
async def test_lower_numbers_go_first():
    async with running(sleep_s=10.0) as (_, client):
        # One worker with so many slots.
        await asyncio.gather(*(made(client, object_id=f"busy-{n}") for n in range(100)))
        late = [await made(client, object_id=f"p{p}", priority=p) for p in (5, 0, -5)]
        await asyncio.sleep(10.5)
        starts = [(await shown(client, job["id"]))["started_at"] for job in late]
        assert None not in starts
        assert starts == sorted(starts, reverse=True)


@pytest.mark.parametrize("wish", [{"delay": 60}, {"run_at": "2026-01-01T00:01:00.1Z"}], ids=str)
@virtually
async def test_a_job_for_later_is_scheduled_and_starts_then(wish):
    async with running() as (_, client):
        job = await made(client, **wish)
        due = "2026-01-01T00:01:00.100000Z"
        assert (job["status"], job["run_at"], job["attempt"]) == ("scheduled", due, 0)
        await asyncio.sleep(59)
        told = await shown(client, job["id"])
        assert told == job
        await asyncio.sleep(2)
        told = await shown(client, job["id"])
        assert (told["status"], told["run_at"]) == ("running", None)
        assert due <= told["started_at"] < "2026-01-01T00:01:01Z"
        # Its window counts from its turn.
        refused = problem(await post(client, object_id="x"), 409, "rerun_window")
        assert 298 <= refused["retry_after"] <= 300


@pytest.mark.parametrize(
    "wish", [{"delay": 0}, {"run_at": "2025-12-31T23:59:59Z"}, {"delay": None, "run_at": None}], ids=str
)
@virtually
async def test_a_time_that_has_come_is_now(wish):
    async with running() as (_, client):
        job = await made(client, **wish)
        assert (job["status"], job["run_at"]) == ("queued", None)


@virtually
async def test_a_moment_is_the_same_wherever_it_is_told_from_and_kept_in_whole_milliseconds():
    async with running() as (_, client):
        for n, told in enumerate(
            ("2026-01-01T12:00:00.0009Z", "2026-01-01t13:00:00+01:00", "2026-01-01 00:00:00-12:00")
        ):
            job = await made(client, object_id=f"{n}", run_at=told)
            assert job["run_at"] == "2026-01-01T12:00:00Z"


SECONDS, WHOLE = "Input should be a valid number", "Input should be a valid integer"
RFC_3339 = "must be a time as in RFC 3339, with an offset"
YEARS = "must be of a year from 1970 to 2999"
NAME = "String should match pattern '^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$'"
URL = "must be the whole URL of an http or https server"

WRONG: list[tuple[dict[str, Any], dict[str, str]]] = [
    *(({"timeout": value}, {"timeout": SECONDS}) for value in (True, "5", [], {})),
    *(({"timeout": value}, {"timeout": "Input should be greater than 0"}) for value in (0, -1, -1e-9)),
    ({"timeout": 46.1}, {"timeout": "must be at most 46, the longest that sleep may run"}),
    (
        {"timeout": 61, "handler": "patient"},
        {"timeout": "must be at most 60, the longest that patient may run"},
    ),
    *(({"priority": value}, {"priority": WHOLE}) for value in (True, "1", 1.0, 1.5, None)),
    ({"priority": 101}, {"priority": "Input should be less than or equal to 100"}),
    ({"priority": -101}, {"priority": "Input should be greater than or equal to -100"}),
    *(({"delay": value}, {"delay": SECONDS}) for value in (True, "5", [])),
    ({"delay": -0.001}, {"delay": "Input should be greater than or equal to 0"}),
    ({"delay": 31_622_400.5}, {"delay": "Input should be less than or equal to 31622400"}),
    *(({"run_at": value}, {"run_at": RFC_3339}) for value in (0, 1e9, True, "1767225600", "", "now", [])),
    ({"run_at": "2026-01-01T00:00:00"}, {"run_at": "Input should have timezone info"}),
    ({"run_at": "2026-01-01"}, {"run_at": "Input should have timezone info"}),
    *(
        ({"run_at": value}, {"run_at": YEARS})
        for value in (
            "1969-12-31T23:59:59Z",
            "3000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
        )
    ),
    ({"run_at": "2026-02-01T00:00:00Z", "delay": 0}, {"delay": "must not be there beside run_at"}),
    *(
        ({"labels": value}, {"labels": "Input should be an object"})
        for value in (None, [], "a=b", [["a", "b"]])
    ),
    *(
        ({"labels": {name: "b"}}, {f"labels.{name + '.' if name else ''}[key]": NAME})
        for name in ("", "-a", "a=b", "a b", "ü", "a\n", "a" * 64)
    ),
    *(
        ({"labels": {"a": value}}, {"labels.a": "Input should be a valid string"})
        for value in (1, None, True, [])
    ),
    ({"labels": {"a": "b" * 257}}, {"labels.a": "String should have at most 256 characters"}),
    (
        {"labels": {f"a{n}": "" for n in range(17)}},
        {"labels": "Dictionary should have at most 16 items after validation, not more"},
    ),
    *(
        ({"on_conflict": value}, {"on_conflict": "Input should be 'reject', 'attach', 'replace' or 'after'"})
        for value in ("", "REJECT", "after ", None, 1, [])
    ),
    ({"webhook": "https://example.org"}, {"webhook": "Input should be an object"}),
    ({"webhook": {}}, {"webhook.url": "Field required"}),
    ({"webhook": {"url": None}}, {"webhook.url": "Input should be a valid string"}),
    ({"webhook": {"url": "https://a", "secret": "s"}}, {"webhook.secret": "Extra inputs are not permitted"}),
    *(
        ({"webhook": {"url": value}}, {"webhook.url": URL})
        for value in ("example.org", "ftp://a", "https://")
    ),
    (
        {"webhook": {"url": "http://a/" + "a" * 2_048}},
        {"webhook.url": "String should have at most 2048 characters"},
    ),
    *(
        ({name: 1}, {name: "Extra inputs are not permitted"})
        for name in ("force", "idempotency_key", "status")
    ),
    # All of it is told at once.
    (
        {"priority": "1", "delay": -1},
        {"priority": WHOLE, "delay": "Input should be greater than or equal to 0"},
    ),
]


@pytest.mark.parametrize(("wish", "told"), WRONG, ids=lambda value: str(value)[:60])
def test_a_wish_that_will_not_do_is_named_and_nothing_is_made(wish, told):
    @virtually
    async def scenario():
        async with running(more=MORE) as (system, client):
            assert complaints(await post(client, object_id="x", **wish)) == told
            assert system.jobs.jobs == {}

    scenario()


@pytest.mark.parametrize(
    "wish",
    [
        {"timeout": 46},
        {"timeout": 1e-9},
        {"timeout": None},
        {"handler": "patient", "timeout": 60},
        {"priority": 100},
        {"priority": -100},
        {"delay": 31_622_400},
        {"delay": 1e-9},
        {"run_at": "1970-01-01T00:00:00Z"},
        {"run_at": "2999-12-31T23:59:59.999Z"},
        {"labels": {"a" * 63: "ü\0\n" + "b" * 253}},
        {"labels": {f"a{n}": "" for n in range(16)}},
        {"labels": {"0": "", "A/b.c-d_e": "="}},
        {"webhook": {"url": "http://a/" + "a" * 2_039}},
        {"webhook": None},
        {"object_id": "x" * 512},
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wish_may_go_as_far_as_its_limit(wish):
    @virtually
    async def scenario():
        async with running(more=MORE) as (_, client):
            job = await made(client, **wish)
            told = await shown(client, job["id"])
            assert told["labels"] == wish.get("labels", {})
            assert told["run_at"] == job["run_at"]

    scenario()


# Where a job stands in the way -----------------------------------------------------------------


@virtually
async def test_a_refusal_shows_the_job_that_stands_in_the_way_as_it_is():
    async with running() as (_, client):
        first = await made(client, labels={"a": "b"})
        await asyncio.sleep(1)
        told = problem(await post(client, object_id="x"), 409, "rerun_window")
        assert (told["job_id"], told["job_status"], told["retry_after"]) == (first["id"], "running", 299)
        assert told["links"] == {"job": f"{JOBS}/{first['id']}"}
        assert told["job"] == await shown(client, first["id"])
        await asyncio.sleep(30)
        told = problem(await post(client, object_id="x"), 409, "rerun_window")
        assert (told["job_status"], told["job"]["result"]) == ("finished", {"sleep_time_used": 20})


@virtually
async def test_a_refusal_is_told_also_where_the_job_cannot_be_read():
    async with running() as (system, client):
        first = await made(client)
        asked = asyncio.ensure_future(post(client, object_id="x"))
        get = system.jobs.get

        async def only_for_the_registry(job_ids):
            if job_ids == {first["id"]}:
                system.jobs.away = True
            return await get(job_ids) if not system.jobs.away else await system.jobs._refuse()

        system.jobs.get = only_for_the_registry
        told = problem(await asked, 409, "rerun_window")
        system.jobs.away = False
        assert (told["job_id"], told["retry_after"]) == (first["id"], 300)
        assert "job" not in told
        del system.jobs.get


@virtually
async def test_who_attaches_is_given_the_job_that_is_there_and_can_wait_for_it():
    async with running() as (_, client):
        first = await made(client, payload="theirs")
        for after_s, status in ((1, "running"), (30, "finished")):
            await asyncio.sleep(after_s)
            response = await post(client, object_id="x", payload="mine", on_conflict="attach")
            assert response.status_code == 200
            assert response.headers["location"] == f"{JOBS}/{first['id']}"
            assert "idempotency-replayed" not in response.headers
            job = response.json()
            assert (job["id"], job["status"], job["payload"]) == (first["id"], status, "theirs")
            assert job == await shown(client, first["id"])
        await asyncio.sleep(300)
        assert (await made(client, on_conflict="attach"))["run"] == 2


@virtually
async def test_who_comes_after_runs_when_the_first_has_ended_and_its_window_is_open():
    async with running(window_s=60.0) as (_, client):
        first = await made(client)
        second = await made(client, on_conflict="after", payload="second")
        opens_at = "2026-01-01T00:01:00.100000Z"
        assert (second["status"], second["run"], second["run_at"]) == ("scheduled", 2, opens_at)
        assert (await shown(client, second["id"]))["follows"] == first["id"]
        # Whoever comes now is answered with that.
        third = await post(client, object_id="x", on_conflict="after", payload="third")
        assert third.status_code == 200
        assert (third.json()["id"], third.json()["payload"]) == (second["id"], "second")
        await asyncio.sleep(59.5)
        assert (await shown(client, second["id"]))["status"] == "scheduled"
        await asyncio.sleep(1.5)
        job = await shown(client, second["id"])
        assert (job["status"], job["follows"], job["run_at"]) == ("running", None, None)
        # Its window counts from its turn.
        told = problem(await post(client, object_id="x"), 409, "rerun_window")
        assert told["job_id"] == second["id"]
        assert 58 <= told["retry_after"] <= 60
        # And now there is another place behind it.
        assert (await made(client, on_conflict="after"))["run"] == 3


@virtually
async def test_who_comes_after_a_job_that_outlasts_its_window_runs_at_its_end():
    async with running(window_s=5.0, sleep_s=30.0) as (_, client):
        await made(client)
        await asyncio.sleep(10)
        second = await made(client, on_conflict="after")
        await asyncio.sleep(19)
        assert (await shown(client, second["id"]))["status"] == "scheduled"
        await asyncio.sleep(2)
        assert (await shown(client, second["id"]))["status"] == "running"


@virtually
async def test_who_replaces_a_job_has_it_cancelled_and_starts():
    async with running() as (_, client):
        first = await made(client)
        await asyncio.sleep(5)
        second = await made(client, on_conflict="replace")
        assert (second["status"], second["run"]) == ("scheduled", 2)
        await asyncio.sleep(1)
        old, new = await shown(client, first["id"]), await shown(client, second["id"])
        assert (old["status"], new["status"]) == ("cancelled", "running")
        assert old["error"] == {"type": "Replaced", "message": f"job {second['id']} took its place"}
        assert old["ended_at"] <= new["started_at"]
        # Nobody cancelled it.
        late = await client.post(f"{JOBS}/{first['id']}/cancel")
        problem(late, 409, "already_ended")
        await asyncio.sleep(25)
        # One that has ended is not replaced.
        problem(await post(client, object_id="x", on_conflict="replace"), 409, "rerun_window")


@virtually
async def test_who_replaces_has_all_that_waits_and_runs_ended_and_is_the_only_one_that_goes_on():
    async with running() as (system, client):
        first = await made(client)
        waits = await made(client, on_conflict="after")
        last = await made(client, on_conflict="replace")
        await asyncio.sleep(1)
        statuses = {name: job.status for name, job in system.jobs.jobs.items()}
        assert statuses == {first["id"]: "cancelled", waits["id"]: "cancelled", last["id"]: "running"}
        # Nothing of the one that never ran counts.
        assert system.ledger.pages[waits["id"]].attempts == ()


@virtually
async def test_a_job_that_waits_for_its_turn_is_cancelled_and_the_window_before_it_counts():
    async with running() as (_, client):
        first = await made(client)
        waits = await made(client, on_conflict="after", delay=5_000)
        response = await client.post(f"{JOBS}/{waits['id']}/cancel")
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")
        assert (response.json()["run_at"], response.json()["follows"]) == (None, None)
        told = problem(await post(client, object_id="x"), 409, "rerun_window")
        assert (told["job_id"], told["retry_after"]) == (first["id"], 300)
        await asyncio.sleep(300)
        assert (await made(client))["run"] == 3


@virtually
async def test_an_end_that_opens_the_window_lets_the_next_one_start_at_once():
    async with running(more=MORE) as (_, client):
        first = await made(client, handler="opens")
        second = await made(client, handler="opens", on_conflict="after")
        await asyncio.sleep(10)
        assert (await shown(client, second["id"]))["status"] == "scheduled"
        await client.post(f"{JOBS}/{first['id']}/cancel")
        await asyncio.sleep(1)
        assert (await shown(client, second["id"]))["status"] == "running"


# Keys ------------------------------------------------------------------------------------------


@virtually
async def test_a_repeat_gets_the_first_answer_to_the_letter_whatever_became_of_the_job():
    async with running() as (system, client):
        wish = {"object_id": "x", "labels": {"b": "1", "a": "2"}, "payload": {"z": 1, "y": [2.5, None]}}
        first = await post(client, headers=key("k"), **wish)
        assert first.status_code == 201
        assert "idempotency-replayed" not in first.headers
        for after_s in (0, 5, 30, 1_000):
            await asyncio.sleep(after_s)
            again = await post(client, headers=key("k"), **wish)
            assert (again.status_code, again.content) == (201, first.content)
            assert again.headers["idempotency-replayed"] == "true"
            assert again.headers["location"] == first.headers["location"]
        # As it would be written by somebody else.
        text = (
            '{ "payload":{"y":[2.50,null],"z":1},"labels":{"a":"2","b":"1"},"handler":"sleep",'
            '"object_id":"x","priority":0,"on_conflict":"reject","delay":null}'
        )
        again = await client.post(JOBS, content=text, headers=key("k"))
        assert (again.status_code, again.content) == (201, first.content)
        assert len(system.jobs.jobs) == 1


@virtually
async def test_a_repeat_for_later_gets_the_first_answer_though_the_job_has_run():
    async with running() as (_, client):
        first = await post(client, headers=key("k"), object_id="x", delay=10)
        assert first.json()["status"] == "scheduled"
        await asyncio.sleep(60)
        again = await post(client, headers=key("k"), object_id="x", delay=10)
        assert (again.status_code, again.content) == (201, first.content)


@pytest.mark.parametrize(
    "other",
    [
        {"object_id": "y"},
        {"payload": 1},
        {"priority": 1},
        {"labels": {"a": "b"}},
        {"delay": 1},
        {"run_at": "2026-01-01T00:00:00Z"},
        {"timeout": 46},
        {"on_conflict": "attach"},
        {"handler": "opens"},
        {"webhook": {"url": "https://example.org"}},
    ],
    ids=str,
)
@virtually
async def test_the_same_key_with_another_wish_is_a_mistake(other):
    async with running(more=MORE) as (system, client):
        first = await made(client, headers=key("k"))
        response = await post(client, headers=key("k"), **({"object_id": "x"} | other))
        told = problem(response, 422, "idempotency_key_reused")
        assert first["id"] in told["detail"]
        assert "retry_after" not in told
        assert len(system.jobs.jobs) == 1


@virtually
async def test_a_refusal_is_forgotten_and_the_key_is_free_for_another_wish():
    async with running() as (_, client):
        await made(client)
        problem(await post(client, headers=key("k"), object_id="x"), 409, "rerun_window")
        problem(await post(client, headers=key("k"), object_id="x", priority=1000), 422, "invalid_request")
        assert (await post(client, headers=key("k"), object_id="y")).status_code == 201


@virtually
async def test_who_was_attached_under_a_key_stays_attached():
    async with running(window_s=60.0) as (_, client):
        first = await made(client)
        wish = {"object_id": "x", "on_conflict": "attach"}
        response = await post(client, headers=key("k"), **wish)
        assert (response.status_code, response.json()["id"]) == (200, first["id"])
        assert "idempotency-replayed" not in response.headers
        await asyncio.sleep(100)
        # The object is free again, and that is another question.
        again = await post(client, headers=key("k"), **wish)
        assert (again.status_code, again.json()["id"]) == (200, first["id"])
        assert again.headers["idempotency-replayed"] == "true"
        # It is shown as it stands.
        assert again.json()["status"] == "finished"
        problem(await post(client, headers=key("k"), object_id="x"), 422, "idempotency_key_reused")


@virtually
async def test_a_key_finds_its_answer_after_a_crash_and_when_the_answer_never_arrived():
    async with running() as (system, client):
        registry = system.registry

        class Deaf:
            """Admits, and its answer gets lost."""

            async def admit(self, message):
                await registry.admit(message)
                raise Unreachable

        system.registry = Deaf()
        async with system.client() as other:
            problem(await post(other, headers=key("k"), object_id="x"), 503, "unreachable")
        system.registry = Registry(
            system.jobs, Whoever(system, "dispatcher"), VirtualClock(asyncio.get_running_loop())
        )
        async with system.client() as other:
            again = await post(other, headers=key("k"), object_id="x")
        assert again.status_code == 201
        assert again.headers["idempotency-replayed"] == "true"
        assert list(system.jobs.jobs) == [again.json()["id"]]
        # Without a key nobody would know.
        problem(await post(client, object_id="x"), 409, "rerun_window")


@virtually
async def test_of_many_repeats_at_once_one_makes_the_job():
    async with running() as (system, client):
        async with system.client() as other:
            responses = await asyncio.gather(
                *(post(c, headers=key("k"), object_id="x") for c in [client, other] * 20)
            )
        assert {response.status_code for response in responses} == {201}
        assert len({response.content for response in responses}) == 1
        assert sum("idempotency-replayed" not in response.headers for response in responses) == 1
        assert len(system.jobs.jobs) == 1


@pytest.mark.parametrize("name", ["a", "~" * 255, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "a:b#1"])
def test_a_key_is_any_visible_text(name):
    @virtually
    async def scenario():
        async with running() as (system, client):
            await made(client, headers=key(name))
            again = await post(client, headers=key(name), object_id="x")
            assert again.headers["idempotency-replayed"] == "true"
            # Not with the other surfaces' keys.
            (stored,) = system.jobs.jobs.values()
            assert stored.idempotency_key == f"v1::{name}"

    scenario()


@pytest.mark.parametrize("name", ["", " ", "a b", "a" * 256, "a\tb", "ü".encode("latin-1")], ids=repr)
@pytest.mark.parametrize("path", [JOBS, BATCH, f"{JOBS}/job-1/rerun"])
def test_a_key_that_is_none_is_named_and_nothing_is_made(path, name):
    @virtually
    async def scenario():
        async with running() as (system, client):
            await made(client, object_id="first")
            bodies = {JOBS: {"object_id": "x"}, BATCH: {"jobs": [{"object_id": "x"}]}}
            body = bodies.get(path, {"force": True})
            response = await client.post(path, json=body, headers={"Idempotency-Key": name})
            assert complaints(response) == {"Idempotency-Key": "must be 1 to 255 visible ASCII characters"}
            assert list(system.jobs.jobs) == ["job-1"]

    scenario()


@virtually
async def test_surfaces_have_keys_of_their_own():
    async with running() as (system, client):
        await made(client, headers=key("k"), object_id="x")
        seed = await client.post("/", json={"object_id": "y"}, headers=key("k"))
        assert seed.status_code == 201
        many = await client.post(BATCH, json={"jobs": [{"object_id": "z"}]}, headers=key("k"))
        assert [outcome["status"] for outcome in many.json()["outcomes"]] == [201]
        for job_id in ("job-1", "job-2"):
            await asyncio.sleep(400)
            rerun = await client.post(f"{JOBS}/{job_id}/rerun", headers=key("k"))
            assert rerun.status_code == 201, rerun.text
        assert len(system.jobs.jobs) == 5


@virtually
async def test_each_api_key_has_keys_of_its_own():
    async with running() as (system, _):
        app = system.app()

        def somebody(name):
            async def with_key(scope, receive, send):
                await app({**scope, "state": {"key_id": name}}, receive, send)

            return httpx.AsyncClient(transport=httpx.ASGITransport(with_key), base_url="http://hasty")

        async with somebody("alice") as alice, somebody("bob") as bob:
            for path, body in (
                (JOBS, {"object_id": "x"}),
                ("/", {"object_id": "y"}),
                (BATCH, {"jobs": [{"object_id": "z"}]}),
            ):
                first = await alice.post(path, json=body, headers=key("k"))
                again = await alice.post(path, json=body, headers=key("k"))
                assert first.content == again.content
                theirs = await bob.post(path, json=body, headers=key("k"))
                assert theirs.content != first.content, path


# Once more -------------------------------------------------------------------------------------


def rerun_of(job_id):
    return f"{JOBS}/{job_id}/rerun"


@virtually
async def test_a_job_is_run_again_as_it_was():
    async with running(more=MORE) as (_, client):
        said = {
            "handler": "typed",
            "payload": {"width": 3},
            "timeout": 9.5,
            "priority": 7,
            "labels": {"a": "b"},
            "webhook": {"url": "https://example.org"},
        }
        first = await made(client, **said)
        await asyncio.sleep(1)
        problem(await client.post(rerun_of(first["id"])), 409, "rerun_window")
        await asyncio.sleep(300)
        response = await client.post(rerun_of(first["id"]))
        assert response.status_code == 201
        again = response.json()
        assert response.headers["location"] == f"{JOBS}/{again['id']}"
        same = ("object_id", "handler", "payload", "timeout", "priority", "labels", "webhook", "pool")
        assert {name: again[name] for name in same} == {name: first[name] for name in same}
        assert (again["run"], again["status"]) == (2, "queued")
        await asyncio.sleep(1)
        assert (await shown(client, again["id"]))["result"] == 3


@pytest.mark.parametrize("body", [b"", b"{}", b'{"force": false, "on_conflict": "reject"}'])
@virtually
async def test_a_rerun_is_refused_as_any_other_job(body):
    async with running() as (_, client):
        first = await made(client)
        await asyncio.sleep(30)
        told = problem(await client.post(rerun_of(first["id"]), content=body), 409, "rerun_window")
        assert (told["job_id"], told["job"]["id"]) == (first["id"], first["id"])


@virtually
async def test_by_force_a_job_is_run_again_within_the_window_but_not_beside_another():
    async with running() as (_, client):
        first = await made(client)
        await asyncio.sleep(1)
        told = problem(await client.post(rerun_of(first["id"]), json={"force": True}), 409, "unfinished")
        assert (told["retry_after"], told["job_status"]) == (5, "running")
        await asyncio.sleep(20)
        response = await client.post(rerun_of(first["id"]), json={"force": True})
        assert (response.status_code, response.json()["run"]) == (201, 2)
        await asyncio.sleep(1)
        assert (await shown(client, response.json()["id"]))["status"] == "running"
        # The window of the new one holds, as it would after any.
        told = problem(await post(client, object_id="x"), 409, "rerun_window")
        assert (told["job_id"], told["retry_after"]) == (response.json()["id"], 299)


@virtually
async def test_a_rerun_that_is_forced_to_come_after_waits_for_the_end_and_ends_nobody():
    async with running() as (_, client):
        first = await made(client)
        response = await client.post(rerun_of(first["id"]), json={"force": True, "on_conflict": "after"})
        assert response.status_code == 201
        second = response.json()["id"]
        await asyncio.sleep(15)
        assert (await shown(client, second))["status"] == "scheduled"
        await asyncio.sleep(6)
        assert (await shown(client, first["id"]))["status"] == "finished"
        assert (await shown(client, second))["status"] == "running"


@virtually
async def test_a_rerun_may_attach_replace_or_come_after():
    async with running() as (_, client):
        first = await made(client)
        response = await client.post(rerun_of(first["id"]), json={"on_conflict": "attach"})
        assert (response.status_code, response.json()["id"]) == (200, first["id"])
        waits = await client.post(rerun_of(first["id"]), json={"on_conflict": "after"})
        assert (waits.status_code, waits.json()["status"]) == (201, "scheduled")
        # Also of one that has not run yet.
        response = await client.post(rerun_of(waits.json()["id"]), json={"on_conflict": "replace"})
        assert response.status_code == 201
        await asyncio.sleep(1)
        statuses = [(await shown(client, f"job-{n}"))["status"] for n in (1, 3, 4)]
        assert statuses == ["cancelled", "cancelled", "running"]


@virtually
async def test_a_repeat_gets_the_first_answer_also_from_a_release_that_would_refuse_it():
    async with running(more=MORE) as (system, client):
        wish = {"object_id": "x", "handler": "patient", "timeout": 60}
        first = await made(client, headers=key("k"), **wish)
        await asyncio.sleep(400)
        rerun = await client.post(rerun_of(first["id"]), headers=key("r"))
        assert rerun.status_code == 201
        before = system.handlers
        lesser = Handlers(*(replace(each, max_timeout_s=None) for each in before.values()))
        for system.handlers in (lesser, Handlers(before["sleep"])):
            async with system.client() as other:
                again = await post(other, headers=key("k"), **wish)
                assert (again.status_code, again.json()) == (201, first)
                assert again.headers["idempotency-replayed"] == "true"
                (of_many,) = (await other.post(BATCH, json={"jobs": [wish]})).json()["outcomes"]
                assert of_many["status"] in {404, 422}
                again = await other.post(rerun_of(first["id"]), headers=key("r"))
                assert (again.status_code, again.content) == (201, rerun.content)
                reused = await post(other, headers=key("k"), **wish | {"object_id": "y"})
                problem(reused, 422, "idempotency_key_reused")
                assert (await post(other, headers=key("new"), **wish)).status_code in {404, 422}


@virtually
async def test_a_rerun_may_take_no_longer_than_its_handler_may_now():
    async with running(more=MORE) as (system, client):
        first = await made(client, handler="patient", timeout=60)
        await asyncio.sleep(400)
        before = system.handlers
        system.handlers = Handlers(*(replace(each, max_timeout_s=None) for each in before.values()))
        async with system.client() as other:
            # Nobody can ask for that any more.
            assert complaints(await post(other, object_id="y", handler="patient", timeout=60)) == {
                "timeout": "must be at most 20, the longest that patient may run"
            }
            again = await other.post(rerun_of(first["id"]))
            assert (again.status_code, again.json()["timeout"]) == (201, 20.0)
        system.handlers = Handlers(before["sleep"])
        async with system.client() as other:
            told = problem(await other.post(rerun_of(first["id"])), 404, "unknown_handler")
            assert told["handlers"] == ["sleep"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"force": 1}, {"force": "Input should be a valid boolean"}),
        ({"force": "true"}, {"force": "Input should be a valid boolean"}),
        ({"force": None}, {"force": "Input should be a valid boolean"}),
        ({"on_conflict": "x"}, {"on_conflict": "Input should be 'reject', 'attach', 'replace' or 'after'"}),
        ({"payload": 1}, {"payload": "Extra inputs are not permitted"}),
        ([], {"body": "Input should be an object"}),
    ],
    ids=str,
)
@virtually
async def test_a_wish_for_a_rerun_that_will_not_do_is_named(body, told):
    async with running() as (system, client):
        first = await made(client)
        assert complaints(await client.post(rerun_of(first["id"]), json=body)) == told
        problem(await client.post(rerun_of(first["id"]), content=b"again"), 400, "not_json")
        large = b"x" * (BODY_LIMIT + 1)
        problem(await client.post(rerun_of(first["id"]), content=large), 413, "body_too_large")
        problem(await client.post(rerun_of("nobody")), 404, "unknown_job")
        assert len(system.jobs.jobs) == 1


@virtually
async def test_a_rerun_with_a_key_is_made_once():
    async with running() as (system, client):
        first = await made(client)
        await asyncio.sleep(400)
        one = await client.post(rerun_of(first["id"]), headers=key("k"))
        two = await client.post(rerun_of(first["id"]), headers=key("k"))
        assert (one.status_code, two.status_code, one.content) == (201, 201, two.content)
        assert two.headers["idempotency-replayed"] == "true"
        other = await client.post(rerun_of(first["id"]), headers=key("k"), json={"force": True})
        problem(other, 422, "idempotency_key_reused")
        assert len(system.jobs.jobs) == 2


# Many at once ----------------------------------------------------------------------------------


async def many(client, *jobs, headers=None):
    response = await client.post(BATCH, json={"jobs": list(jobs)}, headers=headers)
    assert response.status_code == 200, response.text
    outcomes = response.json()["outcomes"]
    assert all(set(outcome) == {"status", "job", "problem"} for outcome in outcomes)
    assert all((outcome["job"] is None) != (outcome["problem"] is None) for outcome in outcomes)
    return outcomes


@virtually
async def test_a_heavy_job_that_is_there_before_many_does_not_make_a_heavy_answer():
    async with running() as (_, client):
        heavy = {"object_id": "x", "payload": "p" * 200_000}
        first = await made(client, **heavy)
        body = {"jobs": [{"object_id": "x"}, {"object_id": "x", "on_conflict": "attach"}] * 500}
        response = await client.post(BATCH, json=body)
        refused, attached = response.json()["outcomes"][:2]
        assert (refused["problem"]["job"]["id"], refused["problem"]["job"]["payload"]) == (first["id"], None)
        assert (attached["job"]["id"], attached["job"]["payload"]) == (first["id"], None)
        assert len(response.content) < 4_000_000
        # One at a time it is told whole.
        assert (
            problem(await post(client, object_id="x"), 409, "rerun_window")["job"]["payload"] == "p" * 200_000
        )


@virtually
async def test_bodies_that_arrive_slowly_are_bounded_all_together(monkeypatch):
    monkeypatch.setattr("hasty.api.bodies.UNDER_WAY_LIMIT", 100)
    monkeypatch.setattr("hasty.api.bodies.FREE", 200)

    async def stalls():
        yield b"x" * 150
        yield b"x" * 110
        await asyncio.Event().wait()

    async with running() as (_, client):
        one = asyncio.ensure_future(client.post(JOBS, content=stalls()))
        await asyncio.sleep(1)
        told = problem(await client.post(JOBS, content=b"x" * 260), 503, "overloaded")
        assert told["retry_after"] >= 1
        # Who is small is served beside it.
        await made(client)
        assert (await one).status_code == 400
        problem(await client.post(JOBS, content=b"x" * 260), 400, "not_json")


def in_short(outcomes):
    return [(each["status"], each["problem"] and each["problem"]["code"]) for each in outcomes]


ITEMS: list[Any] = [
    {"object_id": "a", "payload": 1},
    {"object_id": "a"},
    {"object_id": "a", "on_conflict": "attach"},
    {"object_id": "a", "on_conflict": "after"},
    {"object_id": "b", "delay": 5, "labels": {"n": "1"}},
    {"object_id": ""},
    {"object_id": "c", "handler": "nobody"},
    {"object_id": "d", "payload": "x" * PAYLOAD_LIMIT},
    {"object_id": "e", "timeout": 100},
    {"object_id": "f", "handler": "typed", "payload": {"width": "wide"}},
    "text",
    None,
    7,
    [],
    {"object_id": "g"},
]

OUTCOMES = [
    (201, None),
    (409, "rerun_window"),
    (200, None),
    (201, None),
    (201, None),
    (422, "invalid_request"),
    (404, "unknown_handler"),
    (413, "payload_too_large"),
    (422, "invalid_request"),
    (422, "invalid_request"),
    *[(422, "invalid_request")] * 4,
    (201, None),
]


@pytest.mark.parametrize("by_lines", [False, True])
@virtually
async def test_each_of_many_has_its_outcome_in_its_place(by_lines):
    async with running(more=MORE) as (system, client):
        if by_lines:
            text = "".join(
                json.dumps(item) + end for item, end in zip(ITEMS, ["\n", "\r\n", "\n\n"] * 5, strict=True)
            )
            response = await client.post(BATCH, content=text, headers=NDJSON)
        else:
            response = await client.post(BATCH, json={"jobs": ITEMS})
        assert response.status_code == 200, response.text
        outcomes = response.json()["outcomes"]
        assert in_short(outcomes) == OUTCOMES
        ids = [outcome["job"] and outcome["job"]["id"] for outcome in outcomes]
        assert ids[2] == ids[0]
        assert set(system.jobs.jobs) == {ids[0], ids[3], ids[4], ids[-1]}
        assert [outcomes[n]["job"]["object_id"] for n in (0, 3, 4, -1)] == ["a", "a", "b", "g"]
        refused = outcomes[1]["problem"]
        assert (refused["job_id"], refused["retry_after"], refused["status"]) == (ids[0], 300, 409)
        assert refused["job"]["id"] == ids[0]
        assert outcomes[4]["job"]["labels"] == {"n": "1"}
        assert outcomes[9]["problem"]["errors"][0]["field"] == "payload.width"
        assert outcomes[6]["problem"]["handlers"] == ["measured", "opens", "patient", "sleep", "typed"]
        await asyncio.sleep(2)
        assert (await shown(client, ids[0]))["status"] == "running"


@virtually
async def test_a_line_that_is_no_json_costs_the_others_nothing():
    lines = b"\n".join(
        (
            b'{"object_id": "a"}',
            b'{"object_id": ',
            b"no",
            b"\xff",
            b'{"object_id": "b"}{"object_id": "c"}',
            b'{"object_id": "d"}',
        )
    )
    async with running() as (system, client):
        response = await client.post(BATCH, content=lines, headers=NDJSON)
        bad = (400, "not_json")
        assert in_short(response.json()["outcomes"]) == [(201, None), bad, bad, bad, bad, (201, None)]
        assert {job.object_id for job in system.jobs.jobs.values()} == {"a", "d"}


KINDS = (
    *("application/x-ndjson", "application/ndjson", "application/jsonl"),
    "APPLICATION/X-NDJSON; charset=utf-8",
)


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_lines_are_told_by_their_media_type(kind):
    async with running() as (_, client):
        line = b'{"object_id": "a"}'
        response = await client.post(BATCH, content=line, headers={"content-type": kind})
        assert in_short(response.json()["outcomes"]) == [(201, None)]
        # As any other type it is one document, and not the right one.
        other = await client.post(BATCH, content=line, headers={"content-type": "text/plain"})
        assert complaints(other) == {"jobs": "Field required", "object_id": "Extra inputs are not permitted"}


@virtually
async def test_nothing_at_all_has_no_outcomes():
    async with running() as (_, client):
        assert await many(client) == []
        for nothing in (b"", b"\n\r\n \n"):
            response = await client.post(BATCH, content=nothing, headers=NDJSON)
            assert (response.status_code, response.json()) == (200, {"outcomes": []})
        problem(await client.post(BATCH, content=b""), 400, "not_json")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, {"jobs": "Field required"}),
        ([], {"body": "Input should be an object"}),
        ({"jobs": None}, {"jobs": "Input should be a valid array"}),
        ({"jobs": {}}, {"jobs": "Input should be a valid array"}),
        ({"jobs": [], "key": "k"}, {"key": "Extra inputs are not permitted"}),
    ],
    ids=str,
)
@virtually
async def test_a_batch_that_is_none_is_told_so(body, told):
    async with running() as (_, client):
        assert complaints(await client.post(BATCH, json=body)) == told


@virtually
async def test_a_check_of_a_users_that_breaks_is_the_mistake_of_that_payload_alone():
    async with running(more=MORE) as (system, client):
        jobs = [{"object_id": u, "handler": "measured", "payload": {"unit": u}} for u in ("m", "mile", "cm")]
        told = problem(await post(client, **jobs[1]), 422, "invalid_request")
        assert told["errors"] == [{"field": "payload", "message": "could not be checked (KeyError)"}]
        assert in_short(await many(client, *jobs)) == [(201, None), (422, "invalid_request"), (201, None)]
        assert len(system.jobs.jobs) == 2


@virtually
async def test_a_thousand_at_once_and_no_more():
    async with running() as (system, client):
        jobs = [{"object_id": f"{n}"} for n in range(1_001)]
        told = complaints(await client.post(BATCH, json={"jobs": jobs}))
        assert re.fullmatch("List should have at most 1000 items.*", told["jobs"])
        lines = "\n".join(json.dumps(job) for job in jobs)
        response = await client.post(BATCH, content=lines, headers=NDJSON)
        assert complaints(response) == {"body": "must have at most 1000 lines"}
        assert system.jobs.jobs == {}
        outcomes = await many(client, *jobs[:1_000])
        assert [outcome["job"]["object_id"] for outcome in outcomes] == [f"{n}" for n in range(1_000)]
        assert len(system.jobs.jobs) == 1_000


@virtually
async def test_a_batch_may_have_eight_mebibytes_and_no_more():
    async with running() as (_, client):
        jobs = [{"object_id": f"{n}", "payload": "x" * 250_000} for n in range(33)]
        body = json.dumps({"jobs": jobs}).encode()
        body += b" " * (BATCH_LIMIT - len(body))
        for content in (body + b" ", b"\n" * (BATCH_LIMIT + 1)):
            told = problem(await client.post(BATCH, content=content, headers=NDJSON), 413, "body_too_large")
            assert "8 MiB" in told["detail"]
        response = await client.post(BATCH, content=body)
        assert in_short(response.json()["outcomes"]) == [(201, None)] * 33
        told = problem(await client.post(JOBS, content=b" " * (BODY_LIMIT + 1)), 413, "body_too_large")
        assert "1 MiB" in told["detail"]


@virtually
async def test_a_batch_that_comes_again_has_the_same_outcomes_and_what_was_refused_is_tried_again():
    async with running(window_s=60.0) as (system, client):
        await made(client, object_id="busy")
        jobs = [{"object_id": "a"}, {"object_id": "busy"}, {"object_id": "b", "on_conflict": "attach"}, {}]
        jobs += [{"object_id": "busy", "on_conflict": "attach"}]
        first = await many(client, *jobs, headers=key("k"))
        codes = [(201, None), (409, "rerun_window"), (201, None), (422, "invalid_request"), (200, None)]
        assert in_short(first) == codes
        await asyncio.sleep(100)
        again = await many(client, *jobs, headers=key("k"))
        assert in_short(again) == [*codes[:1], (201, None), *codes[2:]]
        for n in (0, 2):
            assert again[n] == first[n]
        assert again[4]["job"]["id"] == first[4]["job"]["id"] == "job-1"
        assert again[1]["job"]["run"] == 2
        assert len(system.jobs.jobs) == 4


@virtually
async def test_a_key_with_another_batch_is_a_mistake_and_none_of_it_is_made():
    async with running() as (system, client):
        await many(client, {"object_id": "a"}, {"object_id": "b"}, headers=key("k"))
        others = [
            [{"object_id": "a"}],
            [{"object_id": "a"}, {"object_id": "b"}, {"object_id": "c"}],
            [{"object_id": "b"}, {"object_id": "a"}],
            [{"object_id": "c"}, {"object_id": "b"}],
        ]
        for jobs in others:
            response = await client.post(BATCH, json={"jobs": jobs}, headers=key("k"))
            problem(response, 422, "idempotency_key_reused")
        assert {job.object_id for job in system.jobs.jobs.values()} == {"a", "b"}
        # A key of one batch is not the beginning of another's.
        assert in_short(await many(client, {"object_id": "c"}, headers=key("k#0"))) == [(201, None)]


@virtually
async def test_one_batch_twice_at_once_is_made_once():
    async with running() as (system, client):
        jobs = [{"object_id": f"{n}"} for n in range(50)]
        async with system.client() as other:
            outcomes = await asyncio.gather(
                *(many(each, *jobs, headers=key("k")) for each in (client, other, client))
            )
        assert outcomes[0] == outcomes[1] == outcomes[2]
        assert len(system.jobs.jobs) == 50


@virtually
async def test_while_mongodb_is_away_each_has_its_outcome_and_with_a_key_nothing_is_begun():
    async with running() as (system, client):
        system.jobs.away = True
        outcomes = await many(client, {"object_id": "a"}, {"object_id": ""}, {"object_id": "b"})
        away = (503, "store_unavailable")
        assert in_short(outcomes) == [away, (422, "invalid_request"), away]
        assert outcomes[0]["problem"]["retry_after"] == 2
        response = await client.post(BATCH, json={"jobs": [{"object_id": "a"}]}, headers=key("k"))
        problem(response, 503, "store_unavailable")
        system.jobs.away = False
        assert in_short(await many(client, {"object_id": "a"}, headers=key("k"))) == [(201, None)]


@virtually
async def test_an_error_that_nobody_foresaw_in_one_of_many_is_a_500_that_says_nothing_of_itself():
    system = System()
    system.registry = Failing(ZeroDivisionError("secret"))
    async with system.client() as client:
        response = await client.post(BATCH, json={"jobs": [{"object_id": "a"}]})
    assert "secret" not in problem(response, 500, "internal")["detail"]


# A full backlog --------------------------------------------------------------------------------


@virtually
async def test_above_the_ceiling_each_surface_says_when_to_come_back():
    async with running() as (system, _):
        clock = VirtualClock(asyncio.get_running_loop())
        system.registry = Registry(system.jobs, Whoever(system, "dispatcher"), clock, max_backlog=2)
        client = system.client()
        outcomes = await many(client, *({"object_id": f"{n}"} for n in range(3)))
        assert in_short(outcomes) == [(201, None), (201, None), (429, "backlog_full")]
        assert outcomes[2]["problem"]["retry_after"] >= 1
        told = problem(await post(client, object_id="x"), 429, "backlog_full")
        assert told["retry_after"] >= 1
        seed = await client.post("/", json={"object_id": "x"})
        assert (seed.status_code, set(seed.json())) == (429, {"message"})
        assert int(seed.headers["retry-after"]) >= 1
        # They run, and end.
        await asyncio.sleep(30)
        problem(await post(client, object_id="x"), 429, "backlog_full")
        await asyncio.sleep(2)
        assert (await post(client, object_id="x")).status_code == 201


# The seed's surface ----------------------------------------------------------------------------


@virtually
async def test_the_seeds_surface_knows_keys_too():
    async with running() as (system, client):
        first = await client.post("/", json={"object_id": "x"}, headers=key("k"))
        assert (first.status_code, first.json()) == (201, {"message": {"job_id": "job-1"}})
        await asyncio.sleep(1_000)
        again = await client.post("/", json={"object_id": "x", "else": "ignored"}, headers=key("k"))
        assert (again.status_code, again.content) == (201, first.content)
        other = await client.post("/", json={"object_id": "y"}, headers=key("k"))
        assert other.status_code == 422
        assert "job-1" in other.json()["message"]
        wrong = await client.post("/", json={"object_id": "y"}, headers=key("a b"))
        assert (wrong.status_code, wrong.json()) == (
            400,
            {"message": "Idempotency-Key: must be 1 to 255 visible ASCII characters"},
        )
        assert len(system.jobs.jobs) == 1


@virtually
async def test_a_refusal_of_the_seeds_surface_is_not_remembered():
    async with running() as (_, client):
        await client.post("/", json={"object_id": "x"})
        refused = await client.post("/", json={"object_id": "x"}, headers=key("k"))
        assert (refused.status_code, refused.headers["retry-after"]) == (400, "300")
        await asyncio.sleep(300)
        assert (await client.post("/", json={"object_id": "x"}, headers=key("k"))).status_code == 201


# The description -------------------------------------------------------------------------------


def references(value):
    if isinstance(value, dict):
        yield from (each for name, each in value.items() if name == "$ref")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from references(each)


async def description():
    async with System().client() as client:
        return (await client.get("/openapi.json")).json()


def schema_of(described, schema):
    """Follow a reference."""
    while "$ref" in schema:
        place = described
        for part in schema["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        schema = place
    return schema


@virtually
async def test_whatever_the_description_refers_to_is_there():
    described = await description()
    found = set(references(described))
    assert found
    for reference in found:
        assert schema_of(described, {"$ref": reference})
    # Nothing is left of how pydantic keeps what it refers to.
    assert "$defs" not in json.dumps(described)


@virtually
async def test_the_description_says_what_can_be_said_of_a_job():
    described = await description()
    body = described["paths"][JOBS]["post"]["requestBody"]
    assert body["required"]
    told = schema_of(described, body["content"]["application/json"]["schema"])
    assert set(told["properties"]) == {
        *("object_id", "handler", "payload", "timeout", "priority", "run_at", "delay"),
        *("labels", "on_conflict", "webhook"),
    }
    assert told["required"] == ["object_id"]
    assert not told["additionalProperties"]
    priority = told["properties"]["priority"]
    assert (priority["minimum"], priority["maximum"]) == (-100, 100)
    on_conflict = schema_of(described, told["properties"]["on_conflict"])
    assert on_conflict["enum"] == ["reject", "attach", "replace", "after"]
    assert told["properties"]["labels"]["maxProperties"] == 16

    rerun = described["paths"][JOBS + "/{job_id}/rerun"]["post"]["requestBody"]
    assert not rerun.get("required")
    told = schema_of(described, rerun["content"]["application/json"]["schema"])
    assert set(told["properties"]) == {"force", "on_conflict"}

    batch = described["paths"][BATCH]["post"]["requestBody"]["content"]
    assert set(batch) == {"application/json", "application/x-ndjson"}
    jobs = schema_of(described, batch["application/json"]["schema"])["properties"]["jobs"]
    assert jobs["maxItems"] == 1_000
    assert set(schema_of(described, jobs["items"])["properties"]) >= {"object_id", "webhook"}


@virtually
async def test_the_description_says_what_can_be_answered():
    described = await description()
    for path in (JOBS, JOBS + "/{job_id}/rerun"):
        responses = described["paths"][path]["post"]["responses"]
        assert set(responses) == {"200", "201", "400", "404", "409", "413", "422", "429", "503"}
        for status in ("200", "201"):
            job = schema_of(described, responses[status]["content"]["application/json"]["schema"])
            assert {"id", "follows", "labels", "links"} <= set(job["properties"])
        assert "`idempotency_key_reused`" in responses["422"]["description"]
        assert "`backlog_full`" in responses["429"]["description"]
        told = schema_of(described, responses["409"]["content"]["application/problem+json"]["schema"])
        assert {"job", "job_id", "job_status", "retry_after", "links", "code"} <= set(told["properties"])
    outcomes = described["paths"][BATCH]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    items = schema_of(described, outcomes)["properties"]["outcomes"]["items"]
    assert set(schema_of(described, items)["properties"]) == {"status", "job", "problem"}


@virtually
async def test_every_way_to_submit_takes_a_key():
    described = await description()
    for path in ("/", JOBS, BATCH, JOBS + "/{job_id}/rerun"):
        parameters = described["paths"][path]["post"].get("parameters", [])
        keys = [each for each in parameters if (each["name"], each["in"]) == ("Idempotency-Key", "header")]
        assert len(keys) == 1, path
        pattern = keys[0]["schema"]["pattern"]
        assert re.search(pattern, "~" * 255)
        assert not re.search(pattern, "a b")
        assert not re.search(pattern, "~" * 256)
