"""Every message that one actor sends another: frozen, versioned, grouped by recipient.

Requests are imperative, facts are in the past tense. Each carries a whole batch, and the
version of this vocabulary, so that a process of another release is refused in plain words
instead of being misunderstood.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from hasty.errors import WrongVersion
from hasty.job import Json, Labels, Outcome, Progress, Status, Token, Window, Work
from hasty.pools import DEFAULT_POOL

#: Raised by one whenever a message changes.
VERSION = 3

#: Beyond the timeouts of its jobs, a Run is given so long before the worker is asked again.
RUN_MARGIN_S = 10.0


# To the Registry -----------------------------------------------------------------------------


class OnConflict(StrEnum):
    """What is to happen where the object's last job stands in the way."""

    #: Refuse.
    REJECT = "reject"
    #: Answer with that job.
    ATTACH = "attach"
    #: Cancel it and start; where it has ended already, refuse.
    REPLACE = "replace"
    #: Start when it has ended and its window is open; whoever comes meanwhile is answered with this job.
    AFTER = "after"


class Request(NamedTuple):
    """What a client asks for, under the job id that the Gateway minted for it."""

    job_id: str
    object_id: str
    handler: str
    timeout_s: float
    window: Window
    payload: Json = None
    priority: int = 0
    pool: str = DEFAULT_POOL
    #: Longest wait for the first start, in seconds; None: any.
    queue_timeout_s: float | None = None
    on_conflict: OnConflict = OnConflict.REJECT
    #: Whether the object's window is left out of account; two jobs at once are not, even so.
    force: bool = False
    #: Not to start before then, or not before so many seconds after its acceptance.
    run_at: datetime | None = None
    delay_s: float | None = None
    labels: Labels = ()
    webhook: str | None = None
    idempotency_key: str | None = None
    #: What the request is, in short, where it has a key.
    fingerprint: str | None = None

    @property
    def takes_no(self) -> bool:
        """Whether an answer that is a little out of date will do, where it is no."""
        return self.on_conflict is OnConflict.REJECT and not self.force


class Admit(NamedTuple):
    """Decide on each request; repeating the message repeats the answers."""

    requests: tuple[Request, ...]
    version: int = VERSION


class Accepted(NamedTuple):
    """The job is in MongoDB, journaled on a majority."""

    work: Work
    #: Where it is scheduled: when it is due, as far as that was known then.
    due_at: datetime | None = None
    #: Whether this is an answer that was given before.
    replayed: bool = False


class Attached(NamedTuple):
    """No job was made: this one is there already, and is the answer."""

    job_id: str
    replayed: bool = False


class KeyReused(NamedTuple):
    """The key came before, with another request: that of this job."""

    job_id: str


class Reason(StrEnum):
    """Why a job was refused."""

    WINDOW = "rerun_window"
    UNFINISHED = "unfinished"


class Refused(NamedTuple):
    """The object's newest job stands in the way."""

    reason: Reason
    job_id: str
    retry_after_s: float


class Full(NamedTuple):
    """As many jobs wait as may wait."""

    retry_after_s: float


class Unknown(NamedTuple):
    """No clear answer could be had: the job may exist or not."""

    why: str


Answer = Accepted | Attached | Refused | KeyReused | Full | Unknown


class Admitted(NamedTuple):
    """The answers to an Admit, in its order."""

    answers: tuple[Answer, ...]


# To the Dispatcher ---------------------------------------------------------------------------


class Enqueue(NamedTuple):
    """These jobs were just admitted. A hint: the Dispatcher finds them without it, but later."""

    works: tuple[Work, ...]
    version: int = VERSION


class Started(NamedTuple):
    """An attempt was claimed."""

    job_id: str
    worker: str
    attempt: int
    at: datetime


class Ended(NamedTuple):
    """The ledger says how this job ended."""

    job_id: str
    outcome: Outcome


class Deferred(NamedTuple):
    """An attempt failed; the job goes on with another, which may start at `run_at`."""

    job_id: str
    token: Token
    attempt: int
    run_at: datetime
    #: How it failed.
    error: dict[str, Json] | None


class Progressed(NamedTuple):
    """A handler says how far it has come."""

    job_id: str
    progress: Progress


class Declined(NamedTuple):
    """The ledger holds a newer token for this job: this worker has nothing to do with it."""

    job_id: str
    token: Token


class Report(NamedTuple):
    """What happened on a worker. Answered once the ends and delays are in hasty_api."""

    worker: str
    boot: int
    started: tuple[Started, ...] = ()
    ended: tuple[Ended, ...] = ()
    declined: tuple[Declined, ...] = ()
    deferred: tuple[Deferred, ...] = ()
    progressed: tuple[Progressed, ...] = ()
    version: int = VERSION


