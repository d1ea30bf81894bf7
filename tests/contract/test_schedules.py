"""What `hasty.store.base.ScheduleStore` promises, of both stores; and a Timetable on the real one."""

import asyncio
import dataclasses
import itertools
from datetime import timedelta

import pytest

from hasty.actors.registry import Registry
from hasty.actors.timetable import Timetable
from hasty.clock import SystemClock
from hasty.errors import StoreUnavailable
from hasty.schedule import Cron, Fired, FiringOutcome, Interval, Missed, Schedule
from hasty.store.memory import MemoryScheduleStore
from hasty.store.mongo import MongoJobStore, MongoScheduleStore
from hasty.store.mongo.connection import connect
from tests.contract.test_two_registries import NoDispatcher
from tests.unit.examples import NOW, a_request, after

#: Payloads so heavy that not many are read at once.
HEAVY = "x" * 250_000


@pytest.fixture
async def mongo_schedules(database):
    store = MongoScheduleStore(*database)
    await store.prepare()
    return store


@pytest.fixture(params=["memory", "mongo"])
def schedules(request):
    if request.param == "memory":
        return MemoryScheduleStore()
    return request.getfixturevalue("mongo_schedules")


def a_schedule(name="tick", **changes) -> Schedule:
    fields = {
        "name": name,
        "uid": f"uid-of-{name}",
        "timing": Interval(10_000, NOW),
        "job": {"object_id": "x"},
        "created_at": NOW,
        "fingerprint": "f",
    }
    return Schedule(**(fields | changes)).begun()


WHOLE = a_schedule(
    "whole",
    timing=Cron("0 2 * * MON", "Europe/Berlin"),
    missed=Missed.ONCE,
    job={"object_id": "x", "payload": {"$a.b": [1, 1.0, True, None, 2**70, "é"]}, "labels": {"a/b": "c=d"}},
    idempotency_key="key",
)


async def test_a_schedule_is_kept_as_it_is(schedules):
    decided = a_schedule("decided").decided(after(10), "job-1")
    error = {"code": "rerun_window", "message": "no"}
    each = [
        WHOLE,
        a_schedule("paused", paused=True),
        decided,
        dataclasses.replace(decided.stopped(), name="stopped"),
        dataclasses.replace(
            decided.noted(Fired(after(10), FiringOutcome.REFUSED, "job-2", error)), name="noted"
        ),
        dataclasses.replace(a_schedule().decided(after(500), "-"), name="missed"),
    ]
    for schedule in each:
        assert await schedules.create(schedule) == schedule
        found = await schedules.find(schedule.name)
        assert found == schedule
        assert repr(found.job) == repr(schedule.job)
    assert await schedules.find("nobody") is None
    assert await schedules.count() == len(each)


async def test_a_name_and_a_key_belong_to_one_schedule(schedules):
    first = a_schedule("first", idempotency_key="k")
    second = a_schedule("second", idempotency_key="l")
    for schedule in (first, second):
        assert await schedules.known(schedule) is None
        assert await schedules.create(schedule) == schedule
        assert await schedules.known(schedule) == schedule
    of_the_name = a_schedule("first", uid="other")
    of_the_key = a_schedule("third", uid="other", idempotency_key="k")
    # Of two, the key's.
    of_both = a_schedule("first", uid="other", idempotency_key="l")
    for schedule, taken in [(of_the_name, first), (of_the_key, first), (of_both, second)]:
        assert await schedules.known(schedule) == taken
        assert await schedules.create(schedule) == taken
    assert await schedules.count() == 2
    # Those without a key are not kept apart by it.
    assert (await schedules.create(a_schedule("fourth"))).name == "fourth"
    assert (await schedules.create(a_schedule("fifth"))).name == "fifth"


async def test_of_many_who_create_a_schedule_at_once_one_does(schedules):
    several = [a_schedule(uid=f"uid-{n}", idempotency_key=f"{n % 3}") for n in range(20)]
    created = await asyncio.gather(*(schedules.create(schedule) for schedule in several))
    assert all(schedule == created[0] for schedule in [*created, await schedules.find("tick")])


async def test_it_is_deleted_once(schedules):
    await schedules.create(WHOLE)
    assert await schedules.delete("whole")
    assert not await schedules.delete("whole")
    assert await schedules.find("whole") is None
    # Its name and its key are free again.
    assert await schedules.create(WHOLE) == WHOLE


