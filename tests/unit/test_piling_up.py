"""While MongoDB is away for long, nothing piles up in the actors: what is said again is the same thing."""

import asyncio

from hasty.batching import Batcher
from hasty.errors import StoreUnavailable
from hasty.handlers import SLEEP, Handler
from hasty.handlers.catalogue import Retrying
from hasty.job import Outcome, Status, Token, Window
from hasty.messages import Deferred, Ended, Report, Started
from tests.refs import Ref
from tests.unit.examples import NOW, virtually
from tests.unit.system import WORKER, System

HOUR_S = 3_600.0


class Counted(Ref):
    """Knows how many of its calls are under way."""

    def __init__(self, actor):
        super().__init__(actor)
        self.under_way = 0
        self.most = 0

    async def _call(self, method, messages):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super()._call(method, messages)
        finally:
            self.under_way -= 1


async def fail(_context, _payload):
    await asyncio.sleep(5)
    raise ValueError("on purpose")


FLAKY = Handler(name="flaky", function=fail, timeout_s=46.0, window=Window(300.0), retry=Retrying(1, 0.001))


async def an_hour_without_the_job_store(jobs: int, handler: str = SLEEP):
    """Attempts end while what clients see cannot be written; return what it came to."""
    system = System(sleep_s=5.0, more=[FLAKY])
    system.worker._dispatcher = reports = Counted(system.dispatcher)
    runs = Counted(system.worker)
    system.pool.worker = lambda _name: runs
    await system.serve()
    gateway = system.gateway()
    works = await asyncio.gather(*(gateway.submit(f"object-{n}", handler) for n in range(jobs)))
    await asyncio.sleep(1)
    system.jobs.away = True
    await asyncio.sleep(HOUR_S)
    return system, works, reports, runs


@virtually
async def test_a_report_that_comes_again_is_not_written_again():
    system, works, reports, runs = await an_hour_without_the_job_store(50)
    settler = system.dispatcher._settler
    assert (settler._batches._size, len(settler._under_way)) == (0, 50)
    # One batch of ends; a run or two, which wait for it, and a question how the worker is.
    assert reports.most <= 3
    assert runs.most <= 4
    system.jobs.away = False
    await asyncio.sleep(10)
    found = await system.jobs.get([work.job_id for work in works])
    assert {job.status for job in found.values()} == {Status.FINISHED}
    assert settler._under_way == {}
    assert (await system.dispatcher.health()).running == 0
    assert reports.under_way == 0


@virtually
async def test_a_delay_that_is_told_again_is_not_written_again():
    system, works, reports, runs = await an_hour_without_the_job_store(50, "flaky")
    postponer = system.dispatcher._reign._postponer
    assert (postponer._batches._size, len(postponer._under_way)) == (0, 50)
    assert reports.most <= 3
    assert runs.most <= 4
    system.jobs.away = False
    await asyncio.sleep(60)
    found = await system.jobs.get([work.job_id for work in works])
    # The second attempt failed as well, and was the last.
    assert {(job.status, job.attempt) for job in found.values()} == {(Status.FAILED, 2)}
    assert (await system.dispatcher.health()).running == 0
    assert reports.under_way == 0


@virtually
async def test_a_mark_that_finds_no_room_is_dropped_and_takes_no_end_with_it():
    system = System(sleep_s=1_000.0, timeout_s=2_000.0)
    await system.serve()
    work = await system.gateway().submit("an object")
    await asyncio.sleep(1)
    errands = system.dispatcher._reign._errands
    errands._marker = Batcher(errands._write_marks, capacity=0)
    started = Started(work.job_id, WORKER, 1, NOW)
    ended = Ended(work.job_id, Outcome(Status.FINISHED, NOW))
    await system.dispatcher.report(Report(WORKER, 1, (Started("other", WORKER, 1, NOW), started)))
    await system.dispatcher.report(Report(WORKER, 1, (started,), (ended,)))
    assert (await system.jobs.get([work.job_id]))[work.job_id].status is Status.FINISHED


@virtually
async def test_an_end_is_written_though_a_delay_that_came_with_it_cannot_be():
    """The machine holds it as ended: if its worker died now, nobody would ask about it again."""
    system = System(sleep_s=1_000.0, timeout_s=2_000.0)
    await system.serve()
    gateway = system.gateway()
    ends, waits = [await gateway.submit(name) for name in ("ends", "waits")]
    await asyncio.sleep(1)

    async def refuse(*_about):
        raise StoreUnavailable

    system.jobs.postpone = refuse
    ended = Ended(ends.job_id, Outcome(Status.FINISHED, NOW))
    deferred = Deferred(waits.job_id, Token(1, 2), 1, NOW, None)
    report = Report(WORKER, 1, ended=(ended,), deferred=(deferred,))
    reporting = asyncio.ensure_future(system.dispatcher.report(report))
    await asyncio.sleep(5)
    assert (await system.jobs.get([ends.job_id]))[ends.job_id].status is Status.FINISHED
    assert not reporting.done()
    reporting.cancel()
