"""What the dispatch machine wants done, in the imperative."""

from datetime import datetime
from typing import NamedTuple

from hasty.job import Outcome
from hasty.messages import Forward


class Send(NamedTuple):
    """Send a Run to this worker. Sending again is safe: what runs is joined."""

    worker: str
    forwards: tuple[Forward, ...]


class Sweep(NamedTuple):
    """Read the first `limit` live jobs of the order that are not in `skip`."""

    skip: frozenset[str]
    limit: int


class Mark(NamedTuple):
    """Show in hasty_api that the job runs."""

    job_id: str
    worker: str
    attempt: int
    at: datetime


class Settle(NamedTuple):
    """Write the end of a job into hasty_api."""

    job_id: str
    outcome: Outcome


class Replace(NamedTuple):
    """Kill the process of this worker, so that it gets another: it has no jobs, and is to have none."""

    worker: str


Command = Send | Sweep | Mark | Settle | Replace
