"""What a handler is told about the job it works for, and what it can say."""

import logging
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hasty.handlers.term import Term
from hasty.job import Work, fence


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What a handler may know of its job, and do about it. Usable from any thread of the handler."""

    job_id: str
    object_id: str
    #: Ordinal of this job among its object's jobs.
    run: int
    #: Ordinal of this start of the handler for this job.
    attempt: int
    #: Grows with every attempt and every run of the object: refuse writes that carry a smaller one.
    fence: int
    #: The name of the handler.
    handler: str
    _term: Term = field(repr=False, compare=False)

    @classmethod
    def of(cls, work: Work, attempt: int, term: Term) -> "JobContext":
        """Describe an attempt of a job."""
        return cls(
            job_id=work.job_id,
            object_id=work.object_id,
            run=work.run,
            attempt=attempt,
            fence=fence(work.accepted_at, attempt),
            handler=work.handler,
            _term=term,
        )

    @property
    def deadline(self) -> datetime:
        """When this attempt is cancelled unless it has ended: aware, UTC, by this machine's clock."""
        return self._term.deadline

    def remaining(self) -> float:
        """Return the seconds until then; 0 once they have passed."""
        return self._term.remaining_s

    def extend(self, seconds: float) -> float:
        """Ask for at least so many seconds from now; return how many there are.

        The attempt never lasts longer than the handler's `max_timeout` in all, and is never
        shortened. Raises ValueError unless `seconds` is a number over 0.
        """
        self._term.extend(seconds)
        return self.remaining()

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Say how far the work has come: a fraction from 0 to 1, words (200 characters at most), or both.

        It is shown with the job, the latest a few times a second, and resets the stall timeout.
        Cheap to call often; may be lost. Raises ValueError for a fraction outside of 0 to 1.
        """
        self._term.progress(fraction, message)

    def cancelled(self) -> bool:
        """Return whether this attempt is over: its time has passed, or somebody cancelled the job.

        For handlers that are not async: one that sees this has its `grace` to clean up and return,
        then its process is killed. What it returns then is not kept. An async handler gets an
        `asyncio.CancelledError`.
        """
        return self._term.over

    @property
    def logger(self) -> "JobLogger":
        """A logger whose lines name the job and the attempt; they go to the worker's log."""
        return JobLogger(logging.getLogger(f"hasty.job.{self.handler}"), self)


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Puts the job before each line, and into the record as `job_id`, `object_id`, `attempt`."""

    def __init__(self, logger: logging.Logger, job: JobContext) -> None:
        """Log for this attempt."""
        super().__init__(logger, {"job_id": job.job_id, "object_id": job.object_id, "attempt": job.attempt})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add what is known of the job."""
        known = dict(self.extra or {})
        kwargs["extra"] = {**known, **(kwargs.get("extra") or {})}
        return f"[{known['job_id']} attempt {known['attempt']}] {msg}", kwargs
