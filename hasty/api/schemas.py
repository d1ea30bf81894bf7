"""What clients send and what they are shown, apart from what is stored."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AllowInfNan,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from hasty.api.order import Order
from hasty.clock import to_milliseconds
from hasty.handlers import SLEEP
from hasty.job import Job, Status
from hasty.messages import Accepted, OnConflict, PoolState
from hasty.outgoing.urls import LONGEST_URL, check_url
from hasty.pools import MOST_WORKERS

#: Longest object_id, in characters.
OBJECT_ID_LIMIT = 512

ObjectId = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=OBJECT_ID_LIMIT)]

#: Longest name of a handler that is looked for, in characters.
_NAME_LIMIT = 128

#: Longest reason of a cancel, in characters.
_REASON_LIMIT = 500

#: Priorities are from minus this to this.
MOST_PRIORITY = 100

#: Longest delay: a year.
LONGEST_DELAY_S = 366 * 86_400

#: Moments are of years that MongoDB, Python and any window on top of them can tell.
_FIRST_YEAR, _LAST_YEAR = 1970, 3000

#: Labels of one job, at most.
MOST_LABELS = 16

LabelName = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(strict=True, max_length=256)]


def _written(moment: Any) -> Any:
    """Let no number pass for a moment, nor a text that is one."""
    if isinstance(moment, datetime) or (isinstance(moment, str) and moment[4:5] == "-"):
        return moment
    raise ValueError("must be a time as in RFC 3339, with an offset")


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]

#: A finite number, and no text or boolean in place of one.
Seconds = Annotated[float, Strict(), AllowInfNan(False)]


class Submission(BaseModel):
    """The body of `POST /`. Other fields are ignored, as the seed system did."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    object_id: ObjectId = Field(description="What the work is about.")


