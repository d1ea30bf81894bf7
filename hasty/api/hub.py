"""The Hub tells everybody who is connected to this Gateway what happens, as the Herald tells it."""

import asyncio
import contextvars
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from hasty.actors.refs import HeraldRef
from hasty.actors.tail import Tail
from hasty.api.listener import Listener
from hasty.api.watch import Watch
from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.errors import EventsOff, TryAgainLater, Unreachable
from hasty.messages import Event, Follow, Followed
from hasty.retry import backoff
from hasty.store.base import EventStore, Excerpt, Wanted
from hasty.telemetry import DutyBroke, emit

Key = TypeVar("Key")
Item = TypeVar("Item")

#: The Herald answers after so long where nothing happens, and is given so much longer.
_WAIT_S = 10.0
_ANSWER_S = 3.0

#: A hasty that stops is asked so often whether it goes on.
_ENDING_S = 1.0

#: Without the Herald no stream can begin; whoever wants one is told so after this.
_CONTACT_WITHIN_S = 10.0

#: When nobody has been there for so long, the Herald is not asked any more.
_IDLE_S = 30.0

#: So many events are remembered.
_REMEMBERED = 5_000

#: Of so many jobs the first events are read together, so many of all of them. MongoDB merges up to 200
#: scans: one for each job, and two for the gaps, which are of none. With more it sorts all in memory.
_TOGETHER = 198
_BEGINNINGS = 2_000

#: Pages that are read at once. Each may be heavy, and a thousand streams may begin at once.
_READS = 8


class _Beginning(NamedTuple):
    """The first events that are kept of one job."""

    wanted: Wanted
    until: int