async def test_a_page_shows_the_next_names_in_their_order(schedules):
    names = ["a", "a-b", "a_b", "ab", "b", "b0"]
    for name in reversed(names):
        await schedules.create(a_schedule(name))
    assert await page(schedules, "", 99) == (sorted(names), False)
    assert await page(schedules, "", 6) == (sorted(names), False)
    assert await page(schedules, "", 2) == (sorted(names)[:2], True)
    assert await page(schedules, sorted(names)[1], 2) == (sorted(names)[2:4], True)
    assert await page(schedules, "a_a", 99) == ([name for name in sorted(names) if name > "a_a"], False)
    assert await page(schedules, "z", 5) == ([], False)


async def page(schedules, after_, limit):
    listed = await schedules.page(after_, limit)
    return [schedule.name for schedule in listed.schedules], listed.more


async def test_due_is_what_has_something_ahead_whose_time_has_come(schedules):
    await schedules.create(a_schedule("at-10"))
    await schedules.create(a_schedule("at-5", timing=Interval(5_000, NOW)))
    await schedules.create(a_schedule("paused", paused=True))
    under_way = a_schedule("under-way", timing=Interval(7_000, NOW)).decided(after(7), "job").stopped()
    await schedules.create(under_way)
    assert await due(schedules, 4.999) == []
    assert await due(schedules, 5) == ["at-5"]
    assert await due(schedules, 10) == ["at-5", "under-way", "at-10"]
    assert await due(schedules, 10, limit=2) == ["at-5", "under-way"]
    assert await due(schedules, 10, skip={"at-5", "gone"}) == ["under-way", "at-10"]
    (whole, *_) = await schedules.due(after(10), 1, {"at-5"})
    assert whole == under_way


async def due(schedules, seconds, limit=99, skip=()):
    return [schedule.name for schedule in await schedules.due(after(seconds), limit, set(skip))]


async def test_a_change_takes_the_place_of_the_version_before_and_of_no_other(schedules):
    schedule = a_schedule()
    await schedules.create(schedule)
    decided, other = schedule.decided(after(10), "job-1"), schedule.decided(after(10), "job-2")
    assert await schedules.advance([decided]) == 1
    for late in (decided, other, schedule.stopped()):
        assert await schedules.advance([late]) == 0
    assert await schedules.find("tick") == decided
    noted = decided.noted(Fired(after(10), FiringOutcome.ACCEPTED, "job-1"))
    # Not two versions ahead, either.
    assert await schedules.advance([noted.stopped()]) == 0
    assert await schedules.advance([noted]) == 1
    assert await schedules.find("tick") == noted
    for changed in (noted.stopped(), noted.stopped().resumed(after(33))):
        assert await schedules.advance([changed]) == 1
        assert await schedules.find("tick") == changed


async def test_a_change_is_for_no_other_schedule_of_its_name(schedules):
    schedule = a_schedule()
    await schedules.create(schedule)
    await schedules.delete("tick")
    another = a_schedule(uid="another")
    await schedules.create(another)
    assert await schedules.advance([schedule.decided(after(10), "job-1"), schedule.stopped()]) == 0
    assert await schedules.find("tick") == another
    await schedules.delete("tick")
    # Nor does it make one.
    assert await schedules.advance([another.stopped()]) == 0
    assert await schedules.count() == 0


async def test_of_many_changes_each_stands_for_itself(schedules):
    several = [a_schedule(f"s{n:02d}") for n in range(30)]
    for schedule in several:
        await schedules.create(schedule)
    changed = [schedule.decided(after(10), f"job-of-{schedule.name}") for schedule in several]
    await schedules.delete("s03")
    await schedules.advance([several[7].stopped()])
    assert await schedules.advance(changed) == 28
    assert await schedules.advance([]) == 0
    assert await schedules.find("s07") == several[7].stopped()
    assert await schedules.find("s08") == changed[8]


