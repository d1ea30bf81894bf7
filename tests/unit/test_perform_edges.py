"""Handlers that go wrong in ways of their own. None may keep its job open, or hurt a neighbour."""

import asyncio

import pytest

from hasty.job import Status
from tests.unit.examples import virtually
from tests.unit.system import running
from tests.unit.test_perform import outcome_of, perform, raising, returning


class Mute(Exception):
    def __str__(self):
        raise ValueError("this error cannot even say what it is")


@virtually
async def test_an_error_that_cannot_say_what_it_is_is_a_failure_all_the_same():
    outcome = await outcome_of(perform(raising(Mute())))
    assert (outcome.status, outcome.error["type"]) == (Status.FAILED, "Mute")


@virtually
async def test_and_its_job_comes_to_an_end():
    starts = []

    async def handler(context, _payload):
        starts.append(context.attempt)
        raise Mute

    async with running(function=handler) as (_, client):
        await client.post("/", json={"object_id": "x"})
        await asyncio.sleep(300)
        assert b'"failed"' in (await client.get("/job-1")).content
        assert starts == [1]


@virtually
async def test_a_result_that_cannot_be_stored_is_a_failure_of_the_handler():
    outcome = await outcome_of(perform(returning({"title": "half \ud83d a pair"})))
    assert (outcome.status, outcome.error["type"]) == (Status.FAILED, "BadResult")


@virtually
async def test_a_handler_that_raises_when_it_is_called_has_failed():
    def handler(_context, _payload):
        raise KeyError("early")

    outcome = await outcome_of(perform(handler))
    assert (outcome.status, outcome.error["type"]) == (Status.FAILED, "KeyError")


@virtually
async def test_a_handler_that_returns_no_coroutine_has_failed():
    outcome = await outcome_of(perform(lambda _context, _payload: 7))
    assert outcome.status is Status.FAILED


def test_a_handler_that_exits_has_failed():
    async def scenario():
        outcome = await outcome_of(perform(raising(SystemExit(3))))
        assert outcome.status is Status.FAILED

    try:
        virtually(scenario)()
    except SystemExit:
        pytest.fail("the loop was left")


def test_a_thread_of_an_async_handler_may_report_progress():
    """Not in virtual time: that loop hears of no threads."""

    async def scenario():
        seen = asyncio.Event()

        async def handler(context, _payload):
            await asyncio.to_thread(context.progress, 0.5, "half")
            await seen.wait()

        async with asyncio.timeout(60), running(function=handler) as (_, client):
            await client.post("/v1/jobs", json={"object_id": "x"})
            job = {"status": "queued", "progress": None}
            while job["status"] in ("queued", "running") and job["progress"] is None:
                await asyncio.sleep(0.01)
                job = (await client.get("/v1/jobs/job-1")).json()
            seen.set()
        assert (job["status"], job["error"]) == ("running", None)
        assert job["progress"] | {"at": ""} == {"at": "", "fraction": 0.5, "message": "half"}

    asyncio.run(scenario())
