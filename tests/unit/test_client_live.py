"""The clients and the application understand each other, over a bad wire too: on virtual time."""

import asyncio
import contextlib
import itertools
import random
from contextlib import asynccontextmanager, closing

import httpx
import pytest
from pydantic import BaseModel

import hasty
from hasty.client import AsyncClient, Client, Job, JobRequest
from hasty.errors import (
    AlreadyEnded,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    JobRefused,
    PayloadTooLarge,
    ScheduleExists,
    UnknownHandler,
    UnknownJob,
    UnknownObject,
    UnknownPool,
    UnknownSchedule,
    WaitTimeout,
)
from hasty.handlers.decorator import declaration_of
from hasty.store.base import Wanted
from tests.unit.client_virtual import Served, Wire, with_schedules
from tests.unit.examples import virtually
from tests.unit.system import running


class Order(BaseModel):
    items: list[str]


@hasty.handler
async def invoice(_job: hasty.JobContext, order: Order) -> dict[str, int]:
    await asyncio.sleep(100)
    return {"total": len(order.items)}


@hasty.handler
async def fails() -> None:
    msg = "no more paper"
    raise ValueError(msg)


MORE = [
    declaration_of(function).handler(timeout_s=200.0, rerun_window_s=300.0) for function in (invoice, fails)
]


class BadWire(httpx.AsyncBaseTransport):
    """Loses requests, answers to requests that were acted on, and all answers from some piece on."""

    def __init__(self, wire, seed=0, loses=0.4):
        self.wire, self.chance, self.loses, self.lost = wire, random.Random(seed), loses, 0

    def loses_this(self):
        lost = self.chance.random() < self.loses / 2
        self.lost += lost
        return lost

    async def handle_async_request(self, request):
        if self.loses_this():
            raise httpx.ConnectError("lost on the way there")
        response = await self.wire.handle_async_request(request)
        if self.loses_this():
            await response.aclose()
            raise httpx.ReadError("lost on the way back")
        response.stream = BadBody(response.stream, self)
        return response


class BadBody(httpx.AsyncByteStream):
    """Breaks off, in the middle of a piece too: with an error, or as if it were the end."""

    def __init__(self, body, wire):
        self.body, self.wire = body, wire

    async def __aiter__(self):
        async for piece in self.body:
            if self.wire.loses_this():
                yield piece[: self.wire.chance.randint(0, len(piece))]
                raise httpx.ReadError("broken off")
            yield piece

    async def aclose(self):
        await self.body.aclose()


@asynccontextmanager
async def client_of(*, seed=None, **settings):
    async with running(more=MORE, **settings) as (system, _):
        numbers = itertools.count(1)
        # In the order of time, as real ones are.
        system.mint = lambda: f"job-{next(numbers):06}"
        good = Wire(with_schedules(system))
        wire = good if seed is None else BadWire(good, seed)
        async with AsyncClient("http://hasty", transport=wire, retries=50, timeout=1e6) as client:
            yield system, client


@virtually
async def test_a_job_is_submitted_waited_for_and_has_a_result():
    async with client_of() as (_, client):
        job = await client.submit(
            "order-1", Order(items=["tea", "milk"]), handler="invoice", labels={"a": "b"}
        )
        assert (job.status, job.run, job.payload, job.labels) == (
            "queued",
            1,
            {"items": ["tea", "milk"]},
            {"a": "b"},
        )
        assert await client.result(job) == {"total": 2}
        ended = await client.get(job.id)
        assert (ended.status, ended.final, ended.worker) == ("finished", True, "hasty-worker-default-0")
        assert (ended.ended_at - ended.started_at).total_seconds() == pytest.approx(100, abs=1)


@virtually
async def test_whoever_waits_is_told_soon_after_the_end():
    async with client_of() as (_, client):
        job = await client.submit("order-1", Order(items=[]), handler="invoice")
        began = asyncio.get_running_loop().time()
        with pytest.raises(WaitTimeout) as late:
            await client.wait(job, timeout=50)
        assert asyncio.get_running_loop().time() - began == pytest.approx(50)
        assert late.value.job.status == "running"
        await client.wait(job)
        assert asyncio.get_running_loop().time() - began == pytest.approx(100, abs=2)


@virtually
async def test_a_job_that_fails_and_one_that_is_cancelled_have_no_result():
    async with client_of() as (_, client):
        with pytest.raises(JobFailed, match="ValueError: no more paper"):
            await client.result(await client.submit("x", handler="fails"))
        job = await client.submit("order-1", Order(items=[]), handler="invoice")
        cancelled = await client.cancel(job, "no need")
        assert (cancelled.status, cancelled.error["message"]) == ("cancelled", "no need")
        assert (await client.cancel(job)).status == "cancelled"
        with pytest.raises(JobCancelled, match="no need"):
            await client.result(job)


