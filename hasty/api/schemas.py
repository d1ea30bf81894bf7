"""What clients send and what they are shown, apart from what is stored."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from hasty.handlers import SLEEP
from hasty.job import Job, Status, Work

#: Longest object_id, in characters.
OBJECT_ID_LIMIT = 512

ObjectId = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=OBJECT_ID_LIMIT)]

#: Longest name of a handler that is looked for, in characters.
_NAME_LIMIT = 128


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
        default=None, description="`type` and `message`, once the job has failed or was cancelled."
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
