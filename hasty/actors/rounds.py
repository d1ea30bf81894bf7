"""What a Dispatcher looks after again and again, beside its workers and its queue."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hasty.actors.perform import closed
from hasty.clock import Clock
from hasty.dispatch import Closed, Offered
from hasty.errors import StoreUnavailable
from hasty.job import Job, Outcome, Status, Work, first_id_of
from hasty.rerun import Begin, GiveWay, PutOff, begun, turn
from hasty.store.base import Closing, JobStore, Ledger, Off

#: How often it is looked whether a scheduled job is due, or one has waited for too long.
_LOOK_S = 0.25

#: So many of them at once.
_AT_ONCE = 500

#: Jobs whose ends others wait for, at most; who waits for another one looks for itself now and then.
_FOLLOWED = 100_000

#: What the error of a job says whose place another took.
REPLACED = "Replaced"

#: How often the ledger is pruned, and how many pages at once.
_PRUNE_EVERY_S = 600.0
_PRUNED_AT_ONCE = 1_000


class Rounds:
    """The rounds of one epoch. Each is made until it is done; while MongoDB is away it is put off."""

    def __init__(
        self,
        jobs: JobStore,
        ledger: Ledger,
        clock: Clock,
        *,
        offer: Callable[[Offered], object],
        close: Callable[[Work, Closed], Awaitable[object]],
        keep_s: float,
    ) -> None:
        """`offer` hears of jobs that are due, `close` of jobs that the ledger was told the end of."""
        self._jobs = jobs
        self._ledger = ledger
        self._clock = clock
        self._offer = offer
        self._close = close
        self._keep_s = keep_s
        #: Jobs whose ends others wait for, and those of them that have ended meanwhile.
        self._followed: set[str] = set()
        self._ended: set[str] = set()

    @property
    def all(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """All rounds."""
        return self.wake, self.give_turns, self.give_up, self.prune

    async def wake(self) -> None:
        """Let scheduled jobs wait for a slot when their time has come; for ever."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                while works := await self._jobs.wake(self._clock.now(), _AT_ONCE):
                    self._offer(Offered(works))
            await self._clock.sleep(_LOOK_S)

    async def give_turns(self) -> None:
        """Let jobs that are scheduled since they were accepted have their turns; for ever."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                if ended := frozenset(self._ended):
                    await self._jobs.hasten(ended, self._clock.now())
                    self._ended -= ended
                while waiting := await self._jobs.waiting(self._clock.now(), _AT_ONCE):
                    await self._look_at(waiting)
            await self._clock.sleep(_LOOK_S)

    def settled(self, job_ids: Sequence[str]) -> None:
        """Hear that the ends of these jobs are durable: somebody may wait for them."""
        ended = self._followed.intersection(job_ids)
        self._followed -= ended
        self._ended |= ended

    async def _look_at(self, waiting: Sequence[Job]) -> None:
        """Say of each job whether it is its turn, and see to it that it is before long."""
        followed = {job.follows for job in waiting if job.follows is not None}
        # Before it is read how they stand: so no end is missed.
        self._followed |= followed if len(self._followed) < _FOLLOWED else set()
        ahead = await self._jobs.brief(followed)
        self._followed -= {job_id for job_id in followed if job_id not in ahead or not ahead[job_id].live}
        lost = [job for job in waiting if job.follows is not None and job.follows not in ahead]
        instead = await self._instead(lost)
        now = self._clock.now()
        begins: list[Job] = []
        offs: list[Off] = []
        give_way: dict[str, tuple[Job, Job]] = {}
        for each in waiting:
            job, before = each, ahead.get(each.follows or "")
            if job.follows is not None and before is None:
                before = instead.get(job.job_id)
                job = replace(job, follows=before.job_id if before is not None else None)
            match turn(job, before, now):
                case Begin() as begin:
                    begins.append(begun(job, begin, now))
                case PutOff(until, follows):
                    offs.append(Off(job.job_id, until, follows))
                case GiveWay(other):
                    give_way[other.job_id] = other, job
        if offs:
            await self._jobs.put_off(offs)
        if begins:
            self._offer(Offered(await self._jobs.begin(begins)))
        if give_way:
            await self._replace(tuple(give_way.values()), now)

    async def _instead(self, jobs: Sequence[Job]) -> dict[str, Job]:
        """Return, by job id, whom these jobs follow: their predecessors are forgotten.

        As one that was passed over may be, long before those that came before it.
        """
        found: dict[str, Job] = {}
        while jobs:
            of_objects = {job.object_id: job for job in jobs}
            before = await self._jobs.standing({name: job.run for name, job in of_objects.items()})
            found |= {of_objects[name].job_id: job for name, job in before.items()}
            # Of an object with several, the others in turn.
            looked_at = {job.job_id for job in of_objects.values()}
            jobs = [job for job in jobs if job.job_id not in looked_at]
        return found

    async def _replace(self, pairs: Sequence[tuple[Job, Job]], now: datetime) -> None:
        """End the first of each two for the second, which is to take its place."""
        closings = [Closing(old.job_id, _replaced(old, new, now)) for old, new in pairs]
        outcomes = await self._ledger.close(closings)
        await self._close_all([old.work() for old, _ in pairs], outcomes)

    async def give_up(self) -> None:
        """End jobs that nobody started within their queue timeout; for ever."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                while works := await self._jobs.overdue(self._clock.now(), _AT_ONCE):
                    await self._end_unless_started(works)
            await self._clock.sleep(_LOOK_S)

    async def _end_unless_started(self, works: Sequence[Work]) -> None:
        now = self._clock.now()
        closings = [Closing(work.job_id, _waited_too_long(work, now), untouched=True) for work in works]
        outcomes = await self._ledger.close(closings)
        started = [w.job_id for w, outcome in zip(works, outcomes, strict=True) if outcome is None]
        if started:
            await self._jobs.excuse(started)
        await self._close_all(works, outcomes)

    async def _close_all(self, works: Sequence[Work], outcomes: Sequence[Outcome | None]) -> None:
        """Tell of all that ended, together. What goes wrong with one is raised once all others are told."""
        ends = [
            self._close(work, Closed(work.job_id, outcome))
            for work, outcome in zip(works, outcomes, strict=True)
            if outcome is not None
        ]
        for told in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(told, BaseException):
                raise told

    async def prune(self) -> None:
        """Now and then delete the ledger's pages of jobs whose records have expired; for ever.

        A record expires only once its job was settled, so no page goes that is still needed.
        """
        while True:
            await self._clock.sleep(_PRUNE_EVERY_S)
            with contextlib.suppress(StoreUnavailable):
                await self.prune_once()

    async def prune_once(self) -> None:
        """Look at every page that is old enough."""
        after, before = "", first_id_of(self._clock.now() - timedelta(seconds=self._keep_s))
        while ids := await self._ledger.ids(after, before, _PRUNED_AT_ONCE):
            kept = await self._jobs.existing(ids)
            await self._ledger.forget([job_id for job_id in ids if job_id not in kept])
            after = ids[-1]


def _replaced(old: Job, new: Job, now: datetime) -> Outcome:
    error = {"type": REPLACED, "message": f"job {new.job_id} took its place"}
    return closed(old.work(), Status.CANCELLED, now, error)


def _waited_too_long(work: Work, now: datetime) -> Outcome:
    error = {"type": "QueueTimeout", "message": "it waited longer for a slot than it may"}
    return closed(work, Status.CANCELLED, now, error)
