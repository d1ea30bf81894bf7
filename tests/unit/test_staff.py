"""How many workers pools should have: durable before anybody acts on it, and known to who comes after."""

import asyncio

import pytest

from hasty.actors.staff import Staff
from hasty.autoscale import Load
from hasty.errors import StoreUnavailable, Superseded
from hasty.pools import Plan, PoolPlan, Roster, worker_names
from hasty.store.memory import MemoryJobStore
from hasty.testing import VirtualClock
from tests.unit.examples import virtually

FIXED, ELASTIC = PoolPlan(2, 2, 10), PoolPlan(1, 4, 10)


class Store(MemoryJobStore):
    """Writes rosters in its own time, or not at all; what it was asked last it does first."""

    def __init__(self):
        super().__init__(VirtualClock(asyncio.get_running_loop()))
        self.away = False
        self.writes = []
        self._next_s = 10.0

    async def enroll(self, rosters, epoch):
        if self.away:
            raise StoreUnavailable
        self._next_s -= 1
        await asyncio.sleep(self._next_s)
        self.writes.append(dict(rosters))
        return await super().enroll(rosters, epoch)


async def a_staff(jobs=None, epoch=1, generation=1, **pools):
    """The staff of a Dispatcher that has just taken office."""
    jobs = jobs or Store()
    staff = Staff(jobs, epoch, Plan(generation, pools), await jobs.rosters())
    await staff.write()
    return staff, jobs


async def held(jobs, pool):
    return (await jobs.rosters())[pool]


def names(pool, *positions):
    return tuple(worker_names(pool, n, n + 1)[0] for n in positions)


# What is wanted ----------------------------------------------------------------------------------


@virtually
async def test_a_pool_begins_with_its_fewest_workers():
    staff, jobs = await a_staff(cpu=ELASTIC, gpu=FIXED)
    assert staff.pools == ("cpu", "gpu")
    assert (staff.wanted("cpu"), staff.others("cpu")) == (names("cpu", 0), ())
    assert (staff.wanted("gpu"), staff.others("gpu")) == (names("gpu", 0, 1), ())
    assert await jobs.rosters() == {"cpu": Roster(1, 1), "gpu": Roster(2, 2)}


@virtually
async def test_of_a_pool_that_there_is_not_nobody_is_wanted():
    staff, jobs = await a_staff(cpu=ELASTIC)
    assert (staff["gpu"], staff.wanted("gpu"), staff.others("gpu")) == (Roster(0, 0), (), ())
    await staff.resize("gpu", 3)
    assert not await staff.scale("gpu", pytest.fail, 0.0)
    assert await jobs.rosters() == {"cpu": Roster(1, 1)}
    assert len(jobs.writes) == 1


@virtually
async def test_a_pool_that_grows_does_so_in_mongodb_first():
    staff, jobs = await a_staff(cpu=ELASTIC)
    growing = asyncio.ensure_future(staff.resize("cpu", 3))
    await asyncio.sleep(1)
    assert staff.wanted("cpu") == names("cpu", 0)
    await growing
    assert staff.wanted("cpu") == names("cpu", 0, 1, 2)
    assert await held(jobs, "cpu") == Roster(3, 3, pinned_under=1)


@virtually
async def test_a_pool_that_shrinks_keeps_room_for_those_who_are_still_there():
    staff, jobs = await a_staff(cpu=ELASTIC)
    await staff.resize("cpu", 4)
    await staff.resize("cpu", 1)
    assert (staff.wanted("cpu"), staff.others("cpu")) == (names("cpu", 0), names("cpu", 1, 2, 3))
    assert await held(jobs, "cpu") == Roster(1, 4, pinned_under=1)
    # Names are given out from the first: one in the middle holds the place of those before it.
    for remaining, extent in ((names("cpu", 1, 2, 3), 4), (names("cpu", 2), 3), ((), 1)):
        await staff.release("cpu", lambda remaining=remaining: remaining)
        assert await held(jobs, "cpu") == Roster(1, extent, pinned_under=1)
        assert staff.others("cpu") == worker_names("cpu", 1, extent)


@virtually
async def test_nothing_is_written_where_nobody_is_gone():
    staff, jobs = await a_staff(cpu=ELASTIC)
    await staff.release("cpu", lambda: ())
    assert len(jobs.writes) == 1


@virtually
async def test_a_pool_that_grows_again_takes_back_those_who_were_to_leave():
    staff, jobs = await a_staff(cpu=ELASTIC)
    for size in (4, 1, 3):
        await staff.resize("cpu", size)
    assert (staff.wanted("cpu"), staff.others("cpu")) == (names("cpu", 0, 1, 2), names("cpu", 3))
    assert await held(jobs, "cpu") == Roster(3, 4, pinned_under=1)


# Several at once ---------------------------------------------------------------------------------