class Webhook(BaseModel):
    """Where the end of a job is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=LONGEST_URL)] = Field(
        description="Gets a signed POST (Standard Webhooks) when the job has ended.",
        examples=["https://example.org/hooks"],
        json_schema_extra={"format": "uri"},
    )

    @field_validator("url")
    @classmethod
    def _can_be_called(cls, url: str) -> str:
        return check_url(url)


class NewJob(BaseModel):
    """The body of `POST /v1/jobs`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    object_id: ObjectId = Field(description="What the work is about.", examples=["order-1"])
    handler: Annotated[str, StringConstraints(strict=True, max_length=_NAME_LIMIT)] = Field(
        SLEEP, description="The name of a registered handler."
    )
    payload: Any = Field(None, description="What the handler is given: JSON as its annotation asks for.")
    timeout: Seconds | None = Field(
        None, gt=0, description="Longest an attempt may run, in seconds; no more than the handler allows."
    )
    priority: Annotated[int, Strict()] = Field(
        0, ge=-MOST_PRIORITY, le=MOST_PRIORITY, description="Lower numbers go first."
    )
    run_at: Moment | None = Field(None, description="Not to start before: RFC 3339, with an offset.")
    delay: Seconds | None = Field(
        None, ge=0, le=LONGEST_DELAY_S, description="Not to start for so many seconds; instead of `run_at`."
    )
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=MOST_LABELS, description="Names and values to find it by."
    )
    on_conflict: OnConflict = Field(
        OnConflict.REJECT,
        description="Where the object's last job stands in the way: `reject`: 409; `attach`: 200 with that "
        "job; `replace`: cancel it and start, or 409 if it has ended; `after`: start when it has ended and "
        "its window is open; whoever comes meanwhile with `after` is answered with this job.",
    )
    webhook: Webhook | None = Field(None, description="Where to tell how it ended.")

    @field_validator("run_at")
    @classmethod
    def _is_near(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and not _FIRST_YEAR <= moment.year < _LAST_YEAR:
            msg = f"must be of a year from {_FIRST_YEAR} to {_LAST_YEAR - 1}"
            raise ValueError(msg)
        return to_milliseconds(moment.astimezone(UTC)) if moment is not None else None

    @field_validator("delay")
    @classmethod
    def _is_instead(cls, delay: float | None, info: ValidationInfo) -> float | None:
        if delay is not None and info.data.get("run_at") is not None:
            msg = "must not be there beside run_at"
            raise ValueError(msg)
        return delay

    def order(self, key: str | None = None) -> Order:
        """Return what is ordered, under a client's key."""
        return Order(
            self.object_id,
            self.handler,
            self.payload,
            self.timeout,
            self.priority,
            self.run_at,
            self.delay,
            tuple(sorted(self.labels.items())),
            self.on_conflict,
            webhook=self.webhook.url if self.webhook is not None else None,
            key=key,
        )


class Rerun(BaseModel):
    """The body of `POST /v1/jobs/{id}/rerun`; it may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    force: Annotated[bool, Strict()] = Field(
        False, description="Whether the rerun window is left out of account. No job runs beside another."
    )
    on_conflict: OnConflict = Field(OnConflict.REJECT, description="As for a new job.")


class Cancellation(BaseModel):
    """The body of `POST /v1/jobs/{id}/cancel`; it may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Annotated[str, StringConstraints(strict=True, max_length=_REASON_LIMIT)] = Field(
        "cancelled over HTTP", description="For people; it becomes the `message` of the job's `error`."
    )


class Scaling(BaseModel):
    """The body of `PATCH /v1/pools/{name}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int | Literal["auto"] = Field(
        description="So many workers from now on, until the next deployment; "
        "`auto`: as many as the settings and the load say.",
        json_schema_extra={
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}, {"const": "auto"}]
        },
    )

    @field_validator("workers", mode="plain")
    @classmethod
    def _is_a_size(cls, given: Any) -> Any:
        if given != "auto" and not (type(given) is int and 1 <= given <= MOST_WORKERS):
            msg = f"must be a whole number from 1 to {MOST_WORKERS}, or auto"
            raise ValueError(msg)
        return given


class PoolView(BaseModel):
    """A pool as clients see it."""

    model_config = ConfigDict(frozen=True)

    name: str
    min_workers: int
    max_workers: int
    workers: int = Field(description="So many there should be.")
    pinned: bool = Field(description="Whether somebody said so; otherwise the settings and the load.")
    present: int = Field(description="Workers that answer and take jobs.")
    outdated: int = Field(description="Workers that the latest deployment has not replaced yet.")
    running: int = Field(description="Jobs given to its workers.")
    queued: int = Field(description="Jobs that wait, as far as the Dispatcher has them in memory.")
    oldest_wait_s: float = Field(description="For how long the next job has waited, in seconds.")

    @classmethod
    def of(cls, state: PoolState) -> Self:
        """Show a pool."""
        return cls(**state._asdict())


class PoolsView(BaseModel):
    """All pools."""

    model_config = ConfigDict(frozen=True)

    generation: int = Field(description="Grows with each deployment.")
    pools: list[PoolView]


class ProgressView(BaseModel):
    """How far a handler says it has come."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    fraction: float | None = Field(default=None, description="From 0 to 1.")
    message: str | None = None


class Links(BaseModel):
    """Where to go from a job."""

    self: str = Field(description="The job itself.")


class JobView(BaseModel):
    """A job as clients see it. Times are RFC 3339, in UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    object_id: str
    handler: str
    run: int = Field(description="Ordinal of this job among its object's jobs.")
    status: Status = Field(description="The last three are final and never change.")
    attempt: int = Field(description="Starts of the handler so far; 0 before the first.")
    payload: Any = None
    result: Any = Field(default=None, description="What the handler returned, once the job has finished.")
    error: dict[str, Any] | None = Field(
        default=None,
        description="`type` and `message`, once the job has failed or was cancelled; "
        "while it is retried, those of its last attempt.",
    )
    progress: ProgressView | None = Field(default=None, description="While it runs, if the handler says so.")
    run_at: datetime | None = Field(
        default=None, description="While it is scheduled: when its next attempt may start."
    )
    follows: str | None = Field(
        default=None, description="While it waits for its turn: the job of its object that must end before."
    )
    priority: int = Field(default=0, description="Lower numbers go first.")
    timeout: float = Field(description="Longest an attempt may run, in seconds.")
    pool: str
    worker: str | None = Field(default=None, description="Who runs it, or ran it last.")
    labels: dict[str, str] = Field(default_factory=dict)
    webhook: str | None = Field(default=None, description="Where its end is told.")
    accepted_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    links: Links

    @classmethod
    def of(cls, job: Job) -> Self:
        """Show a stored job."""
        return cls(
            id=job.job_id,
            object_id=job.object_id,
            handler=job.handler,
            run=job.run,
            status=job.status,
            attempt=job.attempt,
            payload=job.payload,
            result=job.result,
            error=job.error,
            progress=ProgressView(**job.progress._asdict()) if job.progress is not None else None,
            run_at=job.run_at or (job.turn_due if job.live else None),
            follows=job.follows if job.live else None,
            priority=job.priority,
            timeout=job.timeout_s,
            pool=job.pool,
            worker=job.worker,
            labels=dict(job.labels),
            webhook=job.webhook,
            accepted_at=job.accepted_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            links=Links(self=path_of(job.job_id)),
        )

    @classmethod
    def accepted(cls, accepted: Accepted, order: Order) -> Self:
        """Show a job as it was accepted."""
        work, due_at = accepted.work, accepted.due_at
        return cls(
            id=work.job_id,
            object_id=work.object_id,
            handler=work.handler,
            run=work.run,
            status=Status.QUEUED if due_at is None else Status.SCHEDULED,
            attempt=0,
            payload=work.payload,
            run_at=due_at,
            priority=work.priority,
            timeout=work.timeout_s,
            pool=work.pool,
            labels=dict(order.labels),
            webhook=order.webhook,
            accepted_at=work.accepted_at,
            links=Links(self=path_of(work.job_id)),
        )


def path_of(job_id: str) -> str:
    """Return where a job is shown."""
    return f"/v1/jobs/{job_id}"
