"""What clients send about schedules, and what they are shown of them."""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from hasty.api.order import Order
from hasty.api.schemas import NewJob, Seconds
from hasty.errors import InvalidRequest
from hasty.handlers.shapes import complaints
from hasty.job import Json
from hasty.schedule import (
    Cron,
    Fired,
    FiringOutcome,
    Interval,
    Missed,
    Schedule,
    Timing,
    check_cron,
    check_timezone,
)

#: Longest time between two firings of an interval: a year.
LONGEST_INTERVAL_S = 366 * 86_400

#: Schedules that are shown at once, at most, and unless the client says otherwise.
MOST_SHOWN, USUALLY_SHOWN = 200, 50

ScheduleName = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]

Text = Annotated[str, StringConstraints(strict=True, max_length=255)]


class ScheduledJob(NewJob):
    """The body of the request that each firing makes. When it is made, the schedule says."""

    run_at: None = Field(None, description="Must be left out.")
    delay: None = Field(None, description="Must be left out.")


class NewSchedule(BaseModel):
    """The body of `POST /v1/schedules`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ScheduleName = Field(description="What it is called by.", examples=["nightly-report"])
    cron: Text | None = Field(
        None,
        description="Minute, hour, day of month, month, day of week. Either this or `interval`.",
        examples=["30 2 * * *"],
    )
    interval: Seconds | None = Field(
        None,
        ge=1,
        le=LONGEST_INTERVAL_S,
        description="Seconds from one firing to the next, counted from the creation of the schedule.",
    )
    timezone: Text = Field(
        "UTC", description="On whose clocks `cron` is read: a name of the IANA database.", examples=["UTC"]
    )
    missed: Missed = Field(
        Missed.SKIP,
        description="What becomes of firings that hasty is more than a minute late for: `skip`: nothing; "
        "`once`: one job for all of them.",
    )
    paused: Annotated[bool, Strict()] = Field(False, description="Whether it waits for a `resume`.")
    job: ScheduledJob = Field(description="What each firing submits.")

    @field_validator("cron")
    @classmethod
    def _can_fire(cls, expression: str | None) -> str | None:
        return check_cron(expression) if expression is not None else None

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return check_timezone(name)

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if (self.cron is None) == (self.interval is None):
            msg = "must have either cron or interval"
            raise ValueError(msg)
        if self.cron is None and self.timezone != "UTC":
            msg = "must have no timezone where it has an interval, which is the same everywhere"
            raise ValueError(msg)
        return self

    def begin(self, uid: str, now: datetime, key: str | None = None) -> Schedule:
        """Return the schedule at its beginning, which is now, under a client's key."""
        # What is not said is said by whoever makes the requests: so the same body is the same later on.
        said = self.model_dump(mode="json", exclude_defaults=True)
        if self.job.payload is not None:
            # As it came: what is no JSON must not become some.
            said["job"]["payload"] = self.job.payload
        return Schedule(
            name=self.name,
            uid=uid,
            timing=self._timing(now),
            missed=self.missed,
            paused=self.paused,
            job=said["job"],
            created_at=now,
            fingerprint=hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest(),
            idempotency_key=key,
        ).begun()

    def _timing(self, now: datetime) -> Timing:
        if self.cron is not None:
            return Cron(self.cron, self.timezone)
        assert self.interval is not None
        return Interval(round(self.interval * 1000), now)


def order_of(job: dict[str, Json]) -> Order:
    """Return what a firing orders. Raises InvalidRequest where this release takes it no more."""
    try:
        return ScheduledJob.model_validate_json(json.dumps(job)).order()
    except ValidationError as invalid:
        raise InvalidRequest(complaints=tuple(complaints(invalid, "job"))) from None


class FiredView(BaseModel):
    """What became of a firing."""

    model_config = ConfigDict(frozen=True)

    at: datetime = Field(description="When it was due.")
    outcome: FiringOutcome
    job_id: str | None = Field(
        default=None, description="Its job, or the one that is its answer, or the one that stood in its way."
    )
    error: dict[str, str] | None = Field(
        default=None, description="Why it was refused: `code`, as in problems, and `message`."
    )

    @classmethod
    def of(cls, fired: Fired) -> Self:
        """Show it."""
        return cls(**fired._asdict())


class ScheduleView(BaseModel):
    """A schedule as clients see it. Times are RFC 3339, in UTC."""

    model_config = ConfigDict(frozen=True)

    name: str
    cron: str | None = None
    interval: float | None = Field(default=None, description="In seconds.")
    timezone: str
    missed: Missed
    paused: bool
    job: dict[str, Any] = Field(description="The body of the request that each firing makes.")
    next_at: datetime | None = Field(
        default=None, description="When it fires next; null while it is paused, and when it never will."
    )
    last: FiredView | None = Field(
        default=None, description="The latest firing, once it is known what became of it."
    )
    created_at: datetime

    @classmethod
    def of(cls, schedule: Schedule) -> Self:
        """Show a schedule."""
        timing = schedule.timing
        return cls(
            name=schedule.name,
            cron=timing.expression if isinstance(timing, Cron) else None,
            interval=timing.every_ms / 1000 if isinstance(timing, Interval) else None,
            timezone=timing.timezone if isinstance(timing, Cron) else "UTC",
            missed=schedule.missed,
            paused=schedule.paused,
            job=_UNSAID | schedule.job,
            next_at=schedule.next_at,
            last=FiredView.of(schedule.last) if schedule.last is not None else None,
            created_at=schedule.created_at,
        )


#: What a job is where its body does not say.
_UNSAID = ScheduledJob.model_validate({"object_id": "-"}).model_dump(
    mode="json", exclude={"object_id", "run_at", "delay"}
)


class SchedulesView(BaseModel):
    """Some of the schedules, in the order of their names."""

    model_config = ConfigDict(frozen=True)

    schedules: list[ScheduleView]
    next_cursor: str | None = Field(default=None, description="Where the others begin, if there are others.")


class SchedulesQuery(BaseModel):
    """The query of `GET /v1/schedules`."""

    model_config = ConfigDict(frozen=True)

    limit: int = Field(
        USUALLY_SHOWN,
        ge=1,
        le=MOST_SHOWN,
        description="So many at once, at most; where they are heavy it may be fewer.",
    )
    cursor: ScheduleName | None = Field(None, description="The `next_cursor` of the part before.")
