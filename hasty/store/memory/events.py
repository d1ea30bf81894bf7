"""The events in memory: what a store of them promises, in plain Python."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from hasty.clock import Clock
from hasty.errors import Superseded
from hasty.messages import Event, EventType
from hasty.store.base import LEAP, About, Excerpt, Position, Wanted
from hasty.store.memory.changes import MemoryLogReader
from hasty.store.memory.jobs import MemoryJobStore


class MemoryEventStore:
    """See `hasty.store.base.EventStore`. The log is that of a store of jobs."""

    def __init__(self, jobs: MemoryJobStore, clock: Clock) -> None:
        """Start empty."""
        self._jobs = jobs
        self._log = jobs.log
        self._clock = clock
        self._keep_s = 0.0
        self.events: dict[int, Event] = {}
        self._tokens: dict[int, str] = {}
        self._kept: Position | None = None

    async def prepare(self, keep_s: float) -> None:
        """See `EventStore`."""
        self._keep_s = keep_s

    async def position(self) -> Position:
        """See `EventStore`."""
        if self._kept is None:
            self._kept = Position(0, self._clock.now(), str(self._log.end))
        last = max(self._tokens, default=0)
        if last <= self._kept.seq:
            return self._kept
        return Position(last, self.events[last].at, self._tokens[last])

    def reader(self, token: str) -> MemoryLogReader:
        """See `EventStore`."""
        return MemoryLogReader(self._log, token)

    async def about(self, job_ids: Collection[str], until: int) -> dict[str, About]:
        """See `EventStore`."""
        records = await self._jobs.get(job_ids)
        found = {job.job_id: About(job.object_id, job.handler, job.attempt) for job in records.values()}
        for seq in sorted(self.events):
            event = self.events[seq]
            if event.job_id is not None and event.job_id in job_ids and seq <= until:
                found[event.job_id] = About(event.object_id or "", event.handler or "", event.attempt)
        return found

    async def add(self, events: Sequence[Event], token: str) -> None:
        """See `EventStore`."""
        for event in events:
            there = self.events.setdefault(event.seq, event)
            if (there.type, there.job_id, there.at) != (event.type, event.job_id, event.at):
                raise Superseded(f"event {event.seq} is another one")
        self._tokens.setdefault(events[-1].seq, token)

    async def keep(self, position: Position) -> None:
        """See `EventStore`."""
        if self._kept is None or position.seq >= self._kept.seq:
            self._kept = position

    async def skip(self, lost: Position) -> None:
        """See `EventStore`."""
        if await self.position() == lost:
            seq, at = max(lost.seq, max(self.events, default=0)), max(lost.at, self._clock.now())
            gaps = [Event(seq + n, EventType.GAP, at) for n in (1, LEAP)]
            await self.add(gaps, str(self._log.end))

    async def page(self, after: int, until: int, wanted: Wanted, limit: int) -> Excerpt:
        """See `EventStore`."""
        between = sorted(seq for seq in self.events if after < seq <= until)
        found = [self.events[seq] for seq in between if wanted.includes(self.events[seq])][:limit]
        if len(found) == limit:
            until = found[-1].seq
        return Excerpt(tuple(found), until, min(self.events, default=until + 1))

    async def beginnings(self, job_ids: Collection[str], until: int, limit: int) -> Excerpt:
        """See `EventStore`."""
        asked = [Wanted(job_id=job_id) for job_id in job_ids]
        between = (self.events[seq] for seq in sorted(self.events) if seq <= until)
        found = [event for event in between if any(each.includes(event) for each in asked)][:limit]
        if len(found) == limit:
            until = found[-1].seq
        return Excerpt(tuple(found), until, min(self.events, default=until + 1))

    def expire(self) -> None:
        """Forget what is past its time, as MongoDB does in its own."""
        oldest = self._clock.now() - timedelta(seconds=self._keep_s)
        for seq in [seq for seq, event in self.events.items() if event.at <= oldest]:
            del self.events[seq]
            self._tokens.pop(seq, None)
