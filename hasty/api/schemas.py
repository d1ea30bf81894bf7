"""What clients send and what they are shown, apart from what is stored."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from hasty.handlers import SLEEP
from hasty.job import Job, Status, Work
from hasty.messages import PoolState
from hasty.pools import MOST_WORKERS

#: Longest object_id, in characters.
OBJECT_ID_LIMIT = 512

ObjectId = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=OBJECT_ID_LIMIT)]

#: Longest name of a handler that is looked for, in characters.
_NAME_LIMIT = 128

#: Longest reason of a cancel, in characters.
_REASON_LIMIT = 500


class Submission(BaseModel):
    """The body of `POST /`. Other fields are ignored, as the seed system did."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    object_id: ObjectId = Field(description="What the work is about.")


class NewJob(BaseModel):
    """The body of `POST /v1/jobs`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    object_id: ObjectId = Field(description="What the work is about.", examples=["order-1"])
    handler: Annotated[str, StringConstraints(strict=True, max_length=_NAME_LIMIT)] = Field(
        SLEEP, description="The name of a registered handler."
    )
    payload: Any = Field(None, description="What the handler is given: JSON as its annotation asks for.")


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
            run_at=job.run_at,
            accepted_at=job.accepted_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            links=Links(self=path_of(job.job_id)),
        )

    @classmethod
    def accepted(cls, work: Work) -> Self:
        """Show a job that was just admitted."""
        return cls(
            id=work.job_id,
            object_id=work.object_id,
            handler=work.handler,
            run=work.run,
            status=Status.QUEUED,
            attempt=0,
            payload=work.payload,
            accepted_at=work.accepted_at,
            links=Links(self=path_of(work.job_id)),
        )


def path_of(job_id: str) -> str:
    """Return where a job is shown."""
    return f"/v1/jobs/{job_id}"
