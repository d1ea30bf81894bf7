"""Orders of events that are rare, and were wrong once."""

import asyncio
import itertools

import pytest

from hasty.actors.dispatcher import Dispatcher, Draft
from hasty.dispatch import Attended, Lost, Settled, Swept, Ticked, Unanswered
from hasty.errors import Unreachable
from hasty.job import Outcome, Status
from hasty.messages import Attendance, Ended, Enqueue, Process, Scale, Started
from hasty.pools import DEFAULT_POOL, PoolPlan
from hasty.store.memory import MemoryJobStore, MemoryLedger
from hasty.testing import VirtualClock
from tests.unit.examples import NOW, a_job, after, virtually
from tests.unit.test_dispatch import (
    Backlog,
    a_machine,
    ids,
    offer,
    plan,
    sent,
    settle,
    sweeps,
    works,
)

DONE = Outcome(Status.FINISHED, NOW)


def found_between_its_end_and_its_settlement(slots):
    """A Dispatcher that just took office hears the end of a job it does not hold; while that is being
    written, a sweep (or a late Enqueue) still finds the job live and queues it."""
    machine = a_machine(a=slots)
    busy, job = works(2)
    offer(machine, busy)
    machine.handle(Ended("job-1", DONE), 0.0)
    machine.handle(Swept((job,), True), 0.0)
    return machine


def test_a_job_that_is_found_before_its_end_is_written_leaves_the_count_when_it_is():
    machine = found_between_its_end_and_its_settlement(slots=1)
    machine.handle(Settled(("job-1",)), 0.0)
    assert list(machine._entries) == ["job-0"]
    assert (machine.queued, machine.running) == (0, 1)


@pytest.mark.timeout(120)
def test_and_the_dispatcher_does_not_hang():
    """It looped for ever as soon as a slot was free: one job was counted, and none was in the heap."""
    machine = found_between_its_end_and_its_settlement(slots=1)
    machine.handle(Settled(("job-1",)), 0.0)
    plan(machine, "a", "b")
    machine.handle(Attended("b", 1, 1, ()), 0.0)
    assert machine.ready


def test_what_a_trim_left_behind_is_sent_before_what_a_sweep_found_behind_it():
    machine = a_machine(a=1, capacity=10)
    jobs = works(30)
    backlog = Backlog(jobs[:30])
    given = sent(offer(machine, *jobs[:20]))  # job-0 runs, 1..19 wait
    (sweep,) = sweeps(machine.handle(Ticked(), 5.0))  # skips 0..19
    offer(machine, *jobs[20:30])  # over twice the capacity: only 1..10 are kept
    found = tuple(job for job in jobs[:25] if job.job_id not in sweep.skip)
    machine.handle(Swept(found, True), 5.0)  # read when 20..24 were there: the horizon is job-24 now
    order = [job_id for _, job_ids in given for job_id in job_ids]
    while backlog.live:
        del backlog.live[order[-1]]
        commands = settle(machine, order[-1])
        for sweep in sweeps(commands):
            commands += machine.handle(backlog.answer(sweep), 1.0)
        order += [job_id for _, job_ids in sent(commands) for job_id in job_ids]
    assert order == ids(jobs[:30])


def test_the_start_of_a_stale_attempt_is_not_shown_as_its_successors():
    """`Started` says neither worker nor token, so the mark names b for an attempt that was a's."""
    machine = a_machine(a=9, b=1)
    offer(machine, *works(1))
    machine.handle(Lost("a"), 0.0)
    machine.handle(Started("job-0", "b", 2, after(20)), 0.0)
    assert machine.handle(Started("job-0", "a", 1, after(1)), 0.0) == []  # late, from a


def test_heavy_jobs_go_in_several_messages_now_and_when_they_are_sent_again():
    machine = a_machine(a=100)
    mebibyte = "x" * 2**20
    heavy = [work._replace(payload=mebibyte) for work in works(40)]
    shares = [job_ids for _, job_ids in sent(offer(machine, *heavy))]
    assert [len(job_ids) for job_ids in shares] == [15, 15, 10]
    assert list(itertools.chain(*shares)) == ids(heavy)
    again = [job_ids for _, job_ids in sent(machine.handle(Unanswered("a", tuple(ids(heavy))), 0.0))]
    assert [len(job_ids) for job_ids in again] == [15, 15, 10]


