"""The schedules of recurring jobs: what a store of them promises."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from hasty.schedule import Schedule


class Listed(NamedTuple):
    """A part of a list."""

    schedules: tuple[Schedule, ...]
    #: Whether there are others behind them.
    more: bool


class ScheduleStore(Protocol):
    """The schedules. Clients create and delete them; whoever changes one says which version it saw."""

    async def prepare(self) -> None:
        """Create what the store needs (indexes). Idempotent; safe beside another prepare."""
        ...

    async def create(self, schedule: Schedule) -> Schedule:
        """Insert a schedule unless its name or its idempotency key is taken; return what is `known` then.

        When it returns, that is journaled on a majority.
        """
        ...

    async def known(self, schedule: Schedule) -> Schedule | None:
        """Return the schedule that has this one's idempotency key, or else the one that has its name."""
        ...

    async def count(self) -> int:
        """Return how many there are."""
        ...

    async def find(self, name: str) -> Schedule | None:
        """Return the schedule of this name; durable, never rolled back."""
        ...

    async def page(self, after: str, limit: int) -> Listed:
        """Return the first `limit` whose names come after this one, in their order.

        Where they are heavy it may be fewer, the first of them.
        """
        ...

    async def due(self, now: datetime, limit: int, skip: Collection[str]) -> tuple[Schedule, ...]:
        """Return the first `limit` for which something is to be done, but for those names.

        As `find` and `page` do. None at all: there are no others.
        """
        ...

    async def advance(self, changed: Sequence[Schedule]) -> int:
        """Put each in the place of the version before it; return how many that was true of.

        It is for none that was deleted, or changed by somebody else. Durable when it returns. Of a
        schedule, what its definition says never changes.
        """
        ...

    async def delete(self, name: str) -> bool:
        """Delete a schedule; durable when it returns. False: there is none."""
        ...