@virtually
async def test_of_two_pools_that_are_resized_at_once_neither_is_forgotten():
    staff, jobs = await a_staff(cpu=ELASTIC, gpu=ELASTIC)
    await asyncio.gather(staff.resize("cpu", 3), staff.resize("gpu", 4))
    assert await jobs.rosters() == {"cpu": Roster(3, 3, 1), "gpu": Roster(4, 4, 1)}
    assert (staff["cpu"].size, staff["gpu"].size) == (3, 4)


@virtually
async def test_who_is_gone_is_asked_when_nobody_is_about_to_want_it_again():
    staff, jobs = await a_staff(cpu=ELASTIC)
    await staff.resize("cpu", 4)
    await staff.resize("cpu", 1)
    asked = []

    def remaining():
        asked.append(staff["cpu"].size)
        return ()

    await asyncio.gather(staff.resize("cpu", 3), staff.release("cpu", remaining))
    assert asked == [3]
    assert await held(jobs, "cpu") == staff["cpu"] == Roster(3, 3, pinned_under=1)


@virtually
async def test_a_resize_during_a_deployment_is_of_the_new_plan():
    staff, jobs = await a_staff(cpu=ELASTIC)
    await asyncio.gather(staff.follow(Plan(2, {"cpu": ELASTIC})), staff.resize("cpu", 3))
    assert await held(jobs, "cpu") == Roster(3, 3, pinned_under=2)
    assert staff.pinned("cpu")


# What somebody said ------------------------------------------------------------------------------


@virtually
async def test_what_somebody_said_holds_for_the_next_dispatcher_also_beyond_the_bounds():
    staff, jobs = await a_staff(cpu=ELASTIC)
    await staff.resize("cpu", 7)
    assert staff.pinned("cpu")
    successor, _ = await a_staff(jobs, epoch=2, cpu=ELASTIC)
    assert (successor["cpu"], successor.pinned("cpu")) == (Roster(7, 7, pinned_under=1), True)


@pytest.mark.parametrize("there", [False, True], ids=["who was not there", "who is there"])
@virtually
async def test_what_somebody_said_ends_with_the_next_deployment_for(there):
    staff, jobs = await a_staff(cpu=ELASTIC)
    await staff.resize("cpu", 7)
    if there:
        await staff.follow(Plan(2, {"cpu": ELASTIC}))
    else:
        staff, _ = await a_staff(jobs, epoch=2, generation=2, cpu=ELASTIC)
    assert not staff.pinned("cpu")
    assert staff["cpu"] == await held(jobs, "cpu") == Roster(4, 7)


@virtually
async def test_who_says_no_number_leaves_it_to_plan_and_load():
    staff, jobs = await a_staff(cpu=ELASTIC)
    await staff.resize("cpu", 7)
    await staff.resize("cpu", None)
    assert not staff.pinned("cpu")
    assert await held(jobs, "cpu") == Roster(4, 7)


# Plans -------------------------------------------------------------------------------------------


@virtually
async def test_a_pool_is_brought_within_the_bounds_of_its_plan_and_stays_if_it_is():
    staff, _ = await a_staff(cpu=PoolPlan(3, 4, 10))
    for bounds, roster in (
        (PoolPlan(1, 8, 10), Roster(3, 3)),
        (PoolPlan(5, 8, 10), Roster(5, 5)),
        (PoolPlan(1, 2, 10), Roster(2, 5)),
    ):
        await staff.follow(Plan(staff.plan.generation + 1, {"cpu": bounds}))
        assert staff["cpu"] == roster


@virtually
async def test_nobody_acts_on_a_plan_before_it_is_known_to_be_written():
    """Jobs of a pool that seems gone would be moved, while its workers are still given them."""
    staff, _ = await a_staff(cpu=ELASTIC, gpu=FIXED)
    following = asyncio.ensure_future(staff.follow(Plan(2, {"cpu": ELASTIC, "new": FIXED})))
    await asyncio.sleep(1)
    assert (staff.plan.generation, set(staff.plan.pools)) == (1, {"cpu", "gpu"})
    assert set(staff.plan.pools) <= set(staff.pools)
    await following
    assert (staff.plan.generation, set(staff.plan.pools)) == (2, {"cpu", "new"})


@pytest.mark.parametrize("there", [False, True], ids=["who was not there", "who is there"])
@virtually
async def test_a_pool_that_left_the_plan_is_kept_until_its_workers_are_gone_by(there):
    staff, jobs = await a_staff(cpu=ELASTIC, gpu=FIXED)
    if there:
        await staff.follow(Plan(2, {"cpu": ELASTIC}))
    else:
        staff, _ = await a_staff(jobs, epoch=2, generation=2, cpu=ELASTIC)
    assert (staff.wanted("gpu"), staff.others("gpu")) == ((), names("gpu", 0, 1))
    await staff.release("gpu", lambda: names("gpu", 0))
    assert await held(jobs, "gpu") == Roster(0, 1)
    await staff.release("gpu", lambda: ())
    assert staff.pools == ("cpu",)
    assert await jobs.rosters() == {"cpu": Roster(1, 1)}


