"""The Herald tells what happens to jobs: it makes events of what is written, and numbers them."""

import asyncio
import contextlib
import functools
import logging
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

from hasty.actors.tail import Tail
from hasty.clock import Clock
from hasty.errors import HistoryLost, StoreUnavailable, Superseded, Unreachable
from hasty.messages import Event, Follow, Followed, Health, check_version
from hasty.retry import backoff
from hasty.store.base import About, Change, EventStore, LogReader, Position, Reading, Wanted
from hasty.telemetry import EventsMissing, HeraldBroke, emit

#: Where nothing happens, the log is asked again after this.
_READ_WITHIN_S = 5.0

#: Batches begin so far apart at least: what happens meanwhile costs little more in one of them. After
#: one of so many changes the next is given more time: so busy a hasty is slower elsewhere.
_PACE_S = 0.02
_BUSY = 50
_BUSY_PACE_S = 0.05

#: How often the position is kept apart from the events, which may all expire before anybody goes on.
_KEEP_EVERY_S = 10.0

#: So many events are remembered for those who come a little late, and told at once.
_REMEMBERED = 10_000
TOLD_AT_ONCE = 2_000

#: Jobs of which it is remembered what they are about; others are looked up.
_ABOUT = 100_000

#: Nobody is made to wait longer than this; while nothing is heard, so long.
_LONGEST_WAIT_S = 30.0
_DEAF_WAIT_S = 1.0


