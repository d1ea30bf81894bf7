"""The outbox: which ended jobs are still to be told of, and what came of it each time."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

from hasty.job import Job

#: Deliveries that a job's log keeps; older ones fall out.
DELIVERIES_KEPT = 20

#: A job's record outlives its next delivery by at least this, so that it cannot be forgotten before.
KEPT_AFTER_TRY = timedelta(days=1)


class Due(NamedTuple):
    """A job whose end is to be told now, and to which host."""

    job_id: str
    host: str


class Parcel(NamedTuple):
    """A job whose end somebody is about to tell."""

    #: Without its payload.
    job: Job
    host: str
    #: How often that was tried before.
    tries: int


class Delivery(NamedTuple):
    """One try to tell how a job ended."""

    at: datetime
    #: 1 for the first.
    attempt: int
    #: What the receiver answered; None where it did not.
    status_code: int | None
    #: What went wrong, for people.
    error: str | None
    duration_s: float
    delivered: bool


class Told(NamedTuple):
    """What came of a parcel."""

    job_id: str
    #: The claim under which it was taken.
    claim: str
    delivery: Delivery
    #: When to try again; None: it is delivered, or given up.
    next_at: datetime | None = None


class DeliveryState(StrEnum):
    """How far the telling of a job's end is."""

    #: It has not ended yet.
    WAITING = "waiting"
    #: It is to be told, or is being told.
    PENDING = "pending"
    #: The receiver has it.
    DELIVERED = "delivered"
    #: It was tried often enough, or the receiver wants no more.
    GIVEN_UP = "given_up"


class DeliveryLog(NamedTuple):
    """What is known of the telling of a job's end."""

    #: None where nobody is to be told.
    state: DeliveryState | None = None
    #: The newest last.
    deliveries: tuple[Delivery, ...] = ()
    #: While it is pending, and not under way: when it is tried next.
    next_at: datetime | None = None


class Outbox(Protocol):
    """What is to be told of jobs that have a webhook.

    Nobody puts anything in: a job is in it from the write that ends it, for it is the jobs
    themselves. What leaves it was told, or given up.
    """

    async def prepare(self) -> None:
        """Create what the outbox needs (an index). Idempotent; safe beside another prepare."""
        ...

    async def due(self, now: datetime, limit: int, but_hosts: Collection[str] = ()) -> tuple[Due, ...]:
        """Return the first `limit` that are due, but for those to these hosts.

        The longest due come first; where hosts are left out, each of the others has its own first.
        """
        ...

    async def claim(
        self, job_ids: Collection[str], claim: str, now: datetime, until: datetime
    ) -> tuple[Parcel, ...]:
        """Take those of these that are still due; nobody else gets them before `until`. Durable.

        Of several who claim one at the same time one has it. `claim` must be new. When this raises,
        nobody may have them until then.
        """
        ...

    async def record(self, told: Sequence[Told]) -> None:
        """Write what came of parcels; durable when it returns, and the same again changes nothing.

        That one was delivered counts whoever says it, and however late. Anything else counts only
        from the one that has it. Its record is kept beyond the next try.
        """
        ...

    async def log(self, job_id: str) -> DeliveryLog | None:
        """Return what is known of one; None: there is no such job. Durable, never rolled back."""
        ...
