"""The latest of the events, in memory, without a hole."""

from collections.abc import Sequence

from hasty.messages import Event


class Tail:
    """The latest events, one number after the other: `limit` of them at least, if there were so many."""

    def __init__(self, limit: int) -> None:
        """Know nothing, not even where the numbers are."""
        self._limit = limit
        self._events: list[Event] = []
        #: The number of the latest event, known here or not; None: unknown.
        self.last: int | None = None

    def begin(self, last: int, events: Sequence[Event] = ()) -> None:
        """Forget all, and go on behind `last`, the number of the last of these, if there are any."""
        self._events = list(events)
        self.last = last

    def extend(self, events: Sequence[Event]) -> None:
        """Add what comes next."""
        assert self.last is not None
        assert events[0].seq == self.last + 1
        self._events.extend(events)
        self.last = events[-1].seq
        if len(self._events) > 2 * self._limit:
            del self._events[: -self._limit]

    def reaches_back_to(self, after: int) -> bool:
        """Whether all that came after this event is known here."""
        return self.last is not None and self.last - len(self._events) <= after <= self.last

    def after(self, after: int, limit: int) -> list[Event]:
        """Return the first of what came after this event, as far as this reaches back."""
        assert self.last is not None
        start = max(0, after - (self.last - len(self._events)))
        return self._events[start : start + limit]

    def latest(self, limit: int) -> list[Event]:
        """Return the last ones."""
        return self._events[-limit:]
