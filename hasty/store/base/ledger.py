"""The ledger: what a store of attempts and outcomes promises."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from hasty.job import Cause, Json, Outcome, Token
from hasty.messages import Process

#: Closed attempts a ledger document keeps; older ones fall out.
ATTEMPTS_KEPT = 32


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
