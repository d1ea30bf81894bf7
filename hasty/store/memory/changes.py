"""The log of changes in memory: what a database's log says of jobs, in plain Python."""

import asyncio
import contextlib
from datetime import datetime

from hasty.errors import HistoryLost
from hasty.job import Job, Status
from hasty.messages import EventType
from hasty.store.base import Change, Reading

#: So many changes at once, at most.
_AT_ONCE = 1_000


class ChangeLog:
    """Every change that shows in an event, in the order in which it was made. A token is a place in it."""

    def __init__(self) -> None:
        """Start empty."""
        self._changes: list[Change] = []
        #: So many of them are not kept any more.
        self._lost = 0
        self._news = asyncio.Event()

    @property
    def end(self) -> int:
        """The place behind the last."""
        return self._lost + len(self._changes)

    def note(self, at: datetime, before: Job | None, after: Job) -> None:
        """Take note of an insertion (before it there is nothing) or a change."""
        change = _inserted(at, after) if before is None else _changed(at, before, after)
        if change is not None:
            self._changes.append(change)
            self._news.set()

    def lose(self) -> None:
        """Forget all, as a database's log does when it is full."""
        self._lost = self.end
        self._changes.clear()

    async def read(self, place: int, within_s: float) -> list[Change]:
        """Return what is behind this place, once there is something. Raises HistoryLost."""
        self._news.clear()
        if place == self.end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._news.wait()
        if place < self._lost:
            raise HistoryLost
        return self._changes[place - self._lost :][:_AT_ONCE]


class MemoryLogReader:
    """See `hasty.store.base.LogReader`."""

    def __init__(self, log: ChangeLog, token: str) -> None:
        """Read from behind `token`."""
        self._log = log
        self._place = int(token)

    async def read(self, within_s: float) -> Reading:
        """See `LogReader`."""
        changes = await self._log.read(self._place, within_s)
        self._place += len(changes)
        return Reading(changes, str(self._place))

    async def close(self) -> None:
        """See `LogReader`."""


def _inserted(at: datetime, job: Job) -> Change:
    told = EventType(f"job.{job.status}")
    return Change(told, at, job.job_id, job.status, None, None, None, job.object_id, job.handler)


def _changed(at: datetime, before: Job, after: Job) -> Change | None:
    attempt = after.attempt if after.attempt != before.attempt else None
    if after.status != before.status or attempt is not None:
        told = EventType(f"job.{after.status}")
        error = after.error if after.error != before.error else None
        return Change(told, at, after.job_id, after.status, attempt, None, error)
    if after.progress not in (None, before.progress):
        return Change(EventType.PROGRESS, at, after.job_id, Status.RUNNING, None, after.progress)
    return None