def test_a_job_that_is_heavier_than_a_message_goes_alone():
    machine = a_machine(a=100)
    light, heavy, last = works(3)
    commands = offer(machine, light, heavy._replace(payload="x" * 2**25), last)
    assert sent(commands) == [("a", [name]) for name in ("job-0", "job-1", "job-2")]


class Busy:
    """A worker that never ends what it is given; see `hasty.actors.worker.Worker`."""

    def __init__(self, name, boot, generation):
        self.name, self.boot, self.generation = name, boot, generation
        self.runs = {}

    async def attend(self, message):
        running = () if message.met == self.boot else tuple(self.runs.values())
        process = Process("node", self.boot, self.boot)
        return Attendance(self.name, self.boot, 10, process, False, self.generation, running=running)

    async def run(self, message):
        self.runs |= {forward.work.job_id: forward.work for forward in message.forwards}
        await asyncio.Event().wait()


class BusyWorkers:
    """See `hasty.actors.refs.Workers`."""

    def __init__(self):
        self.members = {}
        self.silent = set()
        self.dismissed = []
        self._generation = 1

    def follow(self, plan):
        self._generation = plan.generation

    def worker(self, name):
        if name in self.silent:
            raise Unreachable
        return self.members.setdefault(name, Busy(name, 1, self._generation))

    async def revive(self, _name):
        return None

    async def dismiss(self, name):
        self.dismissed.append(name)
        self.members[name] = Busy(name, self.members[name].boot + 1, self._generation)

    def where(self, job_id):
        return [name for name, member in self.members.items() if job_id in member.runs]


ONE = PoolPlan(1, 1, 10)


async def in_office(jobs, workers, **pools):
    """A Dispatcher that was in office for long enough to have heard everybody."""
    clock = VirtualClock(asyncio.get_running_loop())
    draft = Draft({DEFAULT_POOL: ONE} | pools)
    dispatcher = Dispatcher(jobs, MemoryLedger(clock), workers, clock, holder="one", draft=draft, keep_s=1e6)
    office = asyncio.ensure_future(dispatcher.serve())
    await asyncio.sleep(3)
    return dispatcher, office


async def a_job_whose_pool_is_gone():
    """It runs there still: its worker has it."""
    jobs, workers = MemoryJobStore(VirtualClock(asyncio.get_running_loop())), BusyWorkers()
    dispatcher, office = await in_office(jobs, workers, gpu=ONE)
    job = a_job(pool="gpu")
    await jobs.insert([job])
    await dispatcher.enqueue(Enqueue((job.work(),)))
    await asyncio.sleep(1)
    await jobs.deploy({DEFAULT_POOL: ONE}, "")
    await dispatcher.follow()
    await asyncio.sleep(10)
    assert workers.where("job-1") == ["hasty-worker-gpu-0"]

    return jobs, workers, dispatcher, office, Enqueue((job.work(),))


@virtually
async def test_a_job_that_runs_in_a_pool_that_is_gone_is_not_given_away_when_it_is_offered_again():
    """It would be run twice, and what it has done be lost: the ledger takes the newer token."""
    _, workers, dispatcher, _, offered = await a_job_whose_pool_is_gone()
    await dispatcher.enqueue(offered)
    await asyncio.sleep(10)
    assert workers.where("job-1") == ["hasty-worker-gpu-0"]


@virtually
async def test_nor_when_that_comes_before_it_is_known_that_it_runs():
    jobs, workers, _, office, offered = await a_job_whose_pool_is_gone()
    office.cancel()
    workers.silent.add("hasty-worker-gpu-0")
    successor, _ = await in_office(jobs, workers)
    await successor.enqueue(offered)
    await asyncio.sleep(1)
    workers.silent.clear()
    await asyncio.sleep(10)
    assert workers.where("job-1") == ["hasty-worker-gpu-0"]


@virtually
async def test_a_worker_that_was_ended_is_not_started_again_when_somebody_says_once_more_that_it_is_to_go():
    """Whoever is asked how it is is started where it is not there."""
    jobs, workers = MemoryJobStore(VirtualClock(asyncio.get_running_loop())), BusyWorkers()
    dispatcher, _ = await in_office(jobs, workers)
    await dispatcher.scale(Scale(DEFAULT_POOL, 2))
    await asyncio.sleep(10)
    for _ in range(2):
        await dispatcher.scale(Scale(DEFAULT_POOL, 1))
        await asyncio.sleep(0.01)
    await asyncio.sleep(10)
    assert workers.dismissed == ["hasty-worker-default-1"]
