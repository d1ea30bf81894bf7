"""What the dispatch machine is told. Facts, in the past tense.

What workers report (`Started`, `Ended`, `Declined`) is told as it came.
"""

from typing import NamedTuple

from hasty.job import Work
from hasty.messages import Declined, Ended, Started


class Offered(NamedTuple):
    """Somebody says that these jobs were admitted."""

    works: tuple[Work, ...]


class Swept(NamedTuple):
    """A sweep found these live jobs, the first of the order that were not held."""

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
    #: Its process is to be replaced once it has no jobs; until then it gets no new ones.
    leaving: bool = False


class Lost(NamedTuple):
    """A worker was judged: it does not answer and is not coming back soon."""

    worker: str


class Unanswered(NamedTuple):
    """A Send was answered, or not, and these jobs of it may still be open."""

    worker: str
    job_ids: tuple[str, ...]


class Settled(NamedTuple):
    """The ends of these jobs are in hasty_api."""

    job_ids: tuple[str, ...]


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
    | Unanswered
    | Settled
    | Drained
    | Ticked
    | Started
    | Ended
    | Declined
)
