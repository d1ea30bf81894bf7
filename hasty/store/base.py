"""What the stores promise. One contract suite holds every implementation to it.

Two databases, one owner each: the jobs (the Registry inserts, the Dispatcher updates) and the
ledger (the Workers claim, record and close). Every method may raise
StoreUnavailable: then what was asked may or may not have happened, and asking again is safe.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from hasty.dispatch import Mark, Postpone, Settle
from hasty.job import KEPT_AFTER_WINDOW, Cause, Job, Json, Outcome, Token, Work
from hasty.messages import Process, Progressed
from hasty.pools import Plan, PoolPlan, Roster

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
    if outcome.opens_at is None:
        del fields["opens_at"]
    return fields


def kept_until(outcome: Outcome, until: datetime) -> datetime:
    """Return when a settled record may be forgotten: at `until`, unless its window asks for more."""
    return until if outcome.opens_at is None else max(until, outcome.opens_at + KEPT_AFTER_WINDOW)


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

    async def sweep(self, pool: str, skip: Collection[str], limit: int) -> Found:
        """Return the first `limit` jobs in the order of a pool's queue that are not in `skip`.

        In the queue are all jobs that have not ended, but for those that wait for a later time.
        Where they are heavy it may be fewer, the first of them; then they are not exhausted.
        """
        ...

    async def mark(self, marks: Sequence[Mark], epoch: int) -> None:
        """Show jobs as running, unless they ended or a later epoch wrote. May be lost: it is for people."""
        ...

    async def note(self, notes: Sequence[Progressed]) -> None:
        """Show how far running jobs have come, unless they ended. May be lost: it is for people."""
        ...

    async def postpone(self, postpones: Sequence[Postpone], epoch: int) -> None:
        """Show jobs as scheduled, out of the queue, unless they ended; durable when it returns."""
        ...

    async def wake(self, now: datetime, limit: int) -> tuple[Work, ...]:
        """Put scheduled jobs whose time has come back into the queue, the first `limit`; return them.

        They are in the queue when it returns; what nobody hears of is found there by a sweep.
        """
        ...

    async def overdue(self, now: datetime, limit: int) -> tuple[Work, ...]:
        """Return jobs that waited for their first start for longer than they may, as far as is known here."""
        ...

    async def excuse(self, job_ids: Collection[str]) -> None:
        """Note that these jobs were started: how long they waited matters no more."""
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

    async def deploy(self, pools: Mapping[str, PoolPlan], settings: str) -> Plan:
        """Make this the plan, under the next generation; durable when it returns."""
        ...

    async def plan(self) -> Plan | None:
        """Return the plan; None before the first."""
        ...

    async def rosters(self) -> dict[str, Roster]:
        """Return how many workers each pool has, as was written last."""
        ...

    async def enroll(self, rosters: Mapping[str, Roster], epoch: int) -> bool:
        """Write how many workers each pool has; durable. False, and nothing done, if a later epoch wrote."""
        ...

    async def adopt(self, pools: Collection[str], skip: Collection[str] = ()) -> int:
        """Move what waits for other pools than these into the default one, but for `skip`; say how many."""
        ...


class Boot(NamedTuple):
    """A start of a worker's process, and what is known of the one before it."""

    n: int
    #: The node the one before ran on; None for the first.
    node: str | None = None
    #: Whether the one before was killed because it did not answer.
    condemned: bool = False
    #: The latest epoch that was announced.
    epoch: int = 0


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
    #: Attempts that failed and were followed by another.
    retries: int = 0


class Later(NamedTuple):
    """The last attempt failed, and the next may not start before `run_at`, and not under this token."""

    attempt: int
    run_at: datetime
    error: dict[str, Json] | None


class Spent(NamedTuple):
    """The job has cost as many processes as it may: it is to be closed. Why each of them died."""

    causes: tuple[Cause, ...]


class Over(NamedTuple):
    """The job has ended: there is an outcome to settle."""

    outcome: Outcome


class Stale(NamedTuple):
    """A newer token, or another process under this token, has the job."""


ClaimAnswer = Claimed | Over | Stale | Spent | Later


class Blame(NamedTuple):
    """The attempt that `claim` opened ended its process: it is over, and its job is charged."""

    job_id: str
    claim: str
    cause: Cause


class Record(NamedTuple):
    """How the attempt that `claim` opened ended, and with it its job, unless it is to be retried."""

    job_id: str
    claim: str
    boot: int
    outcome: Outcome
    #: When the job's next attempt may start; None: there is to be none, the outcome is final.
    retry_at: datetime | None = None

    @property
    def later(self) -> Later | None:
        """What stands in the ledger after it, where it is to be retried."""
        if self.retry_at is None:
            return None
        return Later(self.outcome.attempt, self.retry_at, self.outcome.error)


class Closing(NamedTuple):
    """How a job ends without an attempt ending it."""

    job_id: str
    outcome: Outcome
    #: Only if no attempt was ever made.
    untouched: bool = False


class Ledger(Protocol):
    """The record of attempts and outcomes: the arbiter of how a job ended."""

    async def server_time(self) -> datetime:
        """Return the store's wall time."""
        ...

    async def boot(self, worker: str, process: Process, born_s: float) -> Boot | None:
        """Count one more process that became this worker, at `born_s` by its node's monotonic clock.

        A greater boot is a later process. None: one that was born later on the same node was counted
        already. This one stood still before it could be, and its place is taken.
        """
        ...

    async def announce(self, epoch: int) -> None:
        """Let each boot that is counted from now on be told of this epoch, or of a later one."""
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
        unexplained, a loss. After an attempt that is to be retried only a newer token may claim,
        and not before the time: Later. A token that was answered so is spent.
        """
        ...

    async def blame(self, blames: Sequence[Blame]) -> None:
        """Declare open attempts to be over by their own doing; those that are not open are left alone."""
        ...

    async def record(self, records: Sequence[Record]) -> list[Outcome | Later | None]:
        """Write outcomes; return for each what stands, durable: the job's outcome, or its next attempt.

        An outcome is written only while its claim is the open attempt. None: the job is open
        under somebody else's claim, and this attempt's outcome counts for nothing.
        """
        ...

    async def close(self, closings: Sequence[Closing]) -> list[Outcome | None]:
        """End jobs, running or not; return for each the outcome that stands, ours or an earlier one.

        None: it was to be closed untouched, and was started.
        """
        ...

    async def finals(self, job_ids: Collection[str]) -> dict[str, Outcome]:
        """Return how those of these jobs ended that have; durable."""
        ...

    async def ids(self, after: str, before: str, limit: int) -> list[str]:
        """Return the first `limit` job ids between these two, in order."""
        ...

    async def forget(self, job_ids: Collection[str]) -> None:
        """Delete these jobs' pages. May be lost: then they stay."""
        ...
