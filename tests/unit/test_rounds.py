"""The Dispatcher's rounds: whatever befalls one job of many, the others have what is theirs."""

import asyncio
from datetime import timedelta

from hasty.actors.rounds import Rounds
from hasty.dispatch import Settle
from hasty.errors import StoreUnavailable
from hasty.job import Outcome, Status, Token, Window
from hasty.store.base import Claim
from hasty.store.memory import MemoryJobStore, MemoryLedger
from hasty.testing import VirtualClock
from tests.unit.examples import VIRTUAL_BEGINNING, a_job, virtually

#: A job is given up after this, and a journaled write takes so long.
PATIENCE_S = 10.0
WRITE_S = 0.01


class Office:
    """Stores, and the rounds on them; to settle a job takes a while, and fails for some at first."""

    def __init__(self, *failing):
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.jobs = MemoryJobStore(self.clock)
        self.ledger = MemoryLedger(self.clock)
        self.failing = set(failing)
        self.rounds = Rounds(
            self.jobs, self.ledger, self.clock, offer=lambda _: None, close=self.close, keep_s=1.0
        )

    async def close(self, work, event):
        await asyncio.sleep(WRITE_S)
        if work.job_id in self.failing:
            self.failing.remove(work.job_id)
            raise StoreUnavailable
        until = self.clock.now() + timedelta(days=1)
        await self.jobs.settle([Settle(work.job_id, event.outcome)], 1, until)

    async def take(self, count):
        """Take on jobs that nobody is to start within `PATIENCE_S`; return their ids."""
        give_up_at = VIRTUAL_BEGINNING + timedelta(seconds=PATIENCE_S)
        jobs = [
            a_job(f"job-{n:03d}", object_id=f"{n}", accepted_at=VIRTUAL_BEGINNING, give_up_at=give_up_at)
            for n in range(count)
        ]
        await self.jobs.insert(jobs)
        return [job.job_id for job in jobs]

    def statuses(self):
        return {job.job_id: job.status for job in self.jobs.jobs.values()}


@virtually
async def test_jobs_that_waited_too_long_are_ended_together():
    """Each waits for a journaled write: one after the other they would take seconds."""
    office = Office()
    job_ids = await office.take(400)
    giving_up = asyncio.ensure_future(office.rounds.give_up())
    await asyncio.sleep(PATIENCE_S + 0.3)
    assert office.statuses() == dict.fromkeys(job_ids, Status.CANCELLED)
    giving_up.cancel()


@virtually
async def test_a_job_whose_end_could_not_be_written_keeps_no_other_from_its_own():
    office = Office("job-000", "job-003")
    job_ids = await office.take(6)
    # It was started, though nobody has shown that yet.
    started = Claim("job-005", Token(1, 1), "claim", "worker", 1, office.clock.now())
    await office.ledger.claim([started])
    giving_up = asyncio.ensure_future(office.rounds.give_up())
    await asyncio.sleep(PATIENCE_S + 0.1)
    ends = dict.fromkeys(job_ids, Status.CANCELLED) | {"job-005": Status.QUEUED}
    assert office.failing == set()
    assert office.statuses() == ends | {"job-000": Status.QUEUED, "job-003": Status.QUEUED}
    assert office.jobs.jobs["job-005"].give_up_at is None
    # And those are looked at again.
    await asyncio.sleep(0.5)
    assert office.statuses() == ends
    assert not giving_up.done()
    giving_up.cancel()


@virtually
async def test_a_job_whose_predecessor_is_forgotten_follows_the_one_before_that():
    """Else the two would run at the same time."""
    office = Office()
    runs = a_job("runs", accepted_at=VIRTUAL_BEGINNING, opens_at=VIRTUAL_BEGINNING)
    waits = a_job(
        "waits",
        run=3,
        status=Status.SCHEDULED,
        window=Window(0.0),
        due_at=VIRTUAL_BEGINNING,
        turn_due=VIRTUAL_BEGINNING,
        follows="forgotten",
    )
    await office.jobs.insert([runs, waits])
    giving = asyncio.ensure_future(office.rounds.give_turns())
    await asyncio.sleep(100)
    assert office.statuses()["waits"] is Status.SCHEDULED
    assert office.jobs.jobs["waits"].follows == "runs"
    ended = Outcome(Status.FINISHED, office.clock.now())
    await office.jobs.settle([Settle("runs", ended)], 1, office.clock.now() + timedelta(days=1))
    office.rounds.settled(["runs"])
    await asyncio.sleep(1)
    assert office.statuses()["waits"] is Status.QUEUED
    giving.cancel()
