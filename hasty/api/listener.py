"""One who listens to events: from where they left off, over what is kept, to what happens now."""

import asyncio
from collections import deque
from typing import Protocol, Self

from hasty.actors.tail import Tail
from hasty.clock import Clock
from hasty.errors import Draining, StoreUnavailable
from hasty.messages import Event, EventType
from hasty.store.base import Excerpt, Wanted

#: One who is slow has so many events waiting; then they are forgotten, and read when they are wanted.
QUEUED = 500

#: So many events are read, or handed over, at once.
_AT_ONCE = 500

#: Another Gateway may have heard more already. When that is so for so long, it is looked for.
_AHEAD_S = 5.0
_AHEAD_LOOK_S = 0.05

#: No event has a higher number.
_HIGHEST = 2**62

#: Wait before what is kept is asked for again.
_AGAIN_S = 1.0


class Source(Protocol):
    """Where events come from: see `hasty.api.hub.Hub`."""

    tail: Tail
    ending: bool

    async def page(self, after: int, until: int, wanted: Wanted, limit: int) -> Excerpt:
        """See `EventStore.page`."""
        ...

    def leave(self, listener: "Listener") -> None:
        """Tell this one no more."""
        ...


class Listener:
    """Hears each event that is wanted once, in their order, and a gap where some are not kept any more.

    What happens now is queued; while the queue cannot be trusted, `_behind` says so, and nothing is
    queued. Then what lies between the cursor and a goal, the latest event at that moment, is read:
    from the tail, or from where it is kept; what happens from that moment on is queued again.
    """

    def __init__(self, source: Source, wanted: Wanted, cursor: int, clock: Clock) -> None:
        """Begin behind the event of the number `cursor`."""
        self.wanted = wanted
        #: All up to this event was handed over, or is not wanted.
        self.cursor = cursor
        #: Whether it matters that what comes first may not be kept any more.
        self.strict = True
        self._source = source
        self._clock = clock
        self._queue: deque[Event] = deque()
        self._behind = cursor != source.tail.last
        self._goal: int | None = None
        self._ahead_until: float | None = None
        self._news = asyncio.Event()

    # What the source says ---------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Take note of what happens now, if it is wanted."""
        if self._behind or not self.wanted.includes(event):
            return
        if len(self._queue) < QUEUED:
            self._queue.append(event)
            self._news.set()
        else:
            self.fall_behind()

    def fall_behind(self) -> None:
        """Read what comes next where it is kept: it was not heard here, or is too much to remember."""
        self._queue.clear()
        self._behind = True
        self._news.set()

    def wake(self) -> None:
        """Look at the source."""
        self._news.set()

    # What whoever listens asks ----------------------------------------------------------------

    async def next(self, within_s: float) -> list[Event]:
        """Return what comes next, or a part of it; nothing after `within_s`. Raises Draining."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self._news.clear()
                    if self._source.ending:
                        raise Draining
                    if events := await self._some():
                        return events
                    await self._news.wait()
        except TimeoutError:
            if not self._queue:
                self._catch_on()
            return []

    def gap(self) -> Event:
        """Return a gap at the cursor."""
        return self._gap(self.cursor)

    def close(self) -> None:
        """Hear no more."""
        self._source.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # Inside -----------------------------------------------------------------------------------

    async def _some(self) -> list[Event]:
        """Return what there is, in part. Whatever it waits for may be cut off, and is begun again."""
        while self._behind or self._goal is not None:
            try:
                events = await self._catch_up()
            except StoreUnavailable:
                await self._clock.sleep(_AGAIN_S)
            else:
                if events:
                    return events
        events = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
        if events:
            self.cursor = events[-1].seq
        else:
            self._catch_on()
        return events

    def _catch_on(self) -> None:
        """What happened up to now, and is not to be read and not queued, is not wanted."""
        if not self._behind and self._goal is None:
            self.cursor = self._latest()

    def _latest(self) -> int:
        assert self._source.tail.last is not None
        return self._source.tail.last

    async def _catch_up(self) -> list[Event]:
        if self._goal is None:
            if self.cursor > self._latest():
                return await self._await_the_others()
            self._goal, self._behind, self._ahead_until = self._latest(), False, None
        tail = self._source.tail
        if tail.reaches_back_to(self.cursor):
            excerpt = self._remembered(self._goal)
        else:
            excerpt = await self._source.page(self.cursor, self._goal, self.wanted, _AT_ONCE)
        return self._read(excerpt, self._goal)

    def _remembered(self, goal: int) -> Excerpt:
        events = [event for event in self._source.tail.after(self.cursor, _AT_ONCE) if event.seq <= goal]
        until = events[-1].seq if events else goal
        return Excerpt(tuple(filter(self.wanted.includes, events)), until, self.cursor + 1)

    def _read(self, excerpt: Excerpt, goal: int) -> list[Event]:
        events, until = list(excerpt.events), excerpt.until
        edge = min(excerpt.oldest - 1, goal)
        if edge > self.cursor and self.strict:
            # Up to there, some may be missing.
            events = [self._gap(edge), *(event for event in events if event.seq > edge)]
            until = max(until, edge)
        self.strict = True
        self.cursor = until
        if until >= goal:
            self._goal = None
        return events

    async def _await_the_others(self) -> list[Event]:
        """Wait until this Gateway has heard as much as whoever listens. If nobody ever has, begin here."""
        now = self._clock.monotonic()
        if self._ahead_until is None:
            self._ahead_until = now + _AHEAD_S
        if now < self._ahead_until:
            await self._clock.sleep(_AHEAD_LOOK_S)
            return []
        self._ahead_until = None
        # Whatever was told is kept. Perhaps the Herald is away, and this Gateway heard of it last.
        if (await self._source.page(self.cursor - 1, _HIGHEST, Wanted(), 1)).events:
            return []
        self.cursor = self._latest()
        return [self._gap(self.cursor)]

    def _gap(self, seq: int) -> Event:
        return Event(seq, EventType.GAP, self._clock.now())
