"""What is shown of objects, attempts and handlers."""

import inspect
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from hasty.api.schemas import JobView
from hasty.handlers import Handler
from hasty.job import Cause, Job, Status
from hasty.messages import Refused
from hasty.store.base import Attempt, ObjectJobs


class ObjectView(BaseModel):
    """An object, and whether it may have another job now."""

    model_config = ConfigDict(frozen=True)

    object_id: str
    runs: int = Field(description="So many jobs it had; the last one is this run.")
    opens_at: datetime | None = Field(
        description="When its rerun window opens, or opened, as far as that is known before the end of its "
        "last job. Null: there is no job whose window counts."
    )
    open: bool = Field(description="Whether a new job would be accepted now, with nothing special about it.")
    retry_after: int = Field(description="For how many seconds it is not; 0 when it is open.")
    last_job: JobView | None = Field(
        description="The newest that was not scheduled for later, or whose time has come."
    )
    waiting_job: JobView | None = Field(description="The one that is scheduled, and waits for its turn.")

    @classmethod
    def of(cls, object_id: str, jobs: ObjectJobs, refused: Refused | None) -> Self:
        """Show an object; `refused` is what a new job would be told."""
        return cls(
            object_id=object_id,
            runs=jobs.newest.run,
            opens_at=jobs.standing.opens_at if jobs.standing is not None else None,
            open=refused is None,
            retry_after=math.ceil(refused.retry_after_s) if refused is not None else 0,
            last_job=_shown(jobs.last),
            waiting_job=_shown(jobs.waiting),
        )


def _shown(job: Job | None) -> JobView | None:
    return JobView.of(job) if job is not None else None


class AttemptView(BaseModel):
    """One start of the handler for a job."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    worker: str
    node: str | None = Field(description="Where its process ran; null where that is no longer known.")
    pid: int | None
    boot: int = Field(description="Ordinal of that process among those of the worker.")
    started_at: datetime
    ended_at: datetime | None
    outcome: Literal["running", "finished", "failed", "cancelled", "retried", "lost"] = Field(
        description="`retried`: it failed, and another attempt follows. `lost`: its process ended under it."
    )
    cause: Cause | None = Field(description="Why it was lost.")
    error: dict[str, Any] | None = Field(description="Why it failed, was retried or was cancelled.")

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Show an attempt."""
        told = attempt._asdict()
        return cls(attempt=told.pop("n"), **told)


class AttemptsView(BaseModel):
    """The attempts at a job, oldest first; where there were very many, the newest."""

    model_config = ConfigDict(frozen=True)

    attempts: list[AttemptView]

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> Self:
        """Show attempts."""
        return cls(attempts=[AttemptView.of(attempt) for attempt in attempts])


class HandlerView(BaseModel):
    """A registered handler. Times are in seconds; null: no limit."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str | None = Field(description="The first line of what its function says of itself.")
    pool: str
    timeout: float = Field(description="Longest an attempt may run.")
    max_timeout: float | None = Field(description="Longest an attempt may run that asks for more time.")
    rerun_window: float
    window_from: Literal["accepted", "finished"] = Field(description="From when the rerun window counts.")
    window_after: list[Status] = Field(description="The ends that keep it shut; after others it opens.")
    retries: int = Field(description="So many attempts follow after failed ones, at most.")
    max_crashes: int = Field(description="A job that ended so many processes is given up.")
    queue_timeout: float | None = Field(description="Longest wait for the first start.")
    payload_schema: Any = Field(description="JSON schema of the payload; null: any JSON.")
    result_schema: Any = Field(description="JSON schema of the result; null: any JSON.")

    @classmethod
    def of(cls, handler: Handler) -> Self:
        """Show a handler: what clients need to use it, and nothing of where it comes from."""
        return cls(
            name=handler.name,
            description=next(iter((inspect.getdoc(handler.function) or "").splitlines()), None) or None,
            pool=handler.pool,
            timeout=handler.timeout_s,
            max_timeout=handler.max_timeout_s,
            rerun_window=handler.window.seconds,
            window_from="finished" if handler.window.from_end else "accepted",
            window_after=list(handler.window.after),
            retries=handler.retry.retries,
            max_crashes=handler.max_crashes,
            queue_timeout=handler.queue_timeout_s,
            payload_schema=handler.payload.schema("payload"),
            result_schema=handler.result.schema("result"),
        )


class HandlersView(BaseModel):
    """The registered handlers, by name."""

    model_config = ConfigDict(frozen=True)

    handlers: list[HandlerView]
