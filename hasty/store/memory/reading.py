"""What clients read, from the stores in memory, in plain Python."""

from collections.abc import Iterator
from typing import Any

from hasty.job import Job
from hasty.store.base import PAGE_BYTES, Attempt, JobFilter, JobPage, ObjectJobs, Place, outcome_of
from hasty.store.memory import ledger
from hasty.store.memory.jobs import MemoryJobStore


class MemoryJobReader:
    """See `hasty.store.base.JobReader`."""

    def __init__(self, store: MemoryJobStore) -> None:
        """List the jobs of `store`."""
        self._store = store

    async def page(self, wanted: JobFilter, after: Place | None, limit: int) -> JobPage:
        """See `JobReader`."""

        def place(job: Job) -> Any:
            return wanted.place_of(job)

        fitting = [job for job in self._store.jobs.values() if wanted.fits(job)]
        behind = [job for job in fitting if after is None or place(job) < after]
        behind.sort(key=place, reverse=True)
        shown = tuple(_while_there_is_room(behind[:limit]))
        return JobPage(shown, wanted.place_of(shown[-1]) if len(shown) < len(behind) else None)

    async def object(self, object_id: str) -> ObjectJobs | None:
        """See `JobReader`."""
        jobs = [job for job in self._store.jobs.values() if job.object_id == object_id]
        return ObjectJobs.of(sorted(jobs, key=lambda job: job.run, reverse=True))


def _while_there_is_room(jobs: list[Job]) -> Iterator[Job]:
    weight = 0
    for number, job in enumerate(jobs):
        weight += job.weight
        if number and weight > PAGE_BYTES:
            return
        yield job


class MemoryAttempts:
    """See `hasty.store.base.AttemptReader`."""

    def __init__(self, store: ledger.MemoryLedger) -> None:
        """Read `store`."""
        self._store = store

    async def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """See `AttemptReader`."""
        page = self._store.pages.get(job_id)
        if page is None:
            return ()
        closed = [self._closed(attempt, page) for attempt in page.attempts]
        return (*closed, *([self._opened(page.open)] if page.open is not None else []))

    def _closed(self, attempt: ledger.Attempt, page: ledger.Page) -> Attempt:
        decided = page.final is not None and attempt is page.attempts[-1]
        end = page.final.error if page.final is not None else None
        outcome, error = outcome_of(str(attempt.outcome), attempt.error, end, decided=decided)
        return self._told(attempt)._replace(outcome=outcome, cause=attempt.cause, error=error)

    def _opened(self, attempt: ledger.Attempt) -> Attempt:
        outcome = "running" if attempt.blame is None else "lost"
        return self._told(attempt)._replace(outcome=outcome, cause=attempt.blame)

    def _told(self, attempt: ledger.Attempt) -> Attempt:
        process = self._store.processes.get((attempt.worker, attempt.boot))
        return Attempt(
            attempt.n,
            attempt.worker,
            attempt.boot,
            node=process.node if process is not None else None,
            pid=process.pid if process is not None else None,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            outcome="",
        )
