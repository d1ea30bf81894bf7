"""The schedules in memory: what a store of them promises, in plain Python.

Each method is atomic: it never awaits in the middle.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from hasty.schedule import Schedule
from hasty.store.base import Listed


class MemoryScheduleStore:
    """See `hasty.store.base.ScheduleStore`."""

    def __init__(self) -> None:
        """Start empty."""
        self.schedules: dict[str, Schedule] = {}

    async def prepare(self) -> None:
        """See `ScheduleStore`."""

    async def create(self, schedule: Schedule) -> Schedule:
        """See `ScheduleStore`."""
        return self._known(schedule) or self.schedules.setdefault(schedule.name, schedule)

    async def known(self, schedule: Schedule) -> Schedule | None:
        """See `ScheduleStore`."""
        return self._known(schedule)

    def _known(self, schedule: Schedule) -> Schedule | None:
        key, named = schedule.idempotency_key, self.schedules.get(schedule.name)
        if key is None:
            return named
        keyed = (other for other in self.schedules.values() if other.idempotency_key == key)
        return next(keyed, named)

    async def count(self) -> int:
        """See `ScheduleStore`."""
        return len(self.schedules)

    async def find(self, name: str) -> Schedule | None:
        """See `ScheduleStore`."""
        return self.schedules.get(name)

    async def page(self, after: str, limit: int) -> Listed:
        """See `ScheduleStore`."""
        names = sorted(name for name in self.schedules if name > after)
        return Listed(tuple(self.schedules[name] for name in names[:limit]), more=len(names) > limit)

    async def due(self, now: datetime, limit: int, skip: Collection[str]) -> tuple[Schedule, ...]:
        """See `ScheduleStore`."""
        waiting = [
            (schedule.due_at, name)
            for name, schedule in self.schedules.items()
            if schedule.due_at is not None and schedule.due_at <= now and name not in skip
        ]
        return tuple(self.schedules[name] for _, name in sorted(waiting)[:limit])

    async def advance(self, changed: Sequence[Schedule]) -> int:
        """See `ScheduleStore`."""
        return sum(self._advance(schedule) for schedule in changed)

    def _advance(self, schedule: Schedule) -> bool:
        held = self.schedules.get(schedule.name)
        if held is None or (held.uid, held.version + 1) != (schedule.uid, schedule.version):
            return False
        self.schedules[schedule.name] = schedule
        return True

    async def delete(self, name: str) -> bool:
        """See `ScheduleStore`."""
        return self.schedules.pop(name, None) is not None