@virtually
async def test_a_refusal_carries_the_job_in_the_way_which_can_be_waited_for():
    async with client_of() as (_, client):
        first = await client.submit("order-1", Order(items=[]), handler="invoice")
        with pytest.raises(JobRefused) as refused:
            await client.submit("order-1", Order(items=[]), handler="invoice")
        assert (refused.value.code, refused.value.job_id) == ("rerun_window", first.id)
        assert 299 <= refused.value.retry_after <= 300
        assert (await client.wait(refused.value.job)).status == "finished"
        with pytest.raises(AlreadyEnded) as ended:
            await client.cancel(first)
        assert ended.value.job_status == "finished"
        attached = await client.submit("order-1", Order(items=[]), handler="invoice", on_conflict="attach")
        assert attached.id == first.id


@virtually
async def test_what_can_never_be_is_told_as_what_it_is():
    async with client_of() as (_, client):
        with pytest.raises(UnknownHandler) as unknown:
            await client.submit("x", handler="nobody")
        assert "invoice" in unknown.value.known
        with pytest.raises(InvalidRequest) as invalid:
            await client.submit("x", {"items": 3}, handler="invoice")
        assert invalid.value.complaints[0][0] == "payload.items"
        with pytest.raises(InvalidRequest):
            await client.submit("x", priority=1_000)
        with pytest.raises(PayloadTooLarge):
            await client.submit("x", "y" * 300_000)
        for job_id in ("nope", "..", "?"):
            with pytest.raises(UnknownJob):
                await client.get(job_id)
        with pytest.raises(UnknownPool):
            await client.scale("gpu", 3)


@virtually
async def test_a_job_is_run_again():
    async with client_of() as (_, client):
        job = await client.submit("x", handler="fails")
        await client.wait(job)
        with pytest.raises(JobRefused):
            await client.rerun(job)
        again = await client.rerun(job, force=True)
        assert (again.run, again.handler) == (2, "fails")


@virtually
async def test_pools_are_shown_and_hasty_is_ready():
    async with client_of() as (_, client):
        assert await client.ready() == {"message": "ready"}
        (pool,) = await client.pools()
        assert (pool.name, pool.workers, pool.pinned) == ("default", 1, False)
        assert (await client.scale("default", 1)).pinned


@virtually
async def test_many_jobs_have_their_outcomes():
    async with client_of() as (_, client):
        first = await client.submit("order-1")
        given = [JobRequest("order-1"), {"object_id": "order-2"}, JobRequest("order-3", handler="nobody")]
        refused, accepted, unknown = await client.submit_many(given)
        assert isinstance(refused, JobRefused) and isinstance(accepted, Job)
        assert (refused.job_id, accepted.object_id, type(unknown)) == (first.id, "order-2", UnknownHandler)


@virtually
async def test_jobs_are_listed_and_looked_into():
    async with client_of() as (_, client):
        order = {"payload": Order(items=[]), "handler": "invoice", "labels": {"team": "blue"}}
        jobs = []
        for number in range(120):
            jobs.append(await client.submit(f"order-{number}", **order))
            await asyncio.sleep(0.1)
        await client.wait(jobs[-1])
        listed = [
            job.id async for job in client.list(status="finished", handler="invoice", labels={"team": "blue"})
        ]
        assert listed == [job.id for job in reversed(jobs)]
        assert [job.id async for job in client.list(limit=105)] == listed[:105]
        assert [job.id async for job in client.list(accepted_after=jobs[117].accepted_at)] == listed[:3]
        assert [job async for job in client.list(object_id="order-7", status=["failed", "running"])] == []
        (attempt,) = await client.attempts(jobs[0])
        assert (attempt.attempt, attempt.outcome, attempt.worker) == (1, "finished", "hasty-worker-default-0")
        state = await client.object("order-7")
        assert (state.runs, state.open, state.last_job.id) == (1, False, jobs[7].id)
        with pytest.raises(UnknownObject):
            await client.object("order/1000")
        known = {handler.name: handler for handler in await client.handlers()}
        assert {*known} == {"sleep", "invoice", "fails"}
        assert known["invoice"].payload_schema["properties"]["items"]["type"] == "array"


@virtually
async def test_a_schedule_lives():
    async with client_of() as (_, client):
        how = {"job": JobRequest("order-1", Order(items=[]), handler="invoice"), "interval": 60}
        made = await client.create_schedule("often", **how)
        assert (made.interval, made.paused, made.job["handler"]) == (60, False, "invoice")
        assert await client.create_schedule("often", **how) == made
        with pytest.raises(ScheduleExists):
            await client.create_schedule("often", **how | {"interval": 61})
        assert (await client.pause_schedule("often")).next_at is None
        assert (await client.resume_schedule("often")).next_at is not None
        assert [schedule.name for schedule in await client.schedules()] == ["often"]
        await client.delete_schedule("often")
        with pytest.raises(UnknownSchedule):
            await client.schedule("often")


