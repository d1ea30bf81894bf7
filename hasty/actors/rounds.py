"""What a Dispatcher looks after again and again, beside its workers and its queue."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from hasty.actors.perform import closed
from hasty.clock import Clock
from hasty.dispatch import Closed, Offered
from hasty.errors import StoreUnavailable
from hasty.job import Outcome, Status, Work, first_id_of
from hasty.store.base import Closing, JobStore, Ledger

#: How often it is looked whether a scheduled job is due, or one has waited for too long.
_LOOK_S = 0.25

#: So many of them at once.
_AT_ONCE = 500

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

    async def wake(self) -> None:
        """Let scheduled jobs wait for a slot when their time has come; for ever."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                while works := await self._jobs.wake(self._clock.now(), _AT_ONCE):
                    self._offer(Offered(works))
            await self._clock.sleep(_LOOK_S)

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
        for work, outcome in zip(works, outcomes, strict=True):
            if outcome is not None:
                await self._close(work, Closed(work.job_id, outcome))
        started = [w.job_id for w, outcome in zip(works, outcomes, strict=True) if outcome is None]
        if started:
            await self._jobs.excuse(started)

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


def _waited_too_long(work: Work, now: datetime) -> Outcome:
    waited_s = (now - work.accepted_at).total_seconds()
    error = {"type": "QueueTimeout", "message": f"waited {waited_s:.1f} s for a slot, longer than it may"}
    return closed(work, Status.CANCELLED, now, error)
