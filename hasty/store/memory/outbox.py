"""The outbox in memory: beside the jobs in memory, which do not know of it.

Each method is atomic: it never awaits in the middle.
"""

import dataclasses
from collections.abc import Collection, Sequence
from datetime import datetime

from hasty.job import Job
from hasty.outgoing.urls import host_of
from hasty.store.base import (
    DELIVERIES_KEPT,
    KEPT_AFTER_TRY,
    Delivery,
    DeliveryLog,
    DeliveryState,
    Due,
    Parcel,
    Told,
)
from hasty.store.memory.jobs import MemoryJobStore


@dataclasses.dataclass
class _Hook:
    """What the outbox knows of a job."""

    host: str
    #: When it is due, once it has ended; None: it is told, or given up.
    at: datetime | None
    #: Who has it.
    claim: str | None = None
    tries: int = 0
    deliveries: tuple[Delivery, ...] = ()


class MemoryOutbox:
    """See `hasty.store.base.Outbox`."""

    def __init__(self, jobs: MemoryJobStore) -> None:
        """Tell of these jobs."""
        self._jobs = jobs
        self._hooks: dict[str, _Hook] = {}

    async def prepare(self) -> None:
        """See `Outbox`."""

    async def due(self, now: datetime, limit: int, but_hosts: Collection[str] = ()) -> tuple[Due, ...]:
        """See `Outbox`."""
        self._forget()
        found = [
            (hook.at, job.job_id, hook.host)
            for job, hook in self._ended()
            if hook.at is not None and hook.at <= now and hook.host not in but_hosts
        ]
        return tuple(Due(job_id, host) for _, job_id, host in sorted(found)[:limit])

    async def claim(
        self, job_ids: Collection[str], claim: str, now: datetime, until: datetime
    ) -> tuple[Parcel, ...]:
        """See `Outbox`."""
        parcels = []
        for job, hook in self._ended():
            if job.job_id in job_ids and hook.at is not None and hook.at <= now:
                hook.at, hook.claim = until, claim
                parcels.append(Parcel(dataclasses.replace(job, payload=None), hook.host, hook.tries))
        return tuple(parcels)

    async def record(self, told: Sequence[Told]) -> None:
        """See `Outbox`."""
        for each in told:
            job = self._jobs.jobs.get(each.job_id)
            if job is not None:
                self._record(job, self._hook(job), each)

    def _record(self, job: Job, hook: _Hook, told: Told) -> None:
        if told.delivery.delivered:
            counts = not any(delivery.delivered for delivery in hook.deliveries)
        else:
            counts = hook.claim == told.claim
        if not counts:
            return
        hook.at, hook.claim, hook.tries = told.next_at, None, hook.tries + 1
        hook.deliveries = (*hook.deliveries, told.delivery)[-DELIVERIES_KEPT:]
        if told.next_at is not None:
            expires_at = max(job.expires_at, told.next_at + KEPT_AFTER_TRY)
            self._jobs.jobs[job.job_id] = dataclasses.replace(job, expires_at=expires_at)

    async def log(self, job_id: str) -> DeliveryLog | None:
        """See `Outbox`."""
        job = self._jobs.jobs.get(job_id)
        if job is None:
            return None
        if job.webhook is None:
            return DeliveryLog()
        hook = self._hook(job)
        waits = hook.at if not job.live and hook.claim is None else None
        return DeliveryLog(_state_of(job, hook), hook.deliveries, waits)

    def _ended(self) -> list[tuple[Job, _Hook]]:
        return [(job, self._hook(job)) for job in self._jobs.jobs.values() if job.webhook and not job.live]

    def _hook(self, job: Job) -> _Hook:
        return self._hooks.setdefault(job.job_id, _Hook(host_of(job.webhook or ""), job.accepted_at))

    def _forget(self) -> None:
        for job_id in self._hooks.keys() - self._jobs.jobs.keys():
            del self._hooks[job_id]


def _state_of(job: Job, hook: _Hook) -> DeliveryState:
    if job.live:
        return DeliveryState.WAITING
    if hook.at is not None:
        return DeliveryState.PENDING
    delivered = any(delivery.delivered for delivery in hook.deliveries)
    return DeliveryState.DELIVERED if delivered else DeliveryState.GIVEN_UP
