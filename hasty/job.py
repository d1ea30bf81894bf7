"""The words of hasty as types: job, status, work, token, outcome, fence."""

import pickle
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Self

from hasty.clock import epoch_ms
from hasty.pools import DEFAULT_POOL

#: JSON as Python sees it; what a payload or a result may be.
Json = Any

#: Names and values by which people find jobs, in the order of their names.
Labels = tuple[tuple[str, str], ...]

#: A fence leaves room for so many attempts of one run before it would reach the next run's fences.
_ATTEMPTS_PER_FENCE = 1024

#: A seq has room for 2**40 forwards in one epoch: 17 years at 2,000 forwards a second.
_SEQ_BITS = 40

#: A job's record outlives its rerun window by at least this, so that the window cannot be forgotten.
KEPT_AFTER_WINDOW = timedelta(days=1)


#: What a job takes beside its payload or result, about.
_FRAME_BYTES = 512

#: What is taken for the weight of a value that cannot be weighed: the largest that is kept.
_HEAVIEST_BYTES = 256 * 1024


def weigh(value: Json) -> int:
    """Return about how many bytes something with this payload or result takes in a message.

    Never raises. Costs what packing it into a message costs; a walk in Python took thirty times that.
    """
    if value is None:
        return _FRAME_BYTES
    try:
        return _FRAME_BYTES + len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001  nested too deeply, perhaps
        return _FRAME_BYTES + _HEAVIEST_BYTES


class Status(StrEnum):
    """Where a job stands. The last three are final and never change."""

    #: In: an attempt failed, another is to follow. Out: its time comes, or a cancel. A crash changes nothing.
    SCHEDULED = "scheduled"
    #: In: admitted. Out: an attempt starts, or the job is closed. A crash changes nothing: MongoDB has it.
    QUEUED = "queued"
    #: In: an attempt was claimed. Out: its outcome. If the process dies, another attempt is claimed.
    RUNNING = "running"
    #: In: the handler returned.
    FINISHED = "finished"
    #: In: the handler raised, or no attempt is left.
    FAILED = "failed"
    #: In: an attempt overran its timeout, or somebody cancelled the job.
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in _FINAL


class Cause(StrEnum):
    """Why an attempt was lost, as far as anybody can tell."""

    #: Its own code was at work when its process died.
    CRASHED = "crashed"
    #: Its own code held the loop and let nothing else run, until the process was killed for it.
    BLOCKED = "blocked"
    #: Another job's code ended the process that they shared.
    NEIGHBOUR = "neighbour"
    #: Its process died, and nothing says why.
    KILLED = "killed"
    #: Its process did not answer, though none of the jobs' code was at work, and was killed.
    FROZEN = "frozen"
    #: Its process was killed because memory ran out.
    OUT_OF_MEMORY = "out_of_memory"
    #: Its worker came back on another node.
    NODE_LOST = "node_lost"
    #: Its worker did not come back in time; the job was given to another.
    UNREACHABLE = "unreachable"


#: A death of this kind may have been the job's own doing, though nothing says so.
UNEXPLAINED = frozenset({Cause.KILLED, Cause.FROZEN, Cause.OUT_OF_MEMORY, Cause.UNREACHABLE})


_FINAL = frozenset({Status.FINISHED, Status.FAILED, Status.CANCELLED})


class Window(NamedTuple):
    """The rerun window that a job opens for its object."""

    seconds: float
    #: Whether it counts from the job's end; otherwise from its acceptance.
    from_end: bool = False
    #: The ends that keep it shut. After any other it opens at once.
    after: tuple[Status, ...] = tuple(sorted(_FINAL))
    #: Whatever its end is, it does not open before: the window of the job before it is shut until then.
    not_before: datetime | None = None

    @property
    def fixed(self) -> bool:
        """Whether it is known at admission: the job's end does not move it."""
        return not self.from_end and _FINAL.issubset(self.after)


class Token(NamedTuple):
    """Names one forward of a job to a worker; a greater token is a newer decision."""

    epoch: int
    seq: int

    def __int__(self) -> int:
        """Keep the order of tokens in one integer, as the ledger stores it."""
        return self.epoch << _SEQ_BITS | self.seq


