"""The ledger in memory: the rules of claims in plain Python.

Each method is atomic: it never awaits in the middle.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from hasty.clock import Clock
from hasty.job import UNEXPLAINED, Cause, Json, Outcome, Token
from hasty.messages import Process
from hasty.store.base import (
    ATTEMPTS_KEPT,
    Blame,
    Boot,
    Claim,
    ClaimAnswer,
    Claimed,
    Closing,
    Later,
    Over,
    Record,
    Spent,
    Stale,
)


class Attempt(NamedTuple):
    """One start of a handler, as the ledger keeps it."""

    n: int
    claim: str
    worker: str
    boot: int
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    #: While it is open: it was declared to have ended its process.
    blame: Cause | None = None
    #: Why it was lost.
    cause: Cause | None = None
    #: How it failed, where another follows; of the last, `final` tells it.
    error: dict[str, Json] | None = None

    def lost(self, at: datetime, cause: Cause) -> "Attempt":
        """Close it: its outcome will never be known. What it is blamed for is its cause."""
        return self._replace(ended_at=at, outcome="lost", cause=self.blame or cause)


class Page(NamedTuple):
    """A job's document in the ledger."""

    token: Token
    open: Attempt | None
    attempts: tuple[Attempt, ...] = ()
    losses: int = 0
    charges: int = 0
    retries: int = 0
    #: While the last attempt failed and is to be retried.
    later: Later | None = None
    final: Outcome | None = None
    #: The claim that decided `final`; None where the job was closed.
    decided_by: str | None = None

    @property
    def last_n(self) -> int:
        """The number of the latest attempt; 0 when there is none."""
        if self.open is not None:
            return self.open.n
        return self.attempts[-1].n if self.attempts else 0

    @property
    def all_charges(self) -> int:
        """Charges, the open attempt's among them."""
        return self.charges + (self.open is not None and self.open.blame is not None)

    def ended_last(self, claim: str) -> bool:
        """Whether the attempt that this claim opened is the last, and over."""
        return self.open is None and bool(self.attempts) and self.attempts[-1].claim == claim

    def closed(self, outcome: Outcome) -> "Page":
        """Return the page with the open attempt, if any, closed by an outcome; a blamed one is lost."""
        if self.open is None:
            return self
        done = self.open._replace(ended_at=outcome.ended_at, outcome=str(outcome.status))
        if self.open.blame is not None:
            done = self.open.lost(outcome.ended_at, self.open.blame)
        attempts = (*self.attempts, done)[-ATTEMPTS_KEPT:]
        return self._replace(open=None, attempts=attempts, charges=self.all_charges)

    def without_open(self, claim: Claim) -> "Page":
        """Return the page with the open attempt, if any, closed as lost to this claim."""
        if self.open is None:
            return self
        lost = self.open.lost(claim.at, _cause(self.open, claim))
        unexplained = lost.blame is None and lost.cause in UNEXPLAINED
        return self._replace(
            open=None,
            attempts=(*self.attempts, lost)[-ATTEMPTS_KEPT:],
            losses=self.losses + unexplained,
            charges=self.all_charges,
        )