@virtually
async def test_a_pool_that_comes_back_finds_its_workers():
    staff, jobs = await a_staff(cpu=ELASTIC, gpu=FIXED)
    await staff.follow(Plan(2, {"cpu": ELASTIC}))
    await staff.follow(Plan(3, {"cpu": ELASTIC, "gpu": PoolPlan(1, 1, 10)}))
    assert (staff.wanted("gpu"), staff.others("gpu")) == (names("gpu", 0), names("gpu", 1))
    assert await held(jobs, "gpu") == Roster(1, 2)


# What can fail -----------------------------------------------------------------------------------


async def resize(staff):
    await staff.resize("cpu", 3)


async def follow(staff):
    await staff.follow(Plan(2, {"cpu": FIXED, "gpu": FIXED}))


async def release(staff):
    await staff.release("old", lambda: ())


async def grow(staff):
    for now in (0.0, 1.0):
        await staff.scale("cpu", lambda: PRESSED, now)


PRESSED = Load(workers=1, present=1, slots=10, running=10, queued=20, oldest_wait_s=2.0)

WAYS = pytest.mark.parametrize("change", [resize, follow, release, grow])


async def with_an_old_pool():
    """A staff that has something to release."""
    first, jobs = await a_staff(cpu=ELASTIC, old=FIXED)
    await first.follow(Plan(1, {"cpu": ELASTIC}))
    return first, jobs


@WAYS
@virtually
async def test_what_could_not_be_written_did_not_happen(change):
    staff, jobs = await with_an_old_pool()
    before = staff.plan, {pool: staff[pool] for pool in staff.pools}, await jobs.rosters()
    jobs.away = True
    with pytest.raises(StoreUnavailable):
        await change(staff)
    assert (staff.plan, {pool: staff[pool] for pool in staff.pools}, await jobs.rosters()) == before
    jobs.away = False
    await change(staff)
    assert {pool: staff[pool] for pool in staff.pools} == await jobs.rosters() != before[2]


@WAYS
@virtually
async def test_once_a_later_dispatcher_has_written_an_earlier_one_writes_nothing_any_more(change):
    staff, jobs = await with_an_old_pool()
    later, _ = await a_staff(jobs, epoch=2, cpu=ELASTIC)
    before = staff.plan, {pool: staff[pool] for pool in staff.pools}
    with pytest.raises(Superseded):
        await change(staff)
    assert await jobs.rosters() == {pool: later[pool] for pool in later.pools}
    assert (staff.plan, {pool: staff[pool] for pool in staff.pools}) == before


@virtually
async def test_one_that_is_superseded_at_once_learns_so_before_it_acts():
    _, jobs = await a_staff(epoch=2, cpu=ELASTIC)
    with pytest.raises(Superseded):
        await a_staff(jobs, epoch=1, cpu=FIXED)


# Growing and shrinking by load -------------------------------------------------------------------


@virtually
async def test_a_pool_grows_with_its_load_within_its_bounds():
    staff, jobs = await a_staff(cpu=ELASTIC)
    assert staff.scaling == ("cpu",)
    assert [await staff.scale("cpu", lambda: PRESSED, now) for now in (0.0, 1.0)] == [False, True]
    assert await held(jobs, "cpu") == Roster(2, 2)
    assert not staff.pinned("cpu")


@virtually
async def test_a_pool_of_one_size_is_left_alone():
    staff, _ = await a_staff(cpu=FIXED)
    assert staff.scaling == ()
    assert not await staff.scale("cpu", pytest.fail, 0.0)


@virtually
async def test_where_somebody_said_how_many_the_load_is_not_looked_at():
    staff, _ = await a_staff(cpu=ELASTIC)
    await staff.resize("cpu", 2)
    assert staff.scaling == ()
    assert not await staff.scale("cpu", pytest.fail, 0.0)
    await staff.resize("cpu", None)
    assert staff.scaling == ("cpu",)


@virtually
async def test_the_load_of_a_pool_is_not_looked_at_once_it_has_left_the_plan():
    """Nobody knows the slots of its workers any more."""
    staff, _ = await a_staff(cpu=ELASTIC, gpu=ELASTIC)
    following = asyncio.ensure_future(staff.follow(Plan(2, {"cpu": ELASTIC})))
    await asyncio.sleep(0)
    assert not await staff.scale("gpu", pytest.fail, 0.0)
    await following
    assert staff.scaling == ("cpu",)


@virtually
async def test_load_and_somebody_at_once_end_as_somebody_said():
    staff, jobs = await a_staff(cpu=ELASTIC)
    assert not await staff.scale("cpu", lambda: PRESSED, 0.0)
    await asyncio.gather(staff.resize("cpu", 3), staff.scale("cpu", lambda: PRESSED, 1.0))
    assert await held(jobs, "cpu") == staff["cpu"] == Roster(3, 3, pinned_under=1)
