"""The events, and the log of changes that they are made of: what a store of them promises."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from hasty.job import Json, Progress, Status
from hasty.messages import Event, EventType

#: After a gap the numbers go on so much higher than the last that is known: between them are those of
#: events that were told, expired and were forgotten, which nobody shall take for others.
LEAP = 1_000_000


class Position(NamedTuple):
    """Up to where the log of changes has become events: the last event, and how to read on behind it."""

    seq: int
    at: datetime
    #: The store's own word for a place in its log.
    token: str


class Change(NamedTuple):
    """What was done to a job's record. None: that is not in the log, because it did not change."""

    type: EventType
    at: datetime
    job_id: str
    status: Status
    attempt: int | None = None
    progress: Progress | None = None
    error: dict[str, Json] | None = None
    object_id: str | None = None
    handler: str | None = None


class Reading(NamedTuple):
    """A part of the log, and where it goes on."""

    changes: Sequence[Change]
    token: str


class About(NamedTuple):
    """What is to be told of a job with each of its events."""

    object_id: str
    handler: str
    #: The latest; where no event is kept that tells it, as the record says now.
    attempt: int


class Wanted(NamedTuple):
    """Which events are asked for: those of which all this is true. None: any."""

    job_id: str | None = None
    object_id: str | None = None
    handler: str | None = None

    def includes(self, event: Event) -> bool:
        """Whether it is one of them; a gap always is."""
        return event.job_id is None or all(
            want is None or want == has
            for want, has in zip(self, (event.job_id, event.object_id, event.handler), strict=True)
        )


class Excerpt(NamedTuple):
    """Some of the events that are kept, in their order."""

    events: tuple[Event, ...]
    #: There are no others that are asked for, up to this number.
    until: int
    #: The number of the oldest that is kept, of all; the one after the last asked for, where none is.
    oldest: int


class LogReader(Protocol):
    """Reads the log of changes from a place in it, in the one order that it has."""

    async def read(self, within_s: float) -> Reading:
        """Return what comes next, at once where there is something; nothing after `within_s`.

        What is returned is on a majority, and was not returned before. Raises HistoryLost where the
        log is not kept that far back. After any error: `close`, and read on by another one.
        """
        ...

    async def close(self) -> None:
        """Let go of it. Never raises."""
        ...


class EventStore(Protocol):
    """The events. Several may write them at once: then all write the same."""

    async def prepare(self, keep_s: float) -> None:
        """Create what the store needs; events are kept for `keep_s`. Idempotent."""
        ...

    async def position(self) -> Position:
        """Return where to go on with reading the log. Whoever is first decides where it begins, for all."""
        ...

    def reader(self, token: str) -> LogReader:
        """Return what reads the log from there; nothing is asked yet."""
        ...

    async def about(self, job_ids: Collection[str], until: int) -> dict[str, About]:
        """Return that of these jobs: as their latest events say, up to this number, or else their records."""
        ...

    async def add(self, events: Sequence[Event], token: str) -> None:
        """Keep these events, whose numbers go on from each other; behind the last, `token` reads on.

        When it returns, each is on a majority. Those that are there already count as kept. Raises
        Superseded where a number is another event's. Otherwise the first of them may be kept.
        """
        ...

    async def keep(self, position: Position) -> None:
        """Remember a position beyond the time of its events, unless a later one is known."""
        ...

    async def skip(self, lost: Position) -> None:
        """Add a gap, behind which the log is read from now on, unless somebody else went on from there.

        It is two events, so that it has the next number, too: who is late with an event is superseded.
        """
        ...

    async def page(self, after: int, until: int, wanted: Wanted, limit: int) -> Excerpt:
        """Return the first of those that are asked for, of the numbers after `after`, up to `until`."""
        ...

    async def beginnings(self, job_ids: Collection[str], until: int, limit: int) -> Excerpt:
        """Return the first events of these jobs, and gaps, that are kept; of all of them together."""
        ...