class Hub:
    """Follows the Herald in a task of its own, as long as anybody listens or watches.

    What it remembers is a tail without a hole. Whoever wants what was before reads it where it is
    kept; all that is told is kept already. Where it has missed something itself, everybody who
    listens reads on from where they are, and whoever watches looks at their job.
    """

    def __init__(
        self, clock: Clock, herald: HeraldRef | None = None, events: EventStore | None = None
    ) -> None:
        """Nothing is asked yet. Without these two there are no events; who watches looks now and then."""
        self._clock = clock
        self._herald = herald
        self._events = events
        self.tail = Tail(_REMEMBERED)
        #: Whether what happens is heard at once.
        self.live = False
        #: Whether everybody is to leave, and come back elsewhere or later.
        self.ending = False
        self._closed = False
        self._follower: asyncio.Task[None] | None = None
        self._in_contact = asyncio.Event()
        # As sets that keep their order: whoever was there first is told first.
        self._listeners: defaultdict[tuple[str, str], dict[Listener, None]] = defaultdict(dict)
        self._watches: defaultdict[str, dict[Watch, None]] = defaultdict(dict)
        self._idle_from = 0.0
        self._reads = asyncio.Semaphore(_READS)
        self._beginnings: Batcher[_Beginning, Excerpt] = Batcher(self._read_beginnings, max_items=_TOGETHER)

    # For those who are connected --------------------------------------------------------------

    async def listen(self, wanted: Wanted, after: int | None) -> Listener:
        """Return one who hears what is wanted: all after that event, or all from now on.

        Raises EventsOff, Unreachable.
        """
        await self._contact()
        assert self.tail.last is not None
        listener = Listener(self, wanted, self.tail.last if after is None else after, self._clock)
        self._listeners[_key(wanted)][listener] = None
        return listener

    def leave(self, listener: Listener) -> None:
        """Tell this one no more."""
        _discard(self._listeners, _key(listener.wanted), listener)

    def watch(self, job_id: str) -> Watch:
        """Return one who hears when it is worth while to look at a job."""
        watch = Watch(self, job_id)
        self._watches[job_id][watch] = None
        if self._herald is not None:
            self._rouse()
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Tell this one no more."""
        _discard(self._watches, watch.job_id, watch)

    async def page(self, after: int, until: int, wanted: Wanted, limit: int) -> Excerpt:
        """See `EventStore.page`; not too many at once, and of many jobs their beginnings together."""
        assert self._events is not None
        if not after and wanted.job_id is not None:
            return await self._beginnings.submit(_Beginning(wanted, until))
        async with self._reads:
            return await self._events.page(after, until, wanted, limit)

    async def _read_beginnings(self, asked: Sequence[_Beginning]) -> list[Excerpt]:
        assert self._events is not None
        job_ids = {each.wanted.job_id for each in asked if each.wanted.job_id is not None}
        found = await self._events.beginnings(job_ids, max(each.until for each in asked), _BEGINNINGS)
        by_job = defaultdict[str | None, list[Event]](list)
        for event in found.events:
            by_job[event.job_id].append(event)
        return [_part(each, by_job, found) for each in asked]

    async def was_the_last_of(self, job_id: str, seq: int) -> bool:
        """Whether this is the event of a job's end, as far as it is kept. Raises StoreUnavailable."""
        if self._events is None:
            return False
        excerpt = await self.page(seq - 1, seq, Wanted(job_id=job_id), 1)
        return any(event.job_id == job_id and event.final for event in excerpt.events)

    @property
    def busy(self) -> bool:
        """Whether anybody is there."""
        return bool(self._listeners or self._watches)

    def end(self) -> None:
        """Have everybody leave; nobody is let in any more."""
        self._closed = True
        self._say_goodbye(ending=True)

    # The Herald -------------------------------------------------------------------------------

    async def _contact(self) -> None:
        """Return when it is known what the latest event is. Raises EventsOff, Unreachable."""
        if self._herald is None:
            raise EventsOff
        self._rouse()
        try:
            async with asyncio.timeout(_CONTACT_WITHIN_S):
                await self._in_contact.wait()
        except TimeoutError:
            raise Unreachable("the herald did not answer in time") from None

    def _rouse(self) -> None:
        """Follow, unless that is done already."""
        self._idle_from = self._clock.monotonic()
        if self._follower is None or self._follower.done():
            self._in_contact.clear()
            # In a context of its own: what is cancelled with a request is known by the request's.
            loop = asyncio.get_running_loop()
            self._follower = loop.create_task(self._follow(), context=contextvars.Context())

    async def _follow(self) -> None:
        """Hear the Herald while anybody is there."""
        assert self._herald is not None
        after: int | None = None
        waits = backoff()
        while self._is_wanted():
            try:
                async with asyncio.timeout(_WAIT_S + _ANSWER_S):
                    followed = await self._herald.since(Follow(after, _WAIT_S))
            except Exception as error:  # noqa: BLE001  everybody here waits for this task
                if not isinstance(error, TryAgainLater | TimeoutError):
                    emit(DutyBroke("hub", repr(error)), level=logging.ERROR)
                self._lose_contact()
                await self._clock.sleep(next(waits))
                continue
            waits = backoff()
            self._hear(followed, begins=after is None or followed.missed)
            after = followed.last
            if followed.ending:
                # It waits for nothing any more.
                await self._clock.sleep(_ENDING_S)
        self.live = False
        self._follower = None

    def _is_wanted(self) -> bool:
        now = self._clock.monotonic()
        if self.busy:
            self._idle_from = now
        return now < self._idle_from + _IDLE_S

    def _lose_contact(self) -> None:
        if self.live:
            self.live = False
            self._look()

    def _hear(self, followed: Followed, *, begins: bool) -> None:
        """Take note of what happened, and tell it to those who wait for it."""
        before, self.live = self.live, not followed.deaf
        if begins:
            self.tail.begin(followed.last, followed.events)
            for listener in self._everybody():
                listener.fall_behind()
        elif followed.events:
            self.tail.extend(followed.events)
            for event in followed.events:
                self._tell(event)
        if begins or self.live != before:
            self._look()
        self._in_contact.set()
        self._say_goodbye(ending=followed.ending or self._closed)

    def _tell(self, event: Event) -> None:
        if event.job_id is None:
            # After a gap, nobody knows.
            self._look()
            for listener in self._everybody():
                listener.hear(event)
            return
        if event.final:
            for watch in self._watches.get(event.job_id, ()):
                watch.look()
        for key in _keys(event):
            for listener in self._listeners.get(key, ()):
                listener.hear(event)

    def _look(self) -> None:
        """Have all who watch look at their jobs."""
        for watches in self._watches.values():
            for watch in watches:
                watch.look()

    def _everybody(self) -> Iterator[Listener]:
        for listeners in self._listeners.values():
            yield from listeners

    def _say_goodbye(self, *, ending: bool) -> None:
        self.ending = ending
        if ending:
            self._look()
            for listener in self._everybody():
                listener.wake()


def _discard(sets: defaultdict[Key, dict[Item, None]], key: Key, item: Item) -> None:
    """Take one out of the set of this key, which goes with its last one."""
    members = sets.get(key)
    if members is not None:
        members.pop(item, None)
        if not members:
            del sets[key]


def _part(asked: _Beginning, by_job: Mapping[str | None, Sequence[Event]], found: Excerpt) -> Excerpt:
    """Return what was found of one job."""
    until = min(asked.until, found.until)
    of_job = by_job.get(asked.wanted.job_id, ())
    events = sorted([*of_job, *by_job.get(None, ())]) if None in by_job else of_job
    return Excerpt(
        tuple(event for event in events if event.seq <= until and asked.wanted.includes(event)),
        until,
        found.oldest,
    )


def _key(wanted: Wanted) -> tuple[str, str]:
    """Return what is the rarest of all that is wanted, so that few are asked at each event."""
    for name, value in wanted._asdict().items():
        if value is not None:
            return name, value
    return "", ""


def _keys(event: Event) -> Iterator[tuple[str, str]]:
    for name, value in zip(Wanted._fields, (event.job_id, event.object_id, event.handler), strict=True):
        if value is not None:
            yield name, value
    yield "", ""
