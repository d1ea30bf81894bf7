"""One epoch in office: the state machines of all pools, and what they say is carried out."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from hasty.actors.care import Care
from hasty.actors.durable import Durable
from hasty.actors.errands import Errands
from hasty.actors.refs import Workers
from hasty.actors.rounds import Rounds
from hasty.actors.staff import Staff
from hasty.autoscale import Load
from hasty.clock import Clock
from hasty.dispatch import (
    Attended,
    Closed,
    Dismiss,
    Dismissed,
    Dispatch,
    Drained,
    Event,
    Lost,
    Offered,
    Planned,
    Postpone,
    Postponed,
    Settle,
    Settled,
    Ticked,
    Tokens,
)
from hasty.errors import StoreUnavailable, Superseded, Unreachable
from hasty.job import Work
from hasty.messages import Ended, PoolState, Report
from hasty.pools import DEFAULT_POOL, Plan, pool_of
from hasty.retry import until_answered
from hasty.store.base import JobStore, Ledger
from hasty.telemetry import PoolsMissing, WorkerDismissed, emit

#: The office is held so long without renewal, and renewed three times as often.
LEASE_S = 9.0

#: How often the machines are told that time passed, and how often it is looked how large pools are to be.
_TICK_S = 0.25
_SCALE_S = 1.0

#: How often it is looked for jobs that wait for a pool which is gone.
_ADOPT_S = 5.0


class Reign:
    """Acts until a later epoch is taken. Everything here can be rebuilt, and is by the next one."""

    def __init__(
        self,
        jobs: JobStore,
        ledger: Ledger,
        workers: Workers,
        clock: Clock,
        *,
        epoch: int,
        staff: Staff,
        settler: Durable[Settle],
        keep_s: float,
        capacity: int,
    ) -> None:
        """Nothing is done before `act`."""
        self._jobs = jobs
        self._ledger = ledger
        self._workers = workers
        self._clock = clock
        self._epoch = epoch
        self._staff = staff
        self._settler = settler
        self._capacity = capacity
        self._draining = False
        #: Whether what is heard may still be acted on.
        self._over = False
        self._duties = asyncio.TaskGroup()
        #: Who is looked after, and who is being ended: whoever is asked how it is, is started.
        self._cared_for: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[str] = set()
        self._tokens = Tokens(epoch)
        self._machines: dict[str, Dispatch] = {}
        self._care = Care(
            workers, ledger, clock, tell=self._heard, prove_office=self._prove_office, epoch=epoch
        )
        self._rounds = Rounds(jobs, ledger, clock, offer=self.offer, close=self.close, keep_s=keep_s)
        self._errands = Errands(
            jobs,
            workers,
            clock,
            epoch=epoch,
            machines=self._machines,
            tell=self._apply,
            begin=self._begin,
        )
        self._postponer = Durable(self._postpone, clock, written=self._postponed, failed=self.fail)

    # What it is told --------------------------------------------------------------------------

    def offer(self, event: Offered) -> None:
        """Take note of jobs that are in the queue; what is not taken note of is found by a sweep.

        So are those whose pool is gone, once it is known that none of its workers runs them.
        """
        by_pool: dict[str, list[Work]] = {}
        for work in event.works:
            by_pool.setdefault(work.pool, []).append(work)
        for pool, works in by_pool.items():
            self._apply(pool, Offered(tuple(works)))

    async def report(self, message: Report) -> None:
        """Take note of what happened on a worker; return when its ends and delays are durable.

        Raises StoreUnavailable when that takes long; the same report may then come again.
        """
        pool, machine = pool_of(message.worker), self._machines.get(pool_of(message.worker))
        # A predecessor that thaws declines what its successor runs under the same token: leave it that.
        heard = machine is not None and machine.boot_of(message.worker) == message.boot
        declined = message.declined if heard else ()
        settles: list[Settle] = []
        postpones: list[Postpone] = []
        # Ends come first: the start of what has ended need not be shown.
        facts: tuple[Event, ...] = (*message.ended, *message.started, *declined, *message.deferred)
        for fact in facts:
            for command in self._apply(pool, fact):
                if isinstance(command, Settle):
                    settles.append(command)
                elif isinstance(command, Postpone):
                    postpones.append(command)
        # And go first: from here on the machine holds them as ended, and asks nobody about them again.
        if settles:
            await self._settler.write(settles)
        if postpones:
            await self._postponer.write(postpones)
        if message.progressed:
            with contextlib.suppress(StoreUnavailable):
                await self._jobs.note(message.progressed)

    async def close(self, work: Work, event: Closed) -> None:
        """Settle a job that the ledger was told the end of, and have its handler stopped.

        Raises StoreUnavailable when that takes long: it goes on.
        """
        holder = next((pool for pool, m in self._machines.items() if m.knows(work.job_id)), DEFAULT_POOL)
        settles = [command for command in self._apply(holder, event) if isinstance(command, Settle)]
        await self._settler.write(settles)

    def settled(self, job_ids: Sequence[str]) -> None:
        """Hear that the ends of these jobs are durable in hasty_api."""
        self._rounds.settled(job_ids)
        for pool, machine in self._machines.items():
            if known := tuple(job_id for job_id in job_ids if machine.knows(job_id)):
                self._apply(pool, Settled(known))

    def fail(self, why: Exception) -> None:
        """End: what could not be settled is looked at again by the next reign only."""
        if not self._over:
            self._begin(self._fail, why)

    def drain(self) -> None:
        """Send nothing new from now on."""
        self._draining = True
        for pool in self._machines:
            self._apply(pool, Drained())

    # What it is asked -------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Why no jobs are sent to workers; None when they are."""
        ready = any(machine.ready for machine in self._machines.values())
        return None if ready else "waits for its workers"

    @property
    def running(self) -> int:
        """Jobs given to workers and not settled yet."""
        return sum(machine.running for machine in self._machines.values())

    @property
    def queued(self) -> int:
        """Jobs that wait in memory."""
        return sum(machine.queued for machine in self._machines.values())

    @property
    def generation(self) -> int:
        """The deployment that it follows."""
        return self._staff.plan.generation

    def pools(self) -> tuple[PoolState, ...]:
        """Say how each pool of the plan is."""
        return tuple(self._state(pool) for pool in self._staff.plan.pools if pool in self._machines)

    def _load(self, pool: str) -> Load:
        slots, wanted = self._staff.plan.pools[pool].slots, self._staff[pool].size
        return self._machines[pool].load(wanted, slots, self._clock.monotonic())

    def _state(self, pool: str) -> PoolState:
        bounds, load = self._staff.plan.pools[pool], self._load(pool)
        return PoolState(
            pool,
            bounds.min_workers,
            bounds.max_workers,
            load.workers,
            self._staff.pinned(pool),
            load.present,
            self._machines[pool].outdated,
            load.running,
            load.queued,
            round(load.oldest_wait_s, 3),
        )

    # How many workers there should be ---------------------------------------------------------

    async def resize(self, pool: str, workers: int | None) -> None:
        """Let a pool of the plan have so many workers. Raises StoreUnavailable."""
        await self._staff.resize(pool, workers)
        if pool in self._machines:
            self._plan(pool)

    async def follow(self, plan: Plan) -> None:
        """Follow another plan: workers that were started under an older one are replaced."""
        if plan.generation < self._staff.plan.generation:
            return
        await self._staff.follow(plan)
        # From here on nothing fails: half a plan would replace workers by others of the same age.
        self._workers.follow(plan)
        for pool in self._staff.pools:
            self._machine(pool)
            self._plan(pool)

    def _machine(self, pool: str) -> None:
        """Have a machine for a pool."""
        if pool not in self._machines:
            self._machines[pool] = Dispatch(
                self._tokens,
                self._staff.wanted(pool),
                self._staff.others(pool),
                generation=self._staff.plan.generation,
                pool=pool,
                capacity=self._capacity,
            )
            if self._draining:
                self._apply(pool, Drained())

    def _plan(self, pool: str) -> None:
        """Tell a pool's machine who is wanted, and look after all that may be there."""
        wanted = self._staff.wanted(pool)
        self._apply(pool, Planned(wanted, self._staff.plan.generation))
        self._look_after((*wanted, *self._machines[pool].remaining))

    def _look_after(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._cared_for and name not in self._leaving:
                self._cared_for[name] = self._begin(self._care.look_after, name)

    # The office -------------------------------------------------------------------------------

    async def act(self) -> None:
        """Look after workers and queues until the office is lost; raises Superseded then."""
        async with self._duties:
            for pool in self._staff.pools:
                self._machine(pool)
                self._look_after((*self._staff.wanted(pool), *self._machines[pool].remaining))
            for duty in (self._hold_office, self._tick, self._size, self._adopt):
                self._begin(duty)
            for round_ in self._rounds.all:
                self._begin(round_)

    def _begin(self, duty: Callable[..., Coroutine[Any, Any, None]], *about: Any) -> "asyncio.Task[None]":
        """Do it beside what else is done. Raises Unreachable once the office has ended."""
        if self._over:
            raise Unreachable("the Dispatcher's office has just ended")
        return self._duties.create_task(self._do(duty, *about))

    async def _do(self, duty: Callable[..., Coroutine[Any, Any, None]], *about: Any) -> None:
        """Do a part of the office; if it fails, the office ends at once, before anybody gives it work."""
        try:
            await duty(*about)
        except Exception:
            self._over = True
            raise

    async def _fail(self, why: Exception) -> None:
        raise why

    async def _hold_office(self) -> None:
        """Renew the lease. While MongoDB is away it runs out, but nobody else can take it either."""
        while True:
            await self._clock.sleep(LEASE_S / 3)
            with contextlib.suppress(StoreUnavailable):
                await self._prove_office()

    async def _prove_office(self) -> None:
        """Renew the lease; raises Superseded when a later epoch was taken."""
        if not await self._jobs.renew_epoch(self._epoch, LEASE_S):
            raise Superseded

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            for pool in self._machines:
                self._apply(pool, Ticked())

    async def _size(self) -> None:
        """Grow and shrink pools by their load, and note who is gone."""
        while True:
            await self._clock.sleep(_SCALE_S)
            with contextlib.suppress(StoreUnavailable):
                for pool in self._staff.scaling:
                    load = partial(self._load, pool)
                    if await self._staff.scale(pool, load, self._clock.monotonic()):
                        self._plan(pool)
                for pool in self._staff.pools:
                    await self._staff.release(pool, partial(self._remaining, pool))

    def _remaining(self, pool: str) -> tuple[str, ...]:
        """Return workers of a pool that are not wanted and may still be there."""
        machine = self._machines.get(pool)
        return machine.remaining if machine is not None else self._staff.others(pool)

    async def _adopt(self) -> None:
        """Move jobs that wait for a pool which is gone into the default one; not those that run still."""
        while True:
            gone = [m for pool, m in self._machines.items() if pool not in self._staff.plan.pools]
            if all(machine.complete for machine in gone):
                run = [job_id for machine in gone for job_id in machine.held]
                with contextlib.suppress(StoreUnavailable):
                    if moved := await self._jobs.adopt(self._staff.plan.pools, run):
                        emit(PoolsMissing(moved), level=logging.WARNING)
            await self._clock.sleep(_ADOPT_S)

    # The machines -----------------------------------------------------------------------------

    def _heard(self, event: Attended | Lost) -> None:
        pool = pool_of(event.worker)
        self._apply(pool, event)
        if isinstance(event, Attended) and event.running:
            self._begin(self._review, event.running)

    async def _review(self, running: Sequence[Work]) -> None:
        """Stop what runs and has ended: a predecessor may have died before it could."""
        job_ids = [work.job_id for work in running]
        finals = await until_answered(lambda: self._ledger.finals(job_ids), self._clock.sleep)
        for work in running:
            if work.job_id in finals:
                with contextlib.suppress(StoreUnavailable):
                    await self.close(work, Closed(work.job_id, finals[work.job_id]))

    def _apply(self, pool: str, event: Event) -> list[Settle | Postpone]:
        """Feed a pool's machine; carry out its commands. Returns what is to be written and waited for."""
        machine = self._machines.get(pool)
        if self._over or machine is None:
            return [Settle(event.job_id, event.outcome)] if isinstance(event, Ended | Closed) else []
        waited_for: list[Settle | Postpone] = []
        for command in machine.handle(event, self._clock.monotonic()):
            match command:
                case Settle() | Postpone():
                    waited_for.append(command)
                case Dismiss():
                    self._begin(self._dismiss, pool, command.worker)
                case _:
                    self._errands.run(pool, command)
        return waited_for

    async def _dismiss(self, pool: str, name: str) -> None:
        """End a worker for good. One that is still wanted is started again by being asked."""
        self._leaving.add(name)
        if (care := self._cared_for.pop(name, None)) is not None:
            care.cancel()
            self._care.forget(name)
        await until_answered(partial(self._end, name), self._clock.sleep)
        emit(WorkerDismissed(name))
        self._leaving.discard(name)
        self._apply(pool, Dismissed(name))
        if name in self._staff.wanted(pool):
            self._look_after([name])

    async def _end(self, name: str) -> None:
        """End a worker. One that was cut off may come back with that order: so the office is proved first."""
        await self._prove_office()
        await self._workers.dismiss(name)

    async def _postpone(self, postpones: Sequence[Postpone]) -> None:
        await self._jobs.postpone(postpones, self._epoch)

    def _postponed(self, postpones: Sequence[Postpone]) -> None:
        for pool, machine in self._machines.items():
            if known := tuple((each.job_id, each.token) for each in postpones if machine.knows(each.job_id)):
                self._apply(pool, Postponed(known))
