"""What clients read beside a single job: lists of jobs, and the attempts at one."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, Self

from hasty.job import Cause, Job, Json, Labels, Status

#: A page holds no more than so many bytes of payloads and results, unless one job alone has more.
PAGE_BYTES = 2 * 1024 * 1024

#: Where a list goes on: after the job with this id; in the list of one object, after this run.
Place = str | int


class JobFilter(NamedTuple):
    """Which jobs are listed: those of which everything here is true."""

    #: One of these; none: any.
    statuses: frozenset[Status] = frozenset()
    handler: str | None = None
    object_id: str | None = None
    #: All of them.
    labels: Labels = ()
    #: At this moment or later.
    accepted_after: datetime | None = None
    #: Earlier than this moment.
    accepted_before: datetime | None = None

    @property
    def by_run(self) -> bool:
        """Whether a place in the list is a run; otherwise it is a job id."""
        return self.object_id is not None

    def fits(self, job: Job) -> bool:
        """Whether all of it is true of this job."""
        after, before = self.accepted_after, self.accepted_before
        return (
            (not self.statuses or job.status in self.statuses)
            and self.handler in {None, job.handler}
            and self.object_id in {None, job.object_id}
            and set(self.labels) <= set(job.labels)
            and (after is None or job.accepted_at >= after)
            and (before is None or job.accepted_at < before)
        )

    def place_of(self, job: Job) -> Place:
        """Return where the list goes on after this job."""
        return job.run if self.by_run else job.job_id


class JobPage(NamedTuple):
    """A part of a list."""

    jobs: tuple[Job, ...]
    #: Where the list goes on; None: this was its end.
    next: Place | None = None


class ObjectJobs(NamedTuple):
    """Those of an object's jobs that matter for its next one."""

    #: The one of the highest run.
    newest: Job
    #: The newest, but for those that ended before they had their turn: it may stand in the way.
    standing: Job | None
    #: The newest that has had its turn: it was queued at once, or its time came.
    last: Job | None

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Self | None:
        """Sort out an object's jobs, newest first, at least as far as one that has had its turn."""
        if not jobs:
            return None
        standing = (job for job in jobs if not job.passed_over)
        last = (job for job in jobs if not job.waits_for_turn)
        return cls(jobs[0], next(standing, None), next(last, None))

    @property
    def waiting(self) -> Job | None:
        """The job that waits for its turn."""
        return self.newest if self.newest.live and self.newest.waits_for_turn else None


class JobReader(Protocol):
    """Reads jobs for people. It writes nothing."""

    async def page(self, wanted: JobFilter, after: Place | None, limit: int) -> JobPage:
        """Return the first `limit` jobs behind this place, newest first; None: from the newest on.

        Newest first is by job id, descending: ids begin with the time at which the Gateway made them.
        The jobs of one object are in the order of their runs. In a page every job is as it was at one
        moment, and durable.

        A page may be shorter than `limit`, or empty, though the list goes on: where jobs are heavy
        (`PAGE_BYTES`), and where many had to be looked at that are not wanted.

        A walk from page to page meets no job twice, and every job that existed when it began and is
        wanted at the time its place is passed, unless it was forgotten meanwhile. One that is admitted
        while the walk goes on is not met, but for one whose id was made, a moment before it was
        admitted, earlier than the place that the walk has reached.

        The ids of several Gateways are as comparable as the clocks of their machines. Those may differ
        from that of the store by some seconds; a job whose Gateway was further off may be missing in a
        list with `accepted_after` or `accepted_before`.
        """
        ...

    async def object(self, object_id: str) -> ObjectJobs | None:
        """Return the jobs that tell how an object stands, durable; None: it has none."""
        ...


class Attempt(NamedTuple):
    """One start of the handler for a job."""

    n: int
    worker: str
    #: Ordinal of the worker's process, and which one that was, where it is known.
    boot: int
    node: str | None
    pid: int | None
    started_at: datetime
    #: None while it runs, and where its end is not known yet.
    ended_at: datetime | None
    #: `running`, `finished`, `failed`, `cancelled`, `retried` (failed, and another follows) or `lost`.
    outcome: str
    #: Why it was lost.
    cause: Cause | None = None
    #: Why it failed or was cancelled.
    error: dict[str, Json] | None = None


class AttemptReader(Protocol):
    """Reads the ledger for people. It writes nothing."""

    async def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Return a job's attempts, oldest first: all of them, or the newest where there were very many.

        None of them where it was never started.
        """
        ...


def outcome_of(
    outcome: str, error: dict[str, Json] | None, end: dict[str, Json] | None, *, decided: bool
) -> tuple[str, dict[str, Json] | None]:
    """Return how a closed attempt ended, and why.

    Its error stands with it in the ledger where another one followed; where it `decided` how the job
    ended, or was ended with that, it is the job's.
    """
    if outcome == Status.FAILED and (error is not None or not decided):
        return "retried", error
    return outcome, end if decided and outcome != "lost" else None
