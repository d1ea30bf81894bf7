"""Every message that one actor sends another: frozen, versioned, grouped by recipient.

Requests are imperative, facts are in the past tense. Each carries a whole batch, and the
version of this vocabulary, so that a process of another release is refused in plain words
instead of being misunderstood.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from hasty.errors import WrongVersion
from hasty.job import Json, Outcome, Token, Work

#: Raised by one whenever a message changes.
VERSION = 1

#: Beyond the timeouts of its jobs, a Run is given so long before the worker is asked again.
RUN_MARGIN_S = 10.0


# To the Registry -----------------------------------------------------------------------------


class Request(NamedTuple):
    """What a client asks for, under the job id that the Gateway minted for it."""

    job_id: str
    object_id: str
    handler: str
    timeout_s: float
    rerun_window_s: float
    payload: Json = None
    priority: int = 0
    idempotency_key: str | None = None


class Admit(NamedTuple):
    """Decide on each request; repeating the message repeats the answers."""

    requests: tuple[Request, ...]
    version: int = VERSION


class Accepted(NamedTuple):
    """The job is in MongoDB, journaled on a majority."""

    work: Work


class Reason(StrEnum):
    """Why a job was refused."""

    WINDOW = "rerun_window"
    UNFINISHED = "unfinished"


class Refused(NamedTuple):
    """The object's newest job stands in the way."""

    reason: Reason
    job_id: str
    retry_after_s: float


class Unknown(NamedTuple):
    """No clear answer could be had: the job may exist or not."""

    why: str


Answer = Accepted | Refused | Unknown


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


class Declined(NamedTuple):
    """The ledger holds a newer token for this job: this worker has nothing to do with it."""

    job_id: str
    token: Token


class Report(NamedTuple):
    """What happened on a worker. Answered once the ends are settled in hasty_api."""

    worker: str
    boot: int
    started: tuple[Started, ...] = ()
    ended: tuple[Ended, ...] = ()
    declined: tuple[Declined, ...] = ()
    version: int = VERSION


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