class Herald:
    """Reads the one log of changes, and turns each change into an event with the next number.

    Exactly once, whatever dies: the log is in one order for everybody, a batch is kept with the
    place at which the log goes on behind it, and told only then. Whoever goes on from there gives
    the same changes the same numbers. So there may be two of it, one of them frozen or late: they
    write the same, and what one of them has written counts for both. The one exception is made by
    the store: where its log is lost, one of them adds a gap, and the other goes on behind that.
    """

    def __init__(self, events: EventStore, clock: Clock, *, keep_s: float) -> None:
        """Keep events for `keep_s`. `serve` must run beside the calls."""
        self._events = events
        self._clock = clock
        self._keep_s = keep_s
        self._tail = Tail(_REMEMBERED)
        self._about: OrderedDict[str, About] = OrderedDict()
        self._problem: str | None = "has not begun"
        self._ending = False
        #: Set, and replaced, at whatever those who wait should look at.
        self._news = asyncio.Event()

    # What others ask --------------------------------------------------------------------------

    async def since(self, message: Follow) -> Followed:
        """Tell what happened after an event; all of it is kept. Raises Unreachable before it knows."""
        check_version(message.version)
        if self._tail.last is None:
            raise Unreachable("the Herald has not begun")
        if message.after is not None:
            longest_s = _LONGEST_WAIT_S if self._problem is None else _DEAF_WAIT_S
            await self._until_news(message.after, min(message.wait_s, longest_s))
        return self._answer(message.after)

    async def _until_news(self, after: int, wait_s: float) -> None:
        """Return when there is something after that, or something else to be told.

        One who is ahead has heard it from another Herald; then this one is about to say the same.
        """
        deaf = self._problem is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._last() <= after and not self._ending and (self._problem is not None) == deaf:
                    await self._news.wait()

    def _last(self) -> int:
        assert self._tail.last is not None
        return self._tail.last

    def _answer(self, after: int | None) -> Followed:
        tail, deaf = self._tail, self._problem is not None
        if after is not None and after > self._last() and deaf:
            # Not said: whether there is anything between these two.
            return Followed((), after, deaf=True, ending=self._ending)
        missed = after is not None and not tail.reaches_back_to(after)
        told = tail.latest if after is None or missed else functools.partial(tail.after, after)
        events = told(TOLD_AT_ONCE)
        last = events[-1].seq if events else self._last()
        return Followed(tuple(events), last, missed, deaf, self._ending)

    async def health(self) -> Health:
        """Say whether what happens is heard."""
        return Health("herald", self._problem)

    def end(self) -> None:
        """Tell everybody that hasty is stopping."""
        self._ending = True
        self._wake()

    # The log ----------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Read the log and tell of it; never returns. After any trouble it goes on from what is kept."""
        waits = backoff()
        while True:
            why, level = "", logging.WARNING
            try:
                await self._go_on()
            except (StoreUnavailable, Superseded, HistoryLost) as error:
                why = str(error)
            except Exception as error:  # noqa: BLE001  whatever it was, what is kept is right
                why, level = repr(error), logging.ERROR
            if self._problem is None:
                emit(HeraldBroke(why), level=level)
                waits = backoff()
            self._problem = why
            self._wake()
            await self._clock.sleep(next(waits))

    async def _go_on(self) -> None:
        """Read on from what is kept, until something is wrong."""
        await self._events.prepare(self._keep_s)
        position = await self._events.position()
        await self._catch_up(position)
        reader = self._events.reader(position.token)
        try:
            reading = await self._first(reader, position)
            await self._events.keep(position)
            kept, kept_at = position, self._clock.monotonic()
            while True:
                begun_at = self._clock.monotonic()
                position = await self._tell(reading, position)
                if position != kept and begun_at > kept_at + _KEEP_EVERY_S:
                    await self._events.keep(position)
                    kept, kept_at = position, begun_at
                if reading.changes:
                    pace_s = _PACE_S if len(reading.changes) < _BUSY else _BUSY_PACE_S
                    await self._clock.sleep(max(0.0, begun_at + pace_s - self._clock.monotonic()))
                reading = await reader.read(_READ_WITHIN_S)
        finally:
            await reader.close()

    async def _first(self, reader: LogReader, position: Position) -> Reading:
        """Read for the first time. Raises HistoryLost when it has leapt over what nobody knows any more."""
        try:
            reading = await reader.read(0.0)
        except HistoryLost:
            emit(EventsMissing(position.seq), level=logging.ERROR)
            await self._events.skip(position)
            raise
        self._problem = None
        self._wake()
        return reading

    async def _catch_up(self, position: Position) -> None:
        """Tell what is kept and was not told here: another did, or it was not said that it is kept."""
        tail, seq = self._tail, position.seq
        after = seq - TOLD_AT_ONCE
        if tail.last is not None and after <= tail.last <= seq:
            after = tail.last
        excerpt = await self._events.page(max(0, after), seq, Wanted(), TOLD_AT_ONCE)
        events = excerpt.events
        whole = bool(events) and events[-1].seq == seq and events[0].seq == seq - len(events) + 1
        if whole and events[0].seq - 1 == tail.last:
            tail.extend(events)
        elif tail.last != seq:
            tail.begin(seq, events if whole else ())
        self._wake()

    async def _tell(self, reading: Reading, position: Position) -> Position:
        """Make events of a part of the log, keep them, and tell those who wait; return the new position."""
        if not reading.changes:
            return position._replace(token=reading.token)
        events = await self._numbered(reading.changes, position)
        try:
            await self._events.add(events, reading.token)
        except StoreUnavailable:
            # They are read again, perhaps: then each job is to be known as it was before them.
            for change in reading.changes:
                self._about.pop(change.job_id, None)
            raise
        self._tail.extend(events)
        self._wake()
        return Position(events[-1].seq, events[-1].at, reading.token)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # The events -------------------------------------------------------------------------------

    async def _numbered(self, changes: Sequence[Change], position: Position) -> list[Event]:
        await self._learn(changes, position.seq)
        seq, at = position.seq, position.at
        events = []
        for change in changes:
            seq += 1
            # A server may be behind the one before it; what is older must not outlive what is newer.
            at = max(at, change.at)
            events.append(self._event(seq, at, change))
        # Not before: a job that was known for longest may be the one that the batch ends with.
        self._forget()
        return events

    async def _learn(self, changes: Sequence[Change], until: int) -> None:
        """Know what each job is about: as its first change said, or else as is kept."""
        known = {change.job_id for change in changes if change.object_id is not None}
        missing = {change.job_id for change in changes} - known - self._about.keys()
        if missing:
            self._about |= await self._events.about(missing, until)

    def _event(self, seq: int, at: datetime, change: Change) -> Event:
        job_id = change.job_id
        if change.object_id is not None:
            about = About(change.object_id, change.handler or "", 0)
        else:
            # A record that is gone already says nothing.
            about = self._about.get(job_id) or About("", "", 0)
        if change.attempt is not None:
            about = about._replace(attempt=change.attempt)
        self._remember(job_id, about, ended=change.status.final)
        return Event(
            seq,
            change.type,
            at,
            job_id,
            about.object_id,
            about.handler,
            change.status,
            about.attempt,
            change.progress,
            change.error,
        )

    def _remember(self, job_id: str, about: About, *, ended: bool) -> None:
        """Know it for the next event of the job, if there is to be one."""
        if ended:
            self._about.pop(job_id, None)
        else:
            self._about[job_id] = about

    def _forget(self) -> None:
        """Let go of what is too much; where it matters again it is looked up."""
        while len(self._about) > _ABOUT:
            self._about.popitem(last=False)
