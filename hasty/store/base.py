"""What the stores promise. One contract suite holds every implementation to it.

Two databases, one owner each: the jobs (the Registry inserts, the Dispatcher updates) and the
ledger (the Workers claim, record and close). Every method may raise
StoreUnavailable: then what was asked may or may not have happened, and asking again is safe.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from hasty.dispatch import Mark, Settle
from hasty.job import Cause, Job, Outcome, Token, Work
from hasty.messages import Process

#: Closed attempts a ledger document keeps; older ones fall out.
ATTEMPTS_KEPT = 32


class Found(NamedTuple):
    """What a sweep found."""

    works: tuple[Work, ...]
    #: Whether there is nothing behind them in the order.
    exhausted: bool


def settled_fields(outcome: Outcome) -> dict[str, Any]:
    """Return what settling changes in a job: all of the outcome, but the attempt only if one decided."""
    fields = outcome._asdict()
    if not outcome.attempt:
        for name in ("attempt", "started_at", "worker"):
            del fields[name]
    return fields


class JobStore(Protocol):
    """The jobs, as clients see them."""

    async def prepare(self) -> None:
        """Create what the store needs (indexes). Idempotent; safe beside another prepare."""
        ...

    async def server_time(self) -> datetime:
        """Return the store's wall time. Proves that it answers."""
        ...

    async def newest(self, object_ids: Collection[str]) -> dict[str, Job]:
        """Return each object's job of the highest run; durable, never rolled back."""
        ...

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return those of these jobs that exist; durable, never rolled back."""
        ...

    async def existing(self, job_ids: Collection[str]) -> set[str]:
        """Return which of these jobs have a record, without reading them."""
        ...

    async def insert(self, jobs: Sequence[Job]) -> set[str]:
        """Insert each job unless its id or its (object, run) is taken; return the ids that are new.

        When it returns, those are journaled on a majority. Of two inserts of one (object, run),
        whoever makes them, exactly one wins.
        """
        ...

    async def extend(self, job_ids: Collection[str], until: datetime) -> set[str]:
        """Keep these records at least `until`; return the ids that were still there to keep."""
        ...

    async def sweep(self, skip: Collection[str], limit: int) -> Found:
        """Return the first `limit` live jobs in the order of the queue that are not in `skip`.

        Where they are heavy it may be fewer, the first of them; then they are not exhausted.
        """
        ...

    async def mark(self, marks: Sequence[Mark], epoch: int) -> None:
        """Show jobs as running, unless they ended or a later epoch wrote. May be lost: it is for people."""
        ...

    async def settle(self, settlements: Sequence[Settle], epoch: int, until: datetime) -> None:
        """Write how jobs ended, unless they have ended; durable when it returns.

        A settled record is kept `until` then, or longer where its window asks for it.
        """
        ...

    async def take_epoch(self, holder: str, lease_s: float) -> int | None:
        """Return the next epoch, ours for `lease_s`; None while another holder's lease runs.

        Whoever held it before is recognised by name and need not wait.
        """
        ...

    async def renew_epoch(self, epoch: int, lease_s: float) -> bool:
        """Prolong the lease; False when a later epoch was taken."""
        ...


class Boot(NamedTuple):
    """A start of a worker's process, and what is known of the one before it."""

    n: int
    #: The node the one before ran on; None for the first.
    node: str | None = None
    #: Whether the one before was killed because it did not answer.
    condemned: bool = False


class Claim(NamedTuple):
    """An intent to start a handler: the same claim may be made again, and is then the same start."""

    job_id: str
    token: Token
    #: Unique to this intent.
    claim: str
    worker: str
    boot: int
    at: datetime
    #: How many charges the job may have before it is given up.
    max_crashes: int = 3
    #: Why the process before this one died: what its attempts are closed with.
    predecessor: Cause = Cause.KILLED


class Claimed(NamedTuple):
    """The attempt is open and it is this claim's: the handler may start."""

    attempt: int
    #: Attempts that were lost with nobody to blame.
    losses: int = 0


class Spent(NamedTuple):
    """The job has cost as many processes as it may: it is to be closed. Why each of them died."""

    causes: tuple[Cause, ...]


class Over(NamedTuple):
    """The job has ended: there is an outcome to settle."""

    outcome: Outcome


class Stale(NamedTuple):
    """A newer token, or another process under this token, has the job."""


ClaimAnswer = Claimed | Over | Stale | Spent


class Blame(NamedTuple):
    """The attempt that `claim` opened ended its process: it is over, and its job is charged."""

    job_id: str
    claim: str
    cause: Cause


class Record(NamedTuple):
    """How the attempt that `claim` opened decided its job."""

    job_id: str
    claim: str
    boot: int
    outcome: Outcome


class Closing(NamedTuple):
    """How a job ends without an attempt ending it."""

    job_id: str
    outcome: Outcome


class Ledger(Protocol):
    """The record of attempts and outcomes: the arbiter of how a job ended."""

    async def server_time(self) -> datetime:
        """Return the store's wall time."""
        ...

    async def boot(self, worker: str, process: Process) -> Boot:
        """Count one more start of this worker's process; a greater boot is a later process."""
        ...

    async def condemn(self, worker: str, boot: int) -> bool:
        """Note that this boot is killed because it does not answer; False if there is a later one."""
        ...

    async def claim(self, claims: Sequence[Claim]) -> list[ClaimAnswer]:
        """Open an attempt for each claim that may; durable when it returns.

        A claim succeeds if the job has no outcome, has charges left, and: its token is newer than
        the stored one; or it is the stored one, and the open attempt is an earlier boot's of this
        worker, or is blamed; or the open attempt is this very claim's. An attempt that was open
        is closed as lost, with its cause. A blamed one is a charge; one whose end is
        unexplained, a loss.
        """
        ...

    async def blame(self, blames: Sequence[Blame]) -> None:
        """Declare open attempts to be over by their own doing; those that are not open are left alone."""
        ...

    async def record(self, records: Sequence[Record]) -> list[Outcome | None]:
        """Write outcomes; return for each the outcome that stands, durable.

        An outcome is written only while its claim is the open attempt. None: the job is open
        under somebody else's claim, and this attempt's outcome counts for nothing.
        """
        ...

    async def close(self, closings: Sequence[Closing]) -> list[Outcome]:
        """End jobs, running or not; return for each the outcome that stands, ours or an earlier one."""
        ...

    async def ids(self, after: str, before: str, limit: int) -> list[str]:
        """Return the first `limit` job ids between these two, in order."""
        ...

    async def forget(self, job_ids: Collection[str]) -> None:
        """Delete these jobs' pages. May be lost: then they stay."""
        ...
