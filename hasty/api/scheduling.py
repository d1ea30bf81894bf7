"""Schedules as the API deals with them. When they fire, the Timetable looks after."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from hasty.actors.timekeeping import HasTime
from hasty.api.order import Order
from hasty.api.schedule_schemas import NewSchedule, order_of
from hasty.clock import Clock, to_milliseconds
from hasty.errors import (
    IdempotencyKeyReused,
    ScheduleExists,
    StoreUnavailable,
    TooManySchedules,
    UnknownSchedule,
)
from hasty.handlers import Handler
from hasty.messages import Request
from hasty.retry import backoff
from hasty.schedule import Schedule
from hasty.store.base import Listed, ScheduleStore

#: So many schedules there may be; who creates them at the same moment may get a few beyond.
MOST_SCHEDULES = 10_000

#: How often a change is tried: it loses only to a firing of that moment, or to another change.
_ROUNDS = 10

#: Returns the handler of an order. Raises FixTheRequest where it cannot be had.
Check = Callable[[Order], Handler]


def compose(schedule: Schedule, job_id: str, check: Check) -> Request:
    """Return what a firing asks the Registry, as if a client had posted it now. Raises FixTheRequest."""
    order = order_of(schedule.job)
    return order.request(job_id, check(order))


class Created(NamedTuple):
    """What there is under the name that a schedule was to have."""

    schedule: Schedule
    #: Whether it was made for this request, or for an earlier one with this idempotency key.
    new: bool
    replayed: bool = False


class Scheduling:
    """Creates, shows, pauses and deletes schedules. Whatever it returns is durable.

    Once a pause or a delete has returned, no firing is begun that is due later. One that was begun
    before gets its job. Any method raises TryAgainLater where no clear answer could be had: it may
    have been carried out, and may be asked again.
    """

    def __init__(
        self,
        schedules: ScheduleStore,
        authority: HasTime,
        clock: Clock,
        *,
        check: Check,
        mint: Callable[[], str],
    ) -> None:
        """Connect nothing yet. `authority` tells the time; `mint` makes names that no two schedules share."""
        self._schedules = schedules
        self._authority = authority
        self._clock = clock
        self._check = check
        self._mint = mint
        self._prepared = False

    async def create(self, new: NewSchedule, key: str | None = None) -> Created:
        """Make a schedule, unless it is there: then nothing changes.

        Its job is checked as if it were submitted now. Raises FixTheRequest: what `check` raises,
        ScheduleExists, IdempotencyKeyReused, TooManySchedules.
        """
        await self._prepare()
        schedule = new.begin(self._mint(), await self._now(), key)
        known = await self._schedules.known(schedule)
        if known is None:
            compose(schedule, "", self._check)
            if await self._schedules.count() >= MOST_SCHEDULES:
                raise TooManySchedules
            known = await self._schedules.create(schedule)
        return _compared(schedule, known)

    async def _prepare(self) -> None:
        """Without its indexes the store would let two schedules have one key."""
        if not self._prepared:
            await self._schedules.prepare()
            self._prepared = True

    async def find(self, name: str) -> Schedule:
        """Return a schedule. Raises UnknownSchedule."""
        schedule = await self._schedules.find(name)
        if schedule is None:
            raise _unknown(name)
        return schedule

    async def page(self, after: str, limit: int) -> Listed:
        """Return the first schedules whose names come after this one."""
        return await self._schedules.page(after, limit)

    async def pause(self, name: str) -> Schedule:
        """Let it fire no more until it is resumed. Raises UnknownSchedule."""
        return await self._change(name, Schedule.stopped, paused=True)

    async def resume(self, name: str) -> Schedule:
        """Let it fire again, from now on. Raises UnknownSchedule."""
        now = await self._now()
        return await self._change(name, lambda schedule: schedule.resumed(now), paused=False)

    async def _now(self) -> datetime:
        """Return the time by which the Timetable will judge, whatever this machine's clock says."""
        return to_milliseconds(await self._authority.server_time()).astimezone(UTC)

    async def _change(self, name: str, change: Callable[[Schedule], Schedule], *, paused: bool) -> Schedule:
        for _, wait_s in zip(range(_ROUNDS), backoff(), strict=False):
            schedule = await self.find(name)
            if schedule.paused is paused:
                return schedule
            changed = change(schedule)
            if await self._schedules.advance([changed]):
                return changed
            await self._clock.sleep(wait_s)
        raise StoreUnavailable("other changes of this schedule kept winning")

    async def delete(self, name: str) -> None:
        """Forget it. Its jobs stay. Raises UnknownSchedule."""
        if not await self._schedules.delete(name):
            raise _unknown(name)


def _compared(wanted: Schedule, known: Schedule) -> Created:
    """Return what there is, if it is what was wanted. Raises ScheduleExists, IdempotencyKeyReused."""
    same = known.fingerprint == wanted.fingerprint
    replayed = known.idempotency_key is not None and known.idempotency_key == wanted.idempotency_key
    if replayed and not same:
        told = f"This Idempotency-Key came before, with another request: that of schedule {known.name}."
        raise IdempotencyKeyReused(told)
    if not same:
        raise ScheduleExists(f"There is another schedule with the name {known.name}: delete it first.")
    ours = known.uid == wanted.uid
    return Created(known, new=ours or replayed, replayed=replayed and not ours)


def _unknown(name: str) -> UnknownSchedule:
    return UnknownSchedule(f"There is no schedule with the name {name}.")
