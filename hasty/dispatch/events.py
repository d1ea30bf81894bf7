"""What the dispatch machine is told. Facts, in the past tense.

What workers report (`Started`, `Ended`, `Declined`, `Deferred`) is told as it came.
"""

from typing import NamedTuple

from hasty.job import Outcome, Token, Work
from hasty.messages import Declined, Deferred, Ended, Started


class Offered(NamedTuple):
    """Somebody says that these jobs are in the queue."""

    works: tuple[Work, ...]


class Swept(NamedTuple):
    """A sweep found these jobs, the first of the order that were not held."""

    works: tuple[Work, ...]
    #: Whether there was nothing behind them.
    exhausted: bool


class SweepFailed(NamedTuple):
    """A sweep got no answer."""


class Attended(NamedTuple):
    """A worker answered: this is its boot, and what it runs."""

    worker: str
    boot: int
    slots: int
    running: tuple[Work, ...]
    #: A handler that was stopped goes on in it: it gets no new jobs, and another takes its name.
    unfit: bool = False
    #: The plan that it was started under.
    generation: int = 0


class Lost(NamedTuple):
    """A worker was judged: it does not answer and is not coming back soon."""

    worker: str


class Dismissed(NamedTuple):
    """This worker was ended."""

    worker: str


class Planned(NamedTuple):
    """From now on there should be these workers, started under this plan or a later one."""

    workers: tuple[str, ...]
    generation: int


class Unanswered(NamedTuple):
    """A Send was answered, or not, and these jobs of it may still be open."""

    worker: str
    job_ids: tuple[str, ...]


class Closed(NamedTuple):
    """The ledger was told how this job ended, and no attempt told it."""

    job_id: str
    outcome: Outcome


class Settled(NamedTuple):
    """The ends of these jobs are in hasty_api."""

    job_ids: tuple[str, ...]


class Postponed(NamedTuple):
    """That these jobs wait for a later time is in hasty_api; the tokens they had been given away under."""

    jobs: tuple[tuple[str, Token], ...]


class Drained(NamedTuple):
    """Send nothing new from now on."""


class Ticked(NamedTuple):
    """Time passed."""


Event = (
    Offered
    | Swept
    | SweepFailed
    | Attended
    | Lost
    | Dismissed
    | Planned
    | Unanswered
    | Closed
    | Settled
    | Postponed
    | Drained
    | Ticked
    | Started
    | Ended
    | Declined
    | Deferred
)
