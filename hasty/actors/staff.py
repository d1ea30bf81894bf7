"""How many workers each pool should have: as the plan says, as somebody said, or as the load asks for."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from hasty.autoscale import Autoscaler, Load
from hasty.errors import Superseded
from hasty.pools import Plan, PoolPlan, Roster, worker_names
from hasty.store.base import JobStore
from hasty.telemetry import PoolResized, emit

#: The roster of a pool that there is not.
_NOBODY = Roster(0, 0)


class Staff:
    """The rosters of one epoch. What is wanted is durable before anybody acts on it.

    A Dispatcher that comes after this one must find every worker that may have jobs: so a pool's
    extent grows before its workers do, and shrinks after them.
    """

    def __init__(self, jobs: JobStore, epoch: int, plan: Plan, rosters: Mapping[str, Roster]) -> None:
        """Begin with what was written last."""
        self._jobs = jobs
        self._epoch = epoch
        self.plan = plan
        self._rosters = _fitted(plan, rosters)
        self._scalers = _scalers_of(plan)
        #: What is written next begins with what was written last.
        self._turn = asyncio.Lock()

    @property
    def pools(self) -> tuple[str, ...]:
        """Every pool that has workers, or may still have some."""
        return tuple(self._rosters)

    @property
    def scaling(self) -> tuple[str, ...]:
        """The pools that may grow and shrink by themselves."""
        return tuple(pool for pool in self._scalers if not self.pinned(pool))

    def __getitem__(self, pool: str) -> Roster:
        """Return how many workers a pool has."""
        return self._rosters.get(pool, _NOBODY)

    def pinned(self, pool: str) -> bool:
        """Whether somebody said how many workers a pool is to have."""
        return self[pool].pinned_under == self.plan.generation

    def wanted(self, pool: str) -> tuple[str, ...]:
        """Return the workers that a pool should have."""
        return worker_names(pool, 0, self[pool].size)

    def others(self, pool: str) -> tuple[str, ...]:
        """Return workers that are not wanted, and may still be there."""
        return worker_names(pool, self[pool].size, self[pool].extent)

    async def write(self) -> None:
        """Make durable what was begun with. Raises Superseded, StoreUnavailable."""
        await self._enroll(self._rosters)

    async def follow(self, plan: Plan) -> None:
        """Follow another plan. Raises Superseded, StoreUnavailable."""
        async with self._turn:
            await self._enroll(_fitted(plan, self._rosters))
            self.plan, self._scalers = plan, _scalers_of(plan)

    async def resize(self, pool: str, size: int | None) -> None:
        """Let a pool of the plan have so many workers; None: as many as its plan and its load say.

        Nothing happens to a pool that is not in the plan. Raises Superseded, StoreUnavailable.
        """
        async with self._turn:
            bounds = self.plan.pools.get(pool)
            if bounds is not None:
                pinned_under = self.plan.generation if size is not None else 0
                await self._set(pool, size or _within(self[pool].size, bounds), pinned_under)

    async def scale(self, pool: str, load: Callable[[], Load], now: float) -> bool:
        """Let a pool have as many workers as its load asks for; say whether that is another number."""
        async with self._turn:
            scaler = self._scalers.get(pool)
            if scaler is None or self.pinned(pool):
                return False
            before, wanted = self[pool].size, scaler.wanted(load(), now)
            if wanted != before:
                await self._set(pool, wanted, 0)
            return wanted != before

    async def release(self, pool: str, remaining: Callable[[], Iterable[str]]) -> None:
        """Note that of those who are not wanted only `remaining` may still be there.

        It is asked when nobody else is about to change whom this is about.
        """
        async with self._turn:
            roster, left = self[pool], set(remaining())
            extent = roster.extent
            while extent > roster.size and worker_names(pool, extent - 1, extent)[0] not in left:
                extent -= 1
            rosters = {**self._rosters, pool: roster._replace(extent=extent)}
            if extent == 0 and pool not in self.plan.pools:
                del rosters[pool]
            if rosters != self._rosters:
                await self._enroll(rosters)

    async def _set(self, pool: str, size: int, pinned_under: int) -> None:
        before = self[pool]
        roster = Roster(size, max(size, before.extent), pinned_under)
        await self._enroll({**self._rosters, pool: roster})
        if size != before.size:
            emit(PoolResized(pool, before.size, size))

    async def _enroll(self, rosters: dict[str, Roster]) -> None:
        if not await self._jobs.enroll(rosters, self._epoch):
            raise Superseded
        self._rosters = rosters


def _fitted(plan: Plan, rosters: Mapping[str, Roster]) -> dict[str, Roster]:
    """Bring rosters in line with a plan; what somebody said holds for its own plan only."""
    return {pool: _fit(plan, pool, rosters.get(pool)) for pool in {**plan.pools, **rosters}}


def _fit(plan: Plan, pool: str, roster: Roster | None) -> Roster:
    bounds = plan.pools.get(pool)
    if bounds is None:
        return Roster(0, roster.extent if roster is not None else 0)
    if roster is None:
        return Roster(bounds.min_workers, bounds.min_workers)
    if roster.pinned_under == plan.generation:
        return roster
    size = _within(roster.size, bounds)
    return Roster(size, max(size, roster.extent))


def _scalers_of(plan: Plan) -> dict[str, Autoscaler]:
    return {
        pool: Autoscaler(bounds.min_workers, bounds.max_workers)
        for pool, bounds in plan.pools.items()
        if bounds.min_workers < bounds.max_workers
    }


def _within(size: int, bounds: PoolPlan) -> int:
    return max(bounds.min_workers, min(size, bounds.max_workers))