class MemoryLedger:
    """See `hasty.store.base.Ledger`."""

    def __init__(self, clock: Clock) -> None:
        """Start empty."""
        self._clock = clock
        self.pages: dict[str, Page] = {}
        self._boots: dict[str, Boot] = {}
        #: Each process that became a worker, by the worker and the boot.
        self.processes: dict[tuple[str, int], Process] = {}
        #: On which node, and when, the latest process of each worker was born.
        self._born: dict[str, tuple[str, float]] = {}
        self._condemned: dict[str, int] = {}
        self._epoch = 0

    async def server_time(self) -> datetime:
        """See `Ledger`."""
        return self._clock.now()

    async def boot(self, worker: str, process: Process, born_s: float) -> Boot | None:
        """See `Ledger`."""
        node, latest_s = self._born.get(worker, (None, 0.0))
        if node == process.node and latest_s > born_s:
            return None
        before = self._boots.get(worker, Boot(0))
        condemned = before.n > 0 and self._condemned.get(worker) == before.n
        self._boots[worker] = Boot(before.n + 1, node, condemned, self._epoch)
        self._born[worker] = process.node, born_s
        self.processes[worker, before.n + 1] = process
        return self._boots[worker]

    async def announce(self, epoch: int) -> None:
        """See `Ledger`."""
        self._epoch = max(epoch, self._epoch)

    async def condemn(self, worker: str, boot: int) -> bool:
        """See `Ledger`."""
        if self._boots.get(worker, Boot(0)).n != boot:
            return False
        self._condemned[worker] = boot
        return True

    async def claim(self, claims: Sequence[Claim]) -> list[ClaimAnswer]:
        """See `Ledger`."""
        return [self._claim(claim) for claim in claims]

    def _claim(self, claim: Claim) -> ClaimAnswer:
        page = self.pages.get(claim.job_id)
        if page is None:
            return self._open(claim, Page(claim.token, None), 1)
        if page.final is not None:
            return Over(page.final)
        if page.open is not None and page.open.blame is None and page.open.claim == claim.claim:
            return Claimed(page.open.n, page.losses, page.retries)
        if page.all_charges >= claim.max_crashes:
            lost = [attempt.cause for attempt in page.attempts]
            blame = page.open.blame if page.open is not None else None
            return Spent(tuple(cause for cause in (*lost, blame) if cause is not None))
        if not _may_claim(page, claim):
            return self._refuse(claim, page)
        return self._open(claim, page.without_open(claim), page.last_n + 1)

    def _refuse(self, claim: Claim, page: Page) -> Later | Stale:
        """Say why not. A token that met a wait is spent: who is given it late must not start after all."""
        if page.later is None or page.token > claim.token:
            return Stale()
        self.pages[claim.job_id] = page._replace(token=claim.token)
        return page.later

    def _open(self, claim: Claim, page: Page, n: int) -> Claimed:
        attempt = Attempt(n, claim.claim, claim.worker, claim.boot, claim.at)
        self.pages[claim.job_id] = page._replace(token=claim.token, open=attempt, later=None)
        return Claimed(n, page.losses, page.retries)

    async def blame(self, blames: Sequence[Blame]) -> None:
        """See `Ledger`."""
        for job_id, claim, cause in blames:
            page = self.pages.get(job_id)
            if page is not None and page.open is not None and page.open.claim == claim:
                self.pages[job_id] = page._replace(open=page.open._replace(blame=cause))

    async def record(self, records: Sequence[Record]) -> list[Outcome | Later | None]:
        """See `Ledger`."""
        return [self._record(record) for record in records]

    def _record(self, record: Record) -> Outcome | Later | None:
        page = self.pages.get(record.job_id)
        if page is None:
            return None
        if page.open is None or page.open.claim != record.claim or page.open.blame is not None:
            return page.final or (page.later if page.ended_last(record.claim) else None)
        if record.later is None:
            self._finalise(record.job_id, page, record.outcome, record.claim)
            return record.outcome
        done = page.closed(record.outcome)
        retried = done.attempts[-1]._replace(error=record.later.error)
        self.pages[record.job_id] = done._replace(
            attempts=(*done.attempts[:-1], retried), retries=page.retries + 1, later=record.later
        )
        return record.later

    async def close(self, closings: Sequence[Closing]) -> list[Outcome | None]:
        """See `Ledger`."""
        return [self._close(closing) for closing in closings]

    def _close(self, closing: Closing) -> Outcome | None:
        page = self.pages.get(closing.job_id)
        if page is not None and (page.final is not None or closing.untouched):
            return page.final
        self._finalise(closing.job_id, page or Page(Token(0, 0), None), closing.outcome, None)
        return closing.outcome

    async def finals(self, job_ids: Collection[str]) -> dict[str, Outcome]:
        """See `Ledger`."""
        finals = {job_id: self.pages[job_id].final for job_id in job_ids if job_id in self.pages}
        return {job_id: final for job_id, final in finals.items() if final is not None}

    async def ids(self, after: str, before: str, limit: int) -> list[str]:
        """See `Ledger`."""
        return sorted(job_id for job_id in self.pages if after < job_id < before)[:limit]

    async def forget(self, job_ids: Collection[str]) -> None:
        """See `Ledger`."""
        for job_id in job_ids:
            self.pages.pop(job_id, None)

    def _finalise(self, job_id: str, page: Page, outcome: Outcome, claim: str | None) -> None:
        self.pages[job_id] = page.closed(outcome)._replace(later=None, final=outcome, decided_by=claim)


def _may_claim(page: Page, claim: Claim) -> bool:
    if page.token < claim.token:
        return page.later is None or page.later.run_at <= claim.at
    if page.token != claim.token or page.open is None or page.open.worker != claim.worker:
        return False
    return page.open.boot < claim.boot or page.open.blame is not None


def _cause(opened: Attempt, claim: Claim) -> Cause:
    """Say why an open attempt was lost: its worker's next boot knows best, the one after it less."""
    if opened.worker != claim.worker:
        return Cause.UNREACHABLE
    return claim.predecessor if opened.boot + 1 == claim.boot else Cause.KILLED
