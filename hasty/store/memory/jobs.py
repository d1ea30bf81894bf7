"""The jobs in memory: what a store of jobs promises, in plain Python.

Each method is atomic: it never awaits in the middle.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from hasty.clock import Clock
from hasty.dispatch import Mark, Postpone, Settle
from hasty.job import Job, Status, Work
from hasty.messages import Progressed
from hasty.pools import DEFAULT_POOL, Plan, PoolPlan, Roster
from hasty.store.base import KEYS_KEPT, Attachment, Found, Keyed, Off, kept_until, settled_fields
from hasty.store.memory.changes import ChangeLog


class MemoryJobStore:
    """See `hasty.store.base.JobStore`."""

    def __init__(self, clock: Clock) -> None:
        """Start empty."""
        self._clock = clock
        self.jobs: dict[str, Job] = {}
        #: What was done to them, for who makes events of it.
        self.log = ChangeLog()
        self._runs: dict[str, dict[int, str]] = {}
        #: For each key the job that is the answer to it, and what was asked.
        self._keys: dict[str, tuple[str, str]] = {}
        self._epoch = 0
        self._holder: str | None = None
        self._lease_until = 0.0
        self._plan: Plan | None = None
        self._rosters: dict[str, Roster] = {}
        self._enrolled_under = 0

    async def prepare(self) -> None:
        """See `JobStore`."""

    async def server_time(self) -> datetime:
        """See `JobStore`."""
        return self._clock.now()

    async def newest(self, object_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        runs = {object_id: self._runs.get(object_id) for object_id in object_ids}
        return {object_id: self.jobs[held[max(held)]].in_brief() for object_id, held in runs.items() if held}

    async def standing(self, below: Mapping[str, int]) -> dict[str, Job]:
        """See `JobStore`."""
        found = {}
        for object_id, run in below.items():
            jobs = [self.jobs[job_id] for job_id in self._runs.get(object_id, {}).values()]
            counting = [job for job in jobs if job.run < run and not job.passed_over]
            if counting:
                found[object_id] = max(counting, key=lambda job: job.run).in_brief()
        return found

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        return {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs}

    async def brief(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        found = await self.get(job_ids)
        return {job_id: job.in_brief() for job_id, job in found.items()}

    async def existing(self, job_ids: Collection[str]) -> set[str]:
        """See `JobStore`."""
        return {job_id for job_id in job_ids if job_id in self.jobs}

    async def insert(self, jobs: Sequence[Job]) -> set[str]:
        """See `JobStore`."""
        return {job.job_id for job in jobs if self._insert(job)}

    def _insert(self, job: Job) -> bool:
        runs = self._runs.setdefault(job.object_id, {})
        if job.job_id in self.jobs or job.run in runs or job.idempotency_key in self._keys:
            return False
        self.jobs[job.job_id] = job
        self.log.note(self._clock.now(), None, job)
        if job.idempotency_key is not None:
            self._keys[job.idempotency_key] = job.job_id, job.fingerprint or ""
        runs[job.run] = job.job_id
        return True

    async def by_key(self, keys: Collection[str]) -> dict[str, Keyed]:
        """See `JobStore`."""
        known = {key: self._keys[key] for key in keys if key in self._keys}
        return {
            key: Keyed(job, fingerprint, made=job.idempotency_key == key)
            for key, (job_id, fingerprint) in known.items()
            if (job := self.jobs.get(job_id)) is not None
        }

    async def attach(self, attachments: Sequence[Attachment]) -> None:
        """See `JobStore`."""
        for key, fingerprint, job_id in attachments:
            held = sum(known == job_id for known, _ in self._keys.values())
            if key not in self._keys and job_id in self.jobs and held < KEYS_KEPT:
                self._keys[key] = job_id, fingerprint

    async def backlog(self, limit: int) -> int:
        """See `JobStore`."""
        live = (job for job in self.jobs.values() if job.live)
        return min(limit, sum(job.in_queue or job.waits_for_turn for job in live))

    async def extend(self, job_ids: Collection[str], until: datetime) -> set[str]:
        """See `JobStore`."""
        found = await self.get(job_ids)
        for job in found.values():
            self._change(job, expires_at=max(job.expires_at, until))
        return set(found)

    async def sweep(self, pool: str, skip: Collection[str], limit: int) -> Found:
        """See `JobStore`."""
        waiting = (job.work() for job in self.jobs.values() if job.in_queue and job.pool == pool)
        ordered = sorted((work for work in waiting if work.job_id not in skip), key=lambda work: work.order)
        return Found(tuple(ordered[:limit]), exhausted=len(ordered) <= limit)

    async def mark(self, marks: Sequence[Mark], epoch: int) -> None:
        """See `JobStore`."""
        for mark in marks:
            job = self.jobs.get(mark.job_id)
            if job is not None and job.in_queue and job.epoch <= epoch:
                self._change(
                    job,
                    status=Status.RUNNING,
                    started_at=mark.at,
                    worker=mark.worker,
                    attempt=mark.attempt,
                    give_up_at=None,
                    progress=None,
                    epoch=epoch,
                )

    async def note(self, notes: Sequence[Progressed]) -> None:
        """See `JobStore`."""
        for job_id, progress in notes:
            job = self.jobs.get(job_id)
            if job is not None and job.in_queue:
                self._change(job, progress=progress)

    async def postpone(self, postpones: Sequence[Postpone], epoch: int) -> None:
        """See `JobStore`."""
        for job_id, _, attempt, run_at, error in postpones:
            job = self.jobs.get(job_id)
            if job is not None and job.live and job.epoch <= epoch and job.attempt <= attempt:
                self._change(
                    job,
                    status=Status.SCHEDULED,
                    run_at=run_at,
                    attempt=attempt,
                    error=error,
                    give_up_at=None,
                    progress=None,
                    epoch=epoch,
                )

    async def wake(self, now: datetime, limit: int) -> tuple[Work, ...]:
        """See `JobStore`."""
        scheduled = (job for job in self.jobs.values() if job.run_at is not None and job.run_at <= now)
        due = sorted(scheduled, key=lambda job: (job.run_at, job.job_id))[:limit]
        for job in due:
            self._change(job, status=Status.QUEUED, run_at=None)
        return tuple(job.work() for job in due)

    async def waiting(self, now: datetime, limit: int) -> tuple[Job, ...]:
        """See `JobStore`."""
        due = [job for job in self.jobs.values() if job.live and job.turn_due is not None]
        ready = [job for job in due if job.turn_due is not None and job.turn_due <= now]
        return tuple(sorted(ready, key=lambda job: (job.turn_due, job.job_id))[:limit])

    async def begin(self, jobs: Sequence[Job]) -> tuple[Work, ...]:
        """See `JobStore`."""
        for job in jobs:
            if self._without_turn(job.job_id) is not None:
                self._change(job)
        found = (await self.get([job.job_id for job in jobs])).values()
        return tuple(job.work() for job in found if job.in_queue)

    async def put_off(self, offs: Sequence[Off]) -> None:
        """See `JobStore`."""
        for job_id, until, follows in offs:
            job = self._without_turn(job_id)
            if job is not None:
                self._change(job, turn_due=until, follows=follows)

    async def hasten(self, followed: Collection[str], now: datetime) -> None:
        """See `JobStore`."""
        for job in await self.waiting(datetime.max.replace(tzinfo=UTC), len(self.jobs)):
            if job.follows in followed and job.turn_due is not None and job.turn_due > now:
                self._change(job, turn_due=now)

    def _without_turn(self, job_id: str) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job is not None and job.live and job.waits_for_turn else None

    async def overdue(self, now: datetime, limit: int) -> tuple[Work, ...]:
        """See `JobStore`."""
        waiting = (job for job in self.jobs.values() if job.give_up_at is not None and job.give_up_at <= now)
        return tuple(job.work() for job in waiting)[:limit]

    async def excuse(self, job_ids: Collection[str]) -> None:
        """See `JobStore`."""
        for job in (await self.get(job_ids)).values():
            self._change(job, give_up_at=None)

    async def settle(self, settlements: Sequence[Settle], epoch: int, until: datetime) -> None:
        """See `JobStore`."""
        for job_id, outcome in settlements:
            job = self.jobs.get(job_id)
            if job is not None and job.live:
                kept = until if job.waits_for_turn else max(kept_until(outcome, until), job.expires_at)
                self._change(
                    job,
                    **settled_fields(outcome),
                    give_up_at=None,
                    run_at=None,
                    progress=None,
                    epoch=max(epoch, job.epoch),
                    expires_at=kept,
                )

    def _change(self, job: Job, **changes: object) -> None:
        changed = dataclasses.replace(job, **changes)  # type: ignore[arg-type]
        self.jobs[job.job_id] = changed
        self.log.note(self._clock.now(), job, changed)

    async def take_epoch(self, holder: str, lease_s: float) -> int | None:
        """See `JobStore`."""
        now = self._clock.monotonic()
        if self._holder != holder and now < self._lease_until:
            return None
        self._epoch += 1
        self._holder, self._lease_until = holder, now + lease_s
        return self._epoch

    async def renew_epoch(self, epoch: int, lease_s: float) -> bool:
        """See `JobStore`."""
        if epoch == self._epoch:
            self._lease_until = self._clock.monotonic() + lease_s
        return epoch == self._epoch

    async def deploy(self, pools: Mapping[str, PoolPlan], settings: str) -> Plan:
        """See `JobStore`."""
        self._plan = Plan(self._plan.generation + 1 if self._plan is not None else 1, dict(pools), settings)
        return self._plan

    async def plan(self) -> Plan | None:
        """See `JobStore`."""
        return self._plan

    async def rosters(self) -> dict[str, Roster]:
        """See `JobStore`."""
        return dict(self._rosters)

    async def enroll(self, rosters: Mapping[str, Roster], epoch: int) -> bool:
        """See `JobStore`."""
        if epoch < self._enrolled_under:
            return False
        self._rosters, self._enrolled_under = dict(rosters), epoch
        return True

    async def adopt(self, pools: Collection[str], skip: Collection[str] = ()) -> int:
        """See `JobStore`."""
        others = [job for job in self.jobs.values() if job.in_queue and job.pool not in pools]
        orphans = [job for job in others if job.job_id not in skip]
        for job in orphans:
            self._change(job, pool=DEFAULT_POOL)
        return len(orphans)

    def expire(self) -> list[str]:
        """Forget what has ended and is past its time, as MongoDB does in its own; return the ids."""
        now = self._clock.now()
        old = [job for job in self.jobs.values() if not job.live and job.expires_at <= now]
        for job in old:
            del self.jobs[job.job_id], self._runs[job.object_id][job.run]
        gone = {job.job_id for job in old}
        self._keys = {key: held for key, held in self._keys.items() if held[0] not in gone}
        return [job.job_id for job in old]
