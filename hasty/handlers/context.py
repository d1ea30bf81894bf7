"""What a handler is told about the job it works for."""

from dataclasses import dataclass

from hasty.job import Work, fence


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What a handler may know of its job."""

    job_id: str
    object_id: str
    #: Ordinal of this job among its object's jobs.
    run: int
    #: Ordinal of this start of the handler for this job.
    attempt: int
    #: Grows with every attempt and every run of the object: refuse writes that carry a smaller one.
    fence: int

    @classmethod
    def of(cls, work: Work, attempt: int) -> "JobContext":
        """Describe an attempt of a job."""
        return cls(
            job_id=work.job_id,
            object_id=work.object_id,
            run=work.run,
            attempt=attempt,
            fence=fence(work.accepted_at, attempt),
        )
