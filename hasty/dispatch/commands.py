"""What the dispatch machine wants done, in the imperative."""

from datetime import datetime
from typing import NamedTuple

from hasty.job import Json, Outcome, Token
from hasty.messages import Forward


class Send(NamedTuple):
    """Send a Run to this worker. Sending again is safe: what runs is joined."""

    worker: str
    forwards: tuple[Forward, ...]


class Sweep(NamedTuple):
    """Read the first `limit` jobs of this pool's queue that are not in `skip`."""

    pool: str
    skip: frozenset[str]
    limit: int


class Mark(NamedTuple):
    """Show in hasty_api that the job runs."""

    job_id: str
    worker: str
    attempt: int
    at: datetime


class Postpone(NamedTuple):
    """Write into hasty_api that the job waits for its next attempt. As its worker has it: see `Deferred`."""

    job_id: str
    token: Token
    attempt: int
    run_at: datetime
    error: dict[str, Json] | None


class Settle(NamedTuple):
    """Write the end of a job into hasty_api."""

    job_id: str
    outcome: Outcome


class Halt(NamedTuple):
    """Have this worker stop the handler of a job that has ended otherwise."""

    worker: str
    job_id: str
    outcome: Outcome


class Dismiss(NamedTuple):
    """End this worker for good: it has no jobs, and gets none. If it is wanted, another takes its name."""

    worker: str


Command = Send | Sweep | Mark | Postpone | Settle | Halt | Dismiss