async def test_of_two_who_change_it_at_once_one_does(schedules):
    schedule = a_schedule()
    await schedules.create(schedule)
    for _ in range(20):
        now = schedule.next_at
        changes = [schedule.decided(now, f"job-{n}") for n in range(8)]
        won = await asyncio.gather(*(schedules.advance([changed]) for changed in changes))
        assert sorted(won) == [0] * 7 + [1]
        decided = await schedules.find("tick")
        assert decided == changes[won.index(1)]
        schedule = decided.noted(Fired(now, FiringOutcome.ACCEPTED))
        assert await schedules.advance([schedule]) == 1


async def test_only_as_many_are_read_at_once_as_memory_bears(mongo_schedules):
    for n in range(80):
        await mongo_schedules.create(a_schedule(f"s{n:02d}", job={"object_id": "x", "payload": HEAVY}))
    listed = await mongo_schedules.page("", 80)
    assert listed.more
    assert 60 < len(listed.schedules) < 80
    found, skip = await mongo_schedules.due(after(10), 80, set()), set()
    assert len(found) == len(listed.schedules)
    skip = {schedule.name for schedule in found}
    others = await mongo_schedules.due(after(10), 80, skip)
    assert skip | {schedule.name for schedule in others} == {f"s{n:02d}" for n in range(80)}


async def test_due_reads_no_more_than_what_is_due(database, mongo_schedules):
    client, name = database
    await client[name]["schedules"].insert_many(
        {"_id": f"x{n}", "due_at": after(1_000 + n), "key": f"{n}"} for n in range(500)
    )
    await mongo_schedules.create(a_schedule())
    told = await client[name].command(
        "explain",
        {
            "find": "schedules",
            "filter": {"due_at": {"$lte": after(10)}},
            "sort": {"due_at": 1},
            "hint": "due",
        },
    )
    assert told["executionStats"]["totalDocsExamined"] == 1


async def test_prepare_may_be_made_again_and_beside_another(database):
    await asyncio.gather(*(MongoScheduleStore(*database).prepare() for _ in range(4)))


async def test_a_store_that_gives_no_answer_says_so(mongo_uri):
    async with connect(mongo_uri) as client:
        store = MongoScheduleStore(client)
        # The driver refuses then whatever it is asked.
        await client.close()
        asked = [
            store.prepare(),
            store.create(WHOLE),
            store.known(WHOLE),
            store.count(),
            store.find("x"),
            store.page("", 1),
            store.due(NOW, 1, ()),
            store.advance([WHOLE]),
            store.delete("x"),
        ]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, StoreUnavailable)


# Timetables on a real MongoDB ------------------------------------------------------------------


def compose(schedule, job_id):
    return a_request(job_id, object_id=schedule.name)


async def ended(*tasks):
    """Cancel them until they have ended: the driver may swallow that, as Python's own wait_for does."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)


async def test_two_timetables_admit_each_firing_once(database):
    """And a third, which is killed again and again. Each schedule has one firing within the last hour."""
    client, name = database
    # Nobody prepared it.
    mongo_schedules = MongoScheduleStore(client, name)
    clock, ids = SystemClock(), itertools.count(1)
    jobs = MongoJobStore(client, name)
    names = [f"s{n:03d}" for n in range(300)]
    begun = clock.now() - timedelta(seconds=3_601)
    # However late it is by now, it is made up for.
    timing = {"timing": Interval(3_600_000, begun), "created_at": begun, "missed": Missed.ONCE}
    schedules = [a_schedule(each, uid=each, **timing) for each in names]
    await asyncio.gather(*(mongo_schedules.create(schedule) for schedule in schedules))

    def timetable():
        registry = Registry(jobs, NoDispatcher(), clock)
        return Timetable(mongo_schedules, registry, clock, compose=compose, mint=lambda: f"job-{next(ids)}")

    lasting = [asyncio.ensure_future(timetable().serve()) for _ in range(2)]
    for n in range(10):
        killed = asyncio.ensure_future(timetable().serve())
        await asyncio.sleep(0.01 * n)
        await ended(killed)
    # Whatever they have under way, this one brings to its end, beside them.
    await timetable().go_round()
    await ended(*lasting)
    found = [await mongo_schedules.find(each) for each in names]
    outcomes = {schedule.last.outcome for schedule in found if schedule.last is not None}
    assert outcomes == {FiringOutcome.ACCEPTED}
    assert await client[name]["jobs"].count_documents({}) == len(names)
    kept = await jobs.get([schedule.last.job_id for schedule in found])
    assert {job.object_id for job in kept.values()} == set(names)