class Outcome(NamedTuple):
    """How a job ended: what the ledger calls final."""

    status: Status
    ended_at: datetime
    result: Json = None
    error: dict[str, Json] | None = None
    #: The attempt that decided it; 0 and None where the job was closed without one.
    attempt: int = 0
    started_at: datetime | None = None
    worker: str | None = None
    #: When the object's window opens, where that is decided by the end; None: as it was fixed at admission.
    opens_at: datetime | None = None

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        return weigh(self.result)


class Progress(NamedTuple):
    """How far a handler says it has come."""

    at: datetime
    #: From 0 to 1; None where it cannot tell.
    fraction: float | None = None
    message: str | None = None


class Work(NamedTuple):
    """What Dispatcher and Worker need to know of a job."""

    job_id: str
    object_id: str
    run: int
    handler: str
    payload: Json
    priority: int
    accepted_at: datetime
    timeout_s: float
    pool: str = DEFAULT_POOL
    #: None where the window was fixed at admission.
    window: Window | None = None

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        return weigh(self.payload)

    @property
    def order(self) -> tuple[int, datetime, str]:
        """Its place in the queue: lower priority number first, then oldest."""
        return self.priority, self.accepted_at, self.job_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request to run a handler for an object, as MongoDB keeps it."""

    job_id: str
    object_id: str
    run: int
    handler: str
    payload: Json = None
    status: Status = Status.QUEUED
    priority: int = 0
    accepted_at: datetime
    #: When the object's window opens again; fixed at admission.
    opens_at: datetime
    #: When the record may be forgotten, once the job has ended.
    expires_at: datetime
    timeout_s: float
    pool: str = DEFAULT_POOL
    #: None where the window was fixed at admission: then `opens_at` never changes.
    window: Window | None = None
    #: Until then it waits for its first start, and no longer; None: for ever.
    give_up_at: datetime | None = None
    #: While it is scheduled: when its next attempt may start.
    run_at: datetime | None = None
    progress: Progress | None = None
    #: Where it was accepted as scheduled: when it was due, as far as that was known then; never changes.
    due_at: datetime | None = None
    #: Until it has had its turn: when to look whether it may have it. It stays if the job ends before.
    turn_due: datetime | None = None
    #: Until it has had its turn: the object's job before it, which must have ended by then.
    follows: str | None = None
    #: Whether it ends the job that it follows, instead of waiting for it and for the object's window.
    replaces: bool = False
    #: Whether the object's window is left out of account when it has its turn.
    forced: bool = False
    #: How long it may wait for its first start once it has had its turn; None: for ever.
    patience_s: float | None = None
    labels: Labels = ()
    #: Where to tell how it ended.
    webhook: str | None = None
    idempotency_key: str | None = None
    #: What the request was, in short: the same key with another one is a mistake.
    fingerprint: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempt: int = 0
    worker: str | None = None
    result: Json = None
    error: dict[str, Json] | None = None
    epoch: int = 0

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        return weigh(self.payload) + weigh(self.result)

    @property
    def live(self) -> bool:
        """Whether the job may still run."""
        return not self.status.final

    @property
    def waits_for_turn(self) -> bool:
        """Whether it is scheduled since it was accepted, or ended as such: it never could run."""
        return self.turn_due is not None

    @property
    def passed_over(self) -> bool:
        """Whether it ended without its turn: its object stands as if it had never been."""
        return self.waits_for_turn and not self.live

    @property
    def in_queue(self) -> bool:
        """Whether it may run now: it has not ended, and waits for no later time."""
        return self.live and self.status is not Status.SCHEDULED

    def in_brief(self) -> Self:
        """Return it without what may be heavy, and without its key."""
        return replace(self, payload=None, result=None, idempotency_key=None, fingerprint=None)

    def work(self) -> Work:
        """Return the part that Dispatcher and Worker need."""
        return Work(
            self.job_id,
            self.object_id,
            self.run,
            self.handler,
            self.payload,
            self.priority,
            self.accepted_at,
            self.timeout_s,
            self.pool,
            self.window,
        )


def first_id_of(moment: datetime) -> str:
    """Return a text that sorts before every job id made at or after that moment.

    Job ids are UUIDs of version 7 (RFC 9562), which begin with 48 bits of milliseconds.
    """
    digits = f"{epoch_ms(moment):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def fence(accepted_at: datetime, attempt: int) -> int:
    """Return the integer a handler sees: it grows over attempts and over runs of an object.

    Runs of one object are accepted at least a millisecond apart, so their fences cannot meet
    before attempt 1,024.
    """
    return epoch_ms(accepted_at) * _ATTEMPTS_PER_FENCE + attempt