@virtually
async def test_a_job_is_followed_to_its_end():
    async with client_of() as (_, client):
        job = await client.submit("order-1", Order(items=[]), handler="invoice")
        told = [event async for event in client.events(job)]
        assert [event.type for event in told] == ["job.queued", "job.running", "job.finished"]
        assert {(event.job_id, event.object_id, event.handler) for event in told} == {
            (job.id, "order-1", "invoice")
        }
        # Once more, now that it has ended; and from where there is nothing left.
        assert [event async for event in client.events(job)] == told
        assert [event async for event in client.events(job, last_event_id=told[1].id)] == told[2:]
        assert [event async for event in client.events(job, last_event_id=told[2].id)] == []
        with pytest.raises(UnknownJob):
            await anext(client.events("nope"))


# Over a bad wire ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@virtually
async def test_a_job_that_is_submitted_over_a_bad_wire_exists_once(seed):
    async with client_of(seed=seed) as (system, client):
        jobs = await asyncio.gather(*(client.submit(f"video-{number}") for number in range(20)))
        assert {*system.jobs.jobs} == {job.id for job in jobs}
        assert [job.object_id for job in jobs] == [f"video-{number}" for number in range(20)]
        assert client._http._transport.lost


@pytest.mark.parametrize("seed", range(8))
@virtually
async def test_many_jobs_that_are_submitted_over_a_bad_wire_exist_once_each(seed):
    async with client_of(seed=seed) as (system, client):
        jobs = await client.submit_many([JobRequest(f"video-{number}") for number in range(50)])
        assert [job.id for job in jobs] == sorted(
            system.jobs.jobs, key=lambda job_id: int(job_id.split("-")[1])
        )[:50]
        assert len(system.jobs.jobs) == 50


@pytest.mark.parametrize("seed", range(8))
@virtually
async def test_what_a_client_does_over_a_bad_wire_is_done(seed):
    async with client_of(seed=seed) as (_, client):
        job = await client.submit("order-1", Order(items=["tea"]), handler="invoice")
        assert await client.result(job) == {"total": 1}
        again = await client.rerun(job, force=True)
        assert again.run == 2
        assert (await client.cancel(again)).status == "cancelled"


async def kept(system):
    """Return every event that there is."""
    return [str(event.seq) for event in (await system.events.page(0, 10**9, Wanted(), 10**9)).events]


async def busy(client, count):
    for number in range(count):
        await client.submit(f"video-{number}")
        await asyncio.sleep(1)


@pytest.mark.parametrize("seed", range(4))
@virtually
async def test_a_client_that_is_killed_a_hundred_times_on_a_bad_wire_has_each_event_once(seed):
    async with client_of(seed=seed, sleep_s=3.0) as (system, client):
        work = asyncio.ensure_future(busy(client, 60))
        found, last, kills, chance = [], "0", 0, random.Random(seed)
        while kills < 100 or not work.done() or found != await kept(system):
            following = client.events(last_event_id=last)
            # As far as it comes; what is read and not yielded dies with it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0, 12)), contextlib.aclosing(following):
                    async for event in following:
                        found.append(event.id)
                        last = event.id
                        if chance.random() < 0.2:
                            break
            kills += 1
            assert kills < 2_000
        assert len(found) == len(set(found)) >= 180
        assert client._http._transport.lost > 50


@pytest.mark.parametrize("seed", range(4))
@virtually
async def test_from_now_on_is_from_the_first_connection_on(seed):
    async with client_of(seed=seed, sleep_s=3.0) as (system, client):
        await busy(client, 3)
        found, connected = [], asyncio.Event()

        async def follow():
            async for event in client.events():
                connected.set()
                found.append(event.id)

        following = asyncio.ensure_future(follow())
        await client.submit("first")
        async with asyncio.timeout(3_600):
            while not connected.is_set():
                await client.submit(f"more-{len(await kept(system))}")
                await asyncio.sleep(1)
        await asyncio.sleep(100)
        following.cancel()
        assert found == (await kept(system))[-len(found) :]


@pytest.mark.parametrize("seed", range(8))
@virtually
async def test_the_events_of_one_job_come_once_over_a_bad_wire_and_end(seed):
    async with client_of(seed=seed) as (_, client):
        job = await client.submit("order-1", Order(items=[]), handler="invoice")
        told = [event.type async for event in client.events(job)]
        assert told == ["job.queued", "job.running", "job.finished"]


# A client that blocks ----------------------------------------------------------------------------


def test_a_client_that_blocks_does_the_same():
    with closing(Served(more=MORE)) as served:
        client = Client("http://hasty", transport=served.wire, clock=served)
        job = client.submit("order-1", Order(items=["tea"]), handler="invoice")
        with pytest.raises(JobRefused) as refused:
            client.submit("order-1")
        assert refused.value.job.id == job.id
        assert client.result(job, timeout=150) == {"total": 1}
        with pytest.raises(UnknownJob):
            client.wait("nope")
