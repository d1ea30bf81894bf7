"""What hasty answers, as a client sees it. What a newer hasty says beside it is kept, too."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

#: JSON as Python sees it.
Json = Any

#: How a job can have ended. It never changes after that.
FINAL = frozenset({"finished", "failed", "cancelled"})


class View(BaseModel):
    """A part of an answer; `model_dump(mode="json")` gives it back as it came."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Progress(View):
    """How far a handler says it has come."""

    at: datetime
    #: From 0 to 1.
    fraction: float | None = None
    message: str | None = None


class Job(View):
    """A job as it stood when it was asked for. Times are aware, in UTC."""

    id: str
    object_id: str
    handler: str
    #: `scheduled`, `queued`, `running`, `finished`, `failed` or `cancelled`.
    status: str
    #: Ordinal of this job among its object's jobs.
    run: int = 0
    #: Starts of the handler so far.
    attempt: int = 0
    payload: Json = None
    #: What the handler returned, once the job has finished.
    result: Json = None
    #: `type` and `message`: why it failed or was cancelled; while it is retried, of its last attempt.
    error: dict[str, Json] | None = None
    progress: Progress | None = None
    #: While it is scheduled: when its next attempt may start.
    run_at: datetime | None = None
    #: While it waits for its turn: the job of its object that must end before.
    follows: str | None = None
    priority: int = 0
    #: Longest an attempt may run, in seconds.
    timeout: float | None = None
    pool: str | None = None
    #: Who runs it, or ran it last.
    worker: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    webhook: str | None = None
    accepted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    links: dict[str, str] = Field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL


class Attempt(View):
    """One start of the handler for a job."""

    attempt: int
    worker: str | None = None
    node: str | None = None
    pid: int | None = None
    #: Ordinal of the worker's process.
    boot: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    #: `running`, `finished`, `failed`, `cancelled`, `retried` or `lost`.
    outcome: str
    #: Why it was lost.
    cause: str | None = None
    error: dict[str, Json] | None = None


class Event(View):
    """A change of a job. `gap`: what was before is no longer kept; read the state anew."""

    #: Where it stands among all events; give it as `last_event_id` to go on after it.
    id: str = ""
    #: `job.scheduled`, `job.queued`, `job.running`, `job.progress`, `job.finished`, `job.failed`,
    #: `job.cancelled` or `gap`.
    type: str
    at: datetime | None = None
    job_id: str | None = None
    object_id: str | None = None
    handler: str | None = None
    status: str | None = None
    attempt: int | None = None
    progress: Progress | None = None
    error: dict[str, Json] | None = None

    @property
    def final(self) -> bool:
        """Whether it says how its job ended: then it is the last one of that job."""
        return self.type.removeprefix("job.") in FINAL


class ObjectState(View):
    """What is known of an object."""

    object_id: str
    #: So many jobs it had.
    runs: int
    #: When its rerun window opens.
    opens_at: datetime | None = None
    open: bool
    #: Seconds until then.
    retry_after: float = 0
    last_job: Job | None = None
    #: The job that waits for its turn.
    waiting_job: Job | None = None


class HandlerInfo(View):
    """A registered handler. Times are in seconds."""

    name: str
    pool: str | None = None
    timeout: float | None = None
    max_timeout: float | None = None
    rerun_window: float | None = None
    window_from: str | None = None
    window_after: tuple[str, ...] = ()
    retries: int = 0
    max_crashes: int | None = None
    queue_timeout: float | None = None
    #: JSON schemas.
    payload_schema: Json = None
    result_schema: Json = None
    description: str | None = None


class Pool(View):
    """A pool of workers."""

    name: str
    #: So many there should be.
    workers: int
    #: Whether somebody said so; otherwise the settings and the load.
    pinned: bool = False
    min_workers: int | None = None
    max_workers: int | None = None
    #: Workers that answer and take jobs.
    present: int = 0
    #: Workers that the latest deployment has not replaced yet.
    outdated: int = 0
    #: Jobs given to its workers, and jobs that wait.
    running: int = 0
    queued: int = 0
    oldest_wait_s: float = 0


class Firing(View):
    """What came of a schedule's turn."""

    at: datetime
    #: `accepted`, `attached`, `refused` or `missed`.
    outcome: str
    job_id: str | None = None


class Schedule(View):
    """A recurring job."""

    name: str
    cron: str | None = None
    #: In seconds.
    interval: float | None = None
    timezone: str = "UTC"
    #: Of firings that were missed: `skip`, or run `once`.
    missed: str = "skip"
    paused: bool = False
    #: What is submitted each time.
    job: dict[str, Json]
    next_at: datetime | None = None
    last: Firing | None = None
    created_at: datetime | None = None


class Delivery(View):
    """One try to tell a job's end to its webhook."""

    at: datetime
    attempt: int
    status_code: int | None = None
    error: str | None = None
    delivered: bool


class DeliveryLog(View):
    """What became of a job's webhook."""

    #: `waiting` (for the end), `pending`, `delivered` or `given_up`.
    state: str
    #: When it is tried again.
    next_at: datetime | None = None
    deliveries: tuple[Delivery, ...] = ()