class Cancel(NamedTuple):
    """End this job, wherever it stands. Repeating the message changes nothing."""

    job_id: str
    #: For people: who wants it, and why.
    reason: str
    version: int = VERSION


class Scale(NamedTuple):
    """Let a pool have so many workers from now on, until the next deployment."""

    pool: str
    #: None: as many as its plan and its load say.
    workers: int | None
    version: int = VERSION


class PoolState(NamedTuple):
    """How a pool is."""

    name: str
    min_workers: int
    max_workers: int
    #: So many there should be; and whether somebody said so.
    workers: int
    pinned: bool
    #: Workers that answer and take jobs.
    present: int
    #: Wanted workers that the latest deployment is still to replace.
    outdated: int
    #: Jobs given to workers, and jobs that wait in memory.
    running: int
    queued: int
    oldest_wait_s: float


class Pools(NamedTuple):
    """How the pools of the plan are."""

    generation: int
    pools: tuple[PoolState, ...]


class Cancelled(NamedTuple):
    """How the job stands after a Cancel."""

    #: None: there is no such job.
    status: Status | None
    #: Whether a cancel ended it: this one or an earlier one.
    by_cancel: bool = False


# To a Worker ---------------------------------------------------------------------------------


class Attend(NamedTuple):
    """Say who you are and what you run, and from now on refuse older epochs than this."""

    epoch: int
    #: The boot the asker has met already: it knows what that one runs.
    met: int = 0
    version: int = VERSION


class Process(NamedTuple):
    """One process in the world: no other ever has the same three."""

    node: str
    pid: int
    #: When it started, as its system counts (see `man proc_pid_stat`, field 22).
    started: int


class Attendance(NamedTuple):
    """A worker's answer to Attend."""

    worker: str
    boot: int
    slots: int
    process: Process
    #: A handler that was stopped goes on: the process is to be replaced once its jobs are done.
    unfit: bool
    #: The deployment that it was started under.
    generation: int = 0
    #: The version of the handlers it knows.
    handlers: str = ""
    #: Left out when the asker has met this boot.
    running: tuple[Work, ...] = ()


class Forward(NamedTuple):
    """A job and the token under which this worker may claim it."""

    work: Work
    token: Token


class Run(NamedTuple):
    """Bring each job to its end. Repeating the message joins what already runs."""

    epoch: int
    forwards: tuple[Forward, ...]
    version: int = VERSION

    @property
    def patience_s(self) -> float:
        """How long the caller waits. Then both let go, and it asks again: no call is left behind."""
        return max(forward.work.timeout_s for forward in self.forwards) + RUN_MARGIN_S


class Stop(NamedTuple):
    """These jobs have ended otherwise: stop their handlers. Repeating the message changes nothing."""

    ends: tuple[Ended, ...]
    version: int = VERSION


# To the Clerk --------------------------------------------------------------------------------


class EventType(StrEnum):
    """What an event tells."""

    SCHEDULED = "job.scheduled"
    QUEUED = "job.queued"
    RUNNING = "job.running"
    PROGRESS = "job.progress"
    FINISHED = "job.finished"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    #: Of what was before, something is not kept.
    GAP = "gap"


class Event(NamedTuple):
    """Something that happened to a job. The numbers of events are those of the order in which it did."""

    seq: int
    type: EventType
    #: When MongoDB took note of it; never before the event of the number before.
    at: datetime
    #: A gap is about no job.
    job_id: str | None = None
    object_id: str | None = None
    handler: str | None = None
    #: How the job stood then.
    status: Status | None = None
    attempt: int = 0
    progress: Progress | None = None
    error: dict[str, Json] | None = None

    @property
    def final(self) -> bool:
        """Whether it is a job's last."""
        return self.status is not None and self.status.final


class Follow(NamedTuple):
    """Tell what happened after this event; where nothing has, wait so many seconds for it."""

    #: None: what was told last, at once.
    after: int | None
    wait_s: float
    version: int = VERSION


class Followed(NamedTuple):
    """What happened, one after the other."""

    events: tuple[Event, ...]
    #: The number of the latest; there may be others before that, to be asked for.
    last: int
    #: Whether others were before these that are not remembered: they are to be read where they are kept.
    missed: bool = False
    #: Whether nothing new is heard at present.
    deaf: bool = False
    #: Whether hasty is stopping.
    ending: bool = False


# Anybody -------------------------------------------------------------------------------------


class Health(NamedTuple):
    """How an actor is; `problem` is for people, None when all is well."""

    name: str
    problem: str | None = None
    #: Jobs that run now, as far as this actor knows.
    running: int = 0
    #: Jobs that wait in this actor's memory.
    queued: int = 0


def check_version(version: int) -> None:
    """Raise WrongVersion unless a message speaks this vocabulary."""
    if version != VERSION:
        msg = f"a message of version {version} met hasty's version {VERSION}: restart the older process"
        raise WrongVersion(msg)
