"""The reference stores: the contract in plain Python, for tests and for reading.

Each method is atomic: it never awaits in the middle.
"""

import dataclasses
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from hasty.clock import Clock
from hasty.dispatch import Mark, Settle
from hasty.job import UNEXPLAINED, Cause, Job, Outcome, Status, Token
from hasty.messages import Process
from hasty.store.base import (
    ATTEMPTS_KEPT,
    Blame,
    Boot,
    Claim,
    ClaimAnswer,
    Claimed,
    Closing,
    Found,
    Over,
    Record,
    Spent,
    Stale,
    settled_fields,
)


class MemoryJobStore:
    """See `hasty.store.base.JobStore`."""

    def __init__(self, clock: Clock) -> None:
        """Start empty."""
        self._clock = clock
        self.jobs: dict[str, Job] = {}
        self._runs: dict[str, dict[int, str]] = {}
        self._epoch = 0
        self._holder: str | None = None
        self._lease_until = 0.0

    async def prepare(self) -> None:
        """See `JobStore`."""

    async def server_time(self) -> datetime:
        """See `JobStore`."""
        return self._clock.now()

    async def newest(self, object_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        runs = {object_id: self._runs.get(object_id) for object_id in object_ids}
        return {object_id: self.jobs[held[max(held)]] for object_id, held in runs.items() if held}

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        return {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs}

    async def existing(self, job_ids: Collection[str]) -> set[str]:
        """See `JobStore`."""
        return {job_id for job_id in job_ids if job_id in self.jobs}

    async def insert(self, jobs: Sequence[Job]) -> set[str]:
        """See `JobStore`."""
        return {job.job_id for job in jobs if self._insert(job)}

    def _insert(self, job: Job) -> bool:
        runs = self._runs.setdefault(job.object_id, {})
        if job.job_id in self.jobs or job.run in runs:
            return False
        self.jobs[job.job_id] = job
        runs[job.run] = job.job_id
        return True

    async def extend(self, job_ids: Collection[str], until: datetime) -> set[str]:
        """See `JobStore`."""
        found = await self.get(job_ids)
        for job in found.values():
            self._change(job, expires_at=max(job.expires_at, until))
        return set(found)

    async def sweep(self, skip: Collection[str], limit: int) -> Found:
        """See `JobStore`."""
        live = (job.work() for job in self.jobs.values() if job.live and job.job_id not in skip)
        ordered = sorted(live, key=lambda work: work.order)
        return Found(tuple(ordered[:limit]), exhausted=len(ordered) <= limit)

    async def mark(self, marks: Sequence[Mark], epoch: int) -> None:
        """See `JobStore`."""
        for mark in marks:
            job = self.jobs.get(mark.job_id)
            if job is not None and job.live and job.epoch <= epoch:
                self._change(
                    job,
                    status=Status.RUNNING,
                    started_at=mark.at,
                    worker=mark.worker,
                    attempt=mark.attempt,
                    epoch=epoch,
                )

    async def settle(self, settlements: Sequence[Settle], epoch: int, until: datetime) -> None:
        """See `JobStore`."""
        for job_id, outcome in settlements:
            job = self.jobs.get(job_id)
            if job is not None and job.live:
                self._change(
                    job,
                    **settled_fields(outcome),
                    epoch=max(epoch, job.epoch),
                    expires_at=max(until, job.expires_at),
                )

    def _change(self, job: Job, **changes: object) -> None:
        self.jobs[job.job_id] = dataclasses.replace(job, **changes)  # type: ignore[arg-type]

    async def take_epoch(self, holder: str, lease_s: float) -> int | None:
        """See `JobStore`."""
        now = self._clock.monotonic()
        if self._holder != holder and now < self._lease_until:
            return None
        self._epoch += 1
        self._holder, self._lease_until = holder, now + lease_s
        return self._epoch

    async def renew_epoch(self, epoch: int, lease_s: float) -> bool:
        """See `JobStore`."""
        if epoch == self._epoch:
            self._lease_until = self._clock.monotonic() + lease_s
        return epoch == self._epoch

    def expire(self) -> list[str]:
        """Forget what has ended and is past its time, as MongoDB does in its own; return the ids."""
        now = self._clock.now()
        old = [job for job in self.jobs.values() if not job.live and job.expires_at <= now]
        for job in old:
            del self.jobs[job.job_id], self._runs[job.object_id][job.run]
        return [job.job_id for job in old]


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
        self._nodes: dict[str, str] = {}
        self._condemned: dict[str, int] = {}

    async def server_time(self) -> datetime:
        """See `Ledger`."""
        return self._clock.now()

    async def boot(self, worker: str, process: Process) -> Boot:
        """See `Ledger`."""
        before = self._boots.get(worker, Boot(0))
        condemned = before.n > 0 and self._condemned.get(worker) == before.n
        self._boots[worker] = Boot(before.n + 1, self._nodes.get(worker), condemned)
        self._nodes[worker] = process.node
        return self._boots[worker]

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
            return Claimed(page.open.n, page.losses)
        if page.all_charges >= claim.max_crashes:
            lost = [attempt.cause for attempt in page.attempts]
            blame = page.open.blame if page.open is not None else None
            return Spent(tuple(cause for cause in (*lost, blame) if cause is not None))
        if not _may_claim(page, claim):
            return Stale()
        return self._open(claim, page.without_open(claim), page.last_n + 1)

    def _open(self, claim: Claim, page: Page, n: int) -> Claimed:
        attempt = Attempt(n, claim.claim, claim.worker, claim.boot, claim.at)
        self.pages[claim.job_id] = page._replace(token=claim.token, open=attempt)
        return Claimed(n, page.losses)

    async def blame(self, blames: Sequence[Blame]) -> None:
        """See `Ledger`."""
        for job_id, claim, cause in blames:
            page = self.pages.get(job_id)
            if page is not None and page.open is not None and page.open.claim == claim:
                self.pages[job_id] = page._replace(open=page.open._replace(blame=cause))

    async def record(self, records: Sequence[Record]) -> list[Outcome | None]:
        """See `Ledger`."""
        return [self._record(record) for record in records]

    def _record(self, record: Record) -> Outcome | None:
        page = self.pages.get(record.job_id)
        if page is None:
            return None
        if page.open is None or page.open.claim != record.claim or page.open.blame is not None:
            return page.final
        self._finalise(record.job_id, page, record.outcome, record.claim)
        return record.outcome

    async def close(self, closings: Sequence[Closing]) -> list[Outcome]:
        """See `Ledger`."""
        return [self._close(closing) for closing in closings]

    def _close(self, closing: Closing) -> Outcome:
        page = self.pages.get(closing.job_id) or Page(Token(0, 0), None)
        if page.final is not None:
            return page.final
        self._finalise(closing.job_id, page, closing.outcome, None)
        return closing.outcome

    async def ids(self, after: str, before: str, limit: int) -> list[str]:
        """See `Ledger`."""
        return sorted(job_id for job_id in self.pages if after < job_id < before)[:limit]

    async def forget(self, job_ids: Collection[str]) -> None:
        """See `Ledger`."""
        for job_id in job_ids:
            self.pages.pop(job_id, None)

    def _finalise(self, job_id: str, page: Page, outcome: Outcome, claim: str | None) -> None:
        attempts, charges = page.attempts, page.all_charges
        if page.open is not None:
            ended = page.open._replace(ended_at=outcome.ended_at, outcome=str(outcome.status))
            blame = page.open.blame
            done = page.open.lost(outcome.ended_at, blame) if blame is not None else ended
            attempts = (*attempts, done)[-ATTEMPTS_KEPT:]
        self.pages[job_id] = page._replace(
            open=None, attempts=attempts, charges=charges, final=outcome, decided_by=claim
        )


def _may_claim(page: Page, claim: Claim) -> bool:
    if page.token < claim.token:
        return True
    if page.token != claim.token or page.open is None or page.open.worker != claim.worker:
        return False
    return page.open.boot < claim.boot or page.open.blame is not None


def _cause(opened: Attempt, claim: Claim) -> Cause:
    """Say why an open attempt was lost: its worker's next boot knows best, the one after it less."""
    if opened.worker != claim.worker:
        return Cause.UNREACHABLE
    return claim.predecessor if opened.boot + 1 == claim.boot else Cause.KILLED
