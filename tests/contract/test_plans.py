"""What `hasty.store.base.JobStore` promises of plans, rosters, and jobs whose pool is gone."""

import asyncio

from hasty.dispatch import Mark, Settle
from hasty.job import Outcome, Status
from hasty.pools import DEFAULT_POOL, Plan, PoolPlan, Roster
from tests.contract.test_waiting import a_postpone
from tests.unit.examples import NOW, a_job, after

SMALL, LARGE = PoolPlan(1, 1, 4), PoolPlan(2, 9, 4_000)


async def test_before_the_first_deployment_there_is_nothing(jobs):
    assert await jobs.plan() is None
    assert await jobs.rosters() == {}


async def test_each_deployment_is_the_plan_under_the_next_generation(jobs):
    first = await jobs.deploy({DEFAULT_POOL: SMALL, "gpu": LARGE}, "settings")
    assert first == Plan(1, {DEFAULT_POOL: SMALL, "gpu": LARGE}, "settings") == await jobs.plan()
    # One that says the same is another one: the code behind it may have changed.
    assert await jobs.deploy({DEFAULT_POOL: SMALL, "gpu": LARGE}, "settings") == first._replace(generation=2)
    second = await jobs.deploy({DEFAULT_POOL: LARGE}, "")
    assert second == Plan(3, {DEFAULT_POOL: LARGE}, "") == await jobs.plan()


async def test_of_many_who_deploy_at_once_each_has_its_generation_and_the_last_is_the_plan(jobs):
    await jobs.deploy({DEFAULT_POOL: SMALL}, "")
    plans = await asyncio.gather(*(jobs.deploy({DEFAULT_POOL: SMALL}, f"{n}") for n in range(20)))
    assert sorted(plan.generation for plan in plans) == list(range(2, 22))
    assert await jobs.plan() == max(plans, key=lambda plan: plan.generation)


async def test_rosters_are_as_they_were_written_last(jobs):
    assert await jobs.enroll({DEFAULT_POOL: Roster(2, 3, pinned_under=7), "gpu": Roster(0, 1)}, 1)
    assert await jobs.rosters() == {DEFAULT_POOL: Roster(2, 3, 7), "gpu": Roster(0, 1, 0)}
    # Under the same epoch, again and again; what is left out is gone.
    for _ in range(2):
        assert await jobs.enroll({DEFAULT_POOL: Roster(1, 3)}, 1)
        assert await jobs.rosters() == {DEFAULT_POOL: Roster(1, 3)}


async def test_an_older_epoch_enrolls_nobody_once_a_later_one_did(jobs):
    assert await jobs.enroll({DEFAULT_POOL: Roster(1, 1)}, 4)
    assert await jobs.enroll({DEFAULT_POOL: Roster(2, 2)}, 6)
    for epoch in (4, 5):
        assert not await jobs.enroll({DEFAULT_POOL: Roster(9, 9)}, epoch)
    assert await jobs.rosters() == {DEFAULT_POOL: Roster(2, 2)}


async def test_of_epochs_that_enroll_at_once_the_latest_stands(jobs):
    assert await jobs.enroll({}, 0)
    for round_ in range(20):
        epochs = range(round_ * 4, round_ * 4 + 4)
        written = await asyncio.gather(
            *(jobs.enroll({DEFAULT_POOL: Roster(epoch, epoch)}, epoch) for epoch in epochs)
        )
        assert written[-1]
        assert await jobs.rosters() == {DEFAULT_POOL: Roster(epochs[-1], epochs[-1])}


async def test_of_the_first_that_enroll_at_once_the_latest_stands(database, mongo_jobs):
    client, name = database
    for _ in range(60):
        await client[name]["meta"].delete_one({"_id": "rosters"})
        await mongo_jobs.prepare()
        epochs = (1, *[2] * 7)
        written = await asyncio.gather(
            *(mongo_jobs.enroll({DEFAULT_POOL: Roster(epoch, epoch)}, epoch) for epoch in epochs)
        )
        # No later epoch than the second wrote, and the same may write again.
        assert written[1:] == [True] * 7
        assert await mongo_jobs.rosters() == {DEFAULT_POOL: Roster(2, 2)}


async def test_the_default_pool_adopts_what_waits_for_a_pool_that_is_gone(jobs):
    """In the queue, or shown as running; what is scheduled once it is woken; nothing that has ended."""
    places = {"queued": "gone", "runs": "gone too", "scheduled": "gone", "ended": "gone", "near": "gpu"}
    await jobs.insert([a_job(name, object_id=name, pool=pool) for name, pool in places.items()])
    await jobs.insert([a_job("there", object_id="there", accepted_at=after(-1))])
    await jobs.mark([Mark("runs", "w", 1, NOW)], 1)
    await jobs.postpone([a_postpone("scheduled", after(10))], 1)
    await jobs.settle([Settle("ended", Outcome(Status.FINISHED, NOW))], 1, after(99))

    assert await jobs.adopt([DEFAULT_POOL, "gpu"]) == 2
    assert await jobs.adopt([DEFAULT_POOL, "gpu"]) == 0
    assert await ids(jobs, DEFAULT_POOL) == ["there", "queued", "runs"]
    assert await ids(jobs, "gpu") == ["near"]
    (woken,) = await jobs.wake(after(10), 9)
    assert (woken.job_id, woken.pool) == ("scheduled", "gone")
    assert await jobs.adopt([DEFAULT_POOL, "gpu"]) == 1
    assert await ids(jobs, DEFAULT_POOL) == ["there", "queued", "runs", "scheduled"]
    found = await jobs.get(places)
    assert {job_id: job.pool for job_id, job in found.items()} == dict.fromkeys(places, DEFAULT_POOL) | {
        "ended": "gone",
        "near": "gpu",
    }


async def test_what_is_to_be_left_where_it_is_is_not_adopted(jobs):
    """As what a worker of that pool still runs."""
    await jobs.insert([a_job(f"job-{n}", object_id=f"{n}", pool="gone") for n in range(2)])
    await jobs.mark([Mark("job-0", "w", 1, NOW)], 1)
    assert await jobs.adopt([DEFAULT_POOL], ["job-0", "unknown"]) == 1
    assert await ids(jobs, DEFAULT_POOL) == ["job-1"]
    assert await ids(jobs, "gone") == ["job-0"]
    assert await jobs.adopt([DEFAULT_POOL]) == 1


async def ids(jobs, pool):
    found = await jobs.sweep(pool, set(), 99)
    assert {work.pool for work in found.works} == {pool}
    return [work.job_id for work in found.works]


async def test_no_job_is_left_behind_that_is_woken_or_postponed_while_its_pool_goes(jobs):
    for round_ in range(10):
        names = [f"job-{round_}-{n:02d}" for n in range(40)]
        await jobs.insert([a_job(name, object_id=name, pool="gone") for name in names])
        await jobs.postpone([a_postpone(name, after(1)) for name in names[:20]], 1)
        await asyncio.gather(
            jobs.wake(after(1), 20),
            jobs.adopt([DEFAULT_POOL]),
            jobs.postpone([a_postpone(name, after(2)) for name in names[20:]], 1),
        )
        await jobs.wake(after(2), 20)
        # It is made again and again: what slipped by is found the next time.
        await jobs.adopt([DEFAULT_POOL])
        assert await ids(jobs, DEFAULT_POOL) == names
        await jobs.settle([Settle(name, Outcome(Status.FINISHED, NOW)) for name in names], 1, after(99))
