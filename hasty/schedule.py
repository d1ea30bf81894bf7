"""The rules of recurring jobs: when a schedule fires, and what is done about the firings that are due.

What is decided about a firing becomes part of the schedule before anything is done about it, so that
whoever comes next carries out the same.
"""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from hasty.clock import epoch_ms
from hasty.job import Json

#: A firing that is later than this is missed: whatever dies is back before.
GRACE = timedelta(seconds=60)

#: Minute, hour, day of month, month, day of week.
_FIELDS = 5

#: Two firings of a cron expression are a minute apart at least.
_APART = timedelta(minutes=1)


class Missed(StrEnum):
    """What becomes of firings that were missed."""

    #: Nothing but a note.
    SKIP = "skip"
    #: One job for all of them.
    ONCE = "once"


class FiringOutcome(StrEnum):
    """What became of a firing."""

    #: Its job was admitted.
    ACCEPTED = "accepted"
    #: A job that was there is its answer.
    ATTACHED = "attached"
    #: Its job was not admitted, and is not tried again.
    REFUSED = "refused"
    #: It was missed, and no job was to make up for it.
    MISSED = "missed"


class Cron(NamedTuple):
    """Fires by a cron expression of five fields, read on the wall clocks of a time zone.

    As Debian's cron does where those are set forward or back: a fixed time that is skipped fires as
    soon as it is over, and one that comes twice fires the first time. Shifts by less than an hour
    (Lord Howe Island) may move firings of that day.
    """

    expression: str
    timezone: str = "UTC"

    def after(self, moment: datetime) -> datetime | None:
        """Return the first firing after a moment; None if there is none in fifty years."""
        local = moment.astimezone(ZoneInfo(self.timezone))
        for found in CronSim(self.expression, local):
            # In the hour that comes twice it may find what is over already.
            if (at := found.astimezone(UTC)) > moment:
                return at
        return None

    def latest(self, since: datetime, before: datetime) -> datetime:
        """Return the last firing before a moment; `since` is one of them. Takes no longer for years."""
        step = before - since
        while step >= _APART / 2:
            step /= 2
            found = self.after(since + step)
            if found is not None and found < before:
                since = found
        return since


class Interval(NamedTuple):
    """Fires at each whole multiple of a time after its anchor, however long the jobs take."""

    every_ms: int
    anchor: datetime

    def after(self, moment: datetime) -> datetime:
        """Return the first firing after a moment."""
        every = timedelta(milliseconds=self.every_ms)
        return self.anchor + every * max(1, (moment - self.anchor) // every + 1)

    def latest(self, since: datetime, before: datetime) -> datetime:
        """Return the last firing before a moment; `since` is one of them."""
        every = timedelta(milliseconds=self.every_ms)
        return since + every * ((before - since - timedelta.resolution) // every)


Timing = Cron | Interval


class Firing(NamedTuple):
    """A firing that is to be carried out, under this job id and no other."""

    at: datetime
    job_id: str


class Fired(NamedTuple):
    """What became of the latest firing that something became of."""

    at: datetime
    outcome: FiringOutcome
    #: Its job; where it was refused, the one that stood in the way.
    job_id: str | None = None
    #: Why it was refused: `code` and `message`.
    error: dict[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A recurring job: what is to be run when, and how far that is.

    Each change makes another one, of the next version. A store takes it only in place of the version
    before, so of two who change it at once one has no effect.
    """

    name: str
    #: Tells it from others that have, or will have, its name.
    uid: str
    timing: Timing
    missed: Missed = Missed.SKIP
    #: The body of the request that each firing makes.
    job: dict[str, Json]
    created_at: datetime
    #: What was asked for, in short: the same again is a repetition.
    fingerprint: str
    idempotency_key: str | None = None
    version: int = 1
    paused: bool = False
    #: None: while it is paused, and when it will never fire again.
    next_at: datetime | None = None
    #: What is under way: decided, and not known to be done.
    pending: Firing | None = None
    last: Fired | None = None

    @property
    def due_at(self) -> datetime | None:
        """Since when, or from when on, something is to be done about it."""
        return self.pending.at if self.pending is not None else self.next_at

    @property
    def firing_key(self) -> str | None:
        """The name in the world of the firing that is under way."""
        if self.pending is None:
            return None
        return f"schedule:{self.name}:{self.uid}:{epoch_ms(self.pending.at)}"

    def begun(self) -> "Schedule":
        """Return it at its beginning, with its first firing ahead unless it is paused."""
        next_at = None if self.paused else self.timing.after(self.created_at)
        return dataclasses.replace(self, next_at=next_at)

    def decided(self, now: datetime, job_id: str) -> "Schedule":
        """Decide on the firing that is due: it is under way then, under `job_id`, unless it is skipped.

        Firings are decided on one by one, in their order. Those that are missed count as one, the
        latest of them.
        """
        assert self.next_at is not None
        horizon = now - GRACE
        if self.next_at >= horizon:
            return self._under_way(self.next_at, job_id)
        latest = self.timing.latest(self.next_at, horizon)
        if self.missed is Missed.ONCE:
            return self._under_way(latest, job_id)
        return self._change(last=Fired(latest, FiringOutcome.MISSED), next_at=self.timing.after(latest))

    def _under_way(self, at: datetime, job_id: str) -> "Schedule":
        return self._change(pending=Firing(at, job_id), next_at=self.timing.after(at))

    def noted(self, fired: Fired) -> "Schedule":
        """Note what became of the firing that was under way."""
        return self._change(pending=None, last=fired)

    def stopped(self) -> "Schedule":
        """Pause it. What is under way goes on."""
        return self._change(paused=True, next_at=None)

    def resumed(self, now: datetime) -> "Schedule":
        """Let it fire again: from now on, for what it did not fire while paused is not missed.

        Never again what was decided on before, whatever this clock says.
        """
        decided = [each.at for each in (self.pending, self.last) if each is not None]
        return self._change(paused=False, next_at=self.timing.after(max(now, *decided, self.created_at)))

    def _change(self, **changes: Any) -> "Schedule":
        return dataclasses.replace(self, version=self.version + 1, **changes)


def check_cron(expression: str) -> str:
    """Return a cron expression as it is kept. Raises ValueError, which says what is wrong with it."""
    fields = expression.split()
    if len(fields) != _FIELDS:
        msg = f"must have {_FIELDS} fields: minute, hour, day of month, month, day of week"
        raise ValueError(msg)
    kept = " ".join(fields)
    try:
        fires = Cron(kept).after(_SOME_DAY)
    except CronSimError as error:
        msg = f"is no cron expression that ever fires: {str(error).lower()}"
        raise ValueError(msg) from None
    if fires is None:
        msg = "is no cron expression that ever fires"
        raise ValueError(msg)
    return kept


#: Fifty years from any day have every date on every day of the week.
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)


def check_timezone(name: str) -> str:
    """Return the name of a time zone. Raises ValueError where there is none of this name."""
    try:
        # What lies beside the zones in their folder has small letters.
        if name[:1].isupper():
            return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        pass
    msg = "is no time zone of the IANA database, such as Europe/Berlin"
    raise ValueError(msg)
