"""What `hasty.store.base.EventStore` promises; and a Herald on it tells each change once, whatever dies."""

import asyncio
import contextlib
import itertools
from datetime import timedelta
from typing import NamedTuple

import pytest
from pymongo import AsyncMongoClient

from hasty.actors.herald import Herald
from hasty.api.hub import _TOGETHER
from hasty.clock import SystemClock
from hasty.dispatch import Mark, Postpone, Settle
from hasty.errors import HistoryLost, Superseded
from hasty.job import Outcome, Progress, Status
from hasty.messages import Event, EventType, Follow, Progressed
from hasty.store.base import LEAP, EventStore, JobStore, Position, Wanted
from hasty.store.memory import MemoryEventStore, MemoryJobStore
from hasty.store.mongo import MongoEventStore
from tests.contract.test_job_store import NOW, a_job

KEEP_S = 3_600.0

SOON_S = 60.0

STEP = timedelta(seconds=1)

ALL = Wanted()

MANY = 10_000


class Stores(NamedTuple):
    """Jobs, the events made of them, and how the second is built."""

    jobs: JobStore
    events: EventStore
    #: The database and its name; None in memory.
    database: tuple[AsyncMongoClient, str] | None = None


@pytest.fixture
async def memory():
    clock = SystemClock()
    jobs = MemoryJobStore(clock)
    stores = Stores(jobs, MemoryEventStore(jobs, clock))
    await stores.events.prepare(KEEP_S)
    return stores


@pytest.fixture
async def mongo(mongo_jobs, database):
    stores = Stores(mongo_jobs, MongoEventStore(*database), database)
    await stores.events.prepare(KEEP_S)
    return stores


@pytest.fixture(params=["memory", "mongo"])
def stores(request):
    return request.getfixturevalue(request.param)


@contextlib.asynccontextmanager
async def reading(events, token):
    reader = events.reader(token)
    try:
        yield reader
    finally:
        await reader.close()


async def changes(events, token, count):
    """Read so many changes, and see that there are no more."""
    found = []
    async with reading(events, token) as reader:
        async with asyncio.timeout(SOON_S):
            while len(found) < count:
                found += (await reader.read(1.0)).changes
        found += (await reader.read(0.1)).changes
    assert len(found) == count
    return found


def outcome(status=Status.FINISHED, attempt=1, error=None):
    return Outcome(status, NOW + 30 * STEP, {"n": 1}, error, attempt, NOW, "w")


async def live_through_all(jobs, job_id="job-1"):
    """Do with a job all that can be done, and return the types of what is told of it."""
    await jobs.insert([a_job(job_id, object_id=f"o-{job_id}", payload="x" * 1000)])
    await jobs.mark([Mark(job_id, "w", 1, NOW)], 1)
    await jobs.note([Progressed(job_id, Progress(NOW, 0.5, "half"))])
    await jobs.note([Progressed(job_id, Progress(NOW + STEP, 0.7, None))])
    await jobs.postpone([Postpone(job_id, (1, 1), 1, NOW + STEP, {"type": "E"})], 1)
    # All that are due: of many jobs at once others may come first.
    await jobs.wake(NOW + 2 * STEP, 100)
    await jobs.mark([Mark(job_id, "w", 2, NOW + 2 * STEP)], 1)
    # After a crash: it runs, in another attempt.
    await jobs.mark([Mark(job_id, "w", 3, NOW + 3 * STEP)], 1)
    await jobs.extend([job_id], NOW + timedelta(days=9))
    await jobs.settle([Settle(job_id, outcome(Status.FAILED, 3, {"type": "E", "message": "no"}))], 1, NOW)
    await jobs.settle([Settle(job_id, outcome(attempt=3))], 1, NOW)
    return TOLD


TOLD = [
    ("job.queued", None),
    ("job.running", 1),
    ("job.progress", None),
    ("job.progress", None),
    ("job.scheduled", None),
    ("job.queued", None),
    ("job.running", 2),
    ("job.running", 3),
    ("job.failed", None),
]


# The log -------------------------------------------------------------------------------------


async def test_all_that_shows_is_read_in_the_order_in_which_it_happened(stores):
    jobs, events, _ = stores
    start = await events.position()
    await live_through_all(jobs)
    found = await changes(events, start.token, len(TOLD))
    assert [(change.type, change.attempt) for change in found] == TOLD
    assert {change.job_id for change in found} == {"job-1"}
    assert [change.at for change in found] == sorted(change.at for change in found)
    first, *later = found
    assert (first.object_id, first.handler) == ("o-job-1", "sleep")
    assert {(change.object_id, change.handler) for change in later} == {(None, None)}
    assert [change.progress for change in found if change.progress] == [
        Progress(NOW, 0.5, "half"),
        Progress(NOW + STEP, 0.7, None),
    ]
    assert [change.error for change in found if change.error] == [
        {"type": "E"},
        {"type": "E", "message": "no"},
    ]
    assert [change.status for change in found] == [
        Status.RUNNING if kind == "job.progress" else Status(kind.removeprefix("job.")) for kind, _ in TOLD
    ]


async def test_an_attempt_that_fails_without_having_been_shown_is_told_as_what_it_leads_to(stores):
    jobs, events, _ = stores
    start = await events.position()
    await jobs.insert([a_job()])
    await jobs.postpone([Postpone("job-1", (1, 1), 1, NOW + STEP, {"type": "E"})], 1)
    await jobs.postpone([Postpone("job-1", (1, 2), 2, NOW + 2 * STEP, {"type": "F"})], 1)
    found = await changes(events, start.token, 3)
    assert [(c.type, c.status, c.attempt) for c in found[1:]] == [
        (EventType.SCHEDULED, Status.SCHEDULED, 1),
        (EventType.SCHEDULED, Status.SCHEDULED, 2),
    ]


async def test_a_later_reader_goes_on_where_a_token_says(stores):
    jobs, events, _ = stores
    start = await events.position()
    await live_through_all(jobs)
    async with reading(events, start.token) as reader:
        first = await reader.read(1.0)
        tokens = [(first.token, len(first.changes))]
        while tokens[-1][1] < len(TOLD):
            more = await reader.read(1.0)
            tokens.append((more.token, tokens[-1][1] + len(more.changes)))
    await jobs.insert([a_job("job-2", object_id="other")])
    for token, count in tokens:
        rest = await changes(events, token, len(TOLD) + 1 - count)
        assert rest[-1].job_id == "job-2"


async def test_where_nothing_happens_the_reader_returns_in_time_and_later_reads_on(stores):
    jobs, events, _ = stores
    async with reading(events, (await events.position()).token) as reader:
        asked_at = asyncio.get_running_loop().time()
        assert not (await reader.read(0.3)).changes
        assert 0.2 < asyncio.get_running_loop().time() - asked_at < 20.0
        waiting = asyncio.ensure_future(reader.read(SOON_S))
        await asyncio.sleep(0)
        await jobs.insert([a_job()])
        assert [change.job_id for change in (await waiting).changes] == ["job-1"]


async def test_what_was_lost_is_said_to_be_lost(stores):
    jobs, events, database = stores
    start = await events.position()
    await jobs.insert([a_job()])
    if database is None:
        jobs.log.lose()
        tokens = [start.token]
    else:
        # Of another database, or damaged.
        tokens = ["82", "zz", "", f"9{start.token[1:]}", start.token[:-4]]
    for token in tokens:
        async with reading(events, token) as reader:
            with pytest.raises(HistoryLost):
                await reader.read(0.5)


async def to_the_end(reader):
    while (await reader.read(5.0)) is not None:
        pass


async def test_a_collection_that_was_dropped_is_lost_history(mongo):
    client, name = mongo.database
    start = await mongo.events.position()
    await mongo.jobs.insert([a_job()])
    async with reading(mongo.events, start.token) as reader:
        assert (await reader.read(SOON_S)).changes
        await client[name]["jobs"].drop()
        with pytest.raises(HistoryLost):
            await to_the_end(reader)


# Keeping -------------------------------------------------------------------------------------


def some(start, count, **fields):
    return [
        Event(
            start.seq + n,
            EventType.FINISHED,
            start.at,
            **(
                {
                    "job_id": f"job-{n % 3}",
                    "object_id": f"o-{n % 2}",
                    "handler": "sleep",
                    "status": Status.FINISHED,
                    "attempt": 1,
                }
                | fields
            ),
        )
        for n in range(1, count + 1)
    ]


async def kept(events, after=0, until=MANY, wanted=ALL):
    return list((await events.page(after, until, wanted, MANY)).events)


async def test_events_come_back_as_they_were_added(stores):
    _, events, _ = stores
    start = await events.position()
    assert start.seq == 0
    added = [
        Event(1, EventType.QUEUED, start.at, "j", "o", "h", Status.QUEUED),
        Event(2, EventType.PROGRESS, start.at, "j", "o", "h", Status.RUNNING, 2, Progress(NOW, 0.25, "ü")),
        Event(
            3, EventType.FAILED, start.at, "j", "o", "h", Status.FAILED, 3, None, {"type": "E", "$a.b": [1]}
        ),
        Event(4, EventType.GAP, start.at),
    ]
    await events.add(added, "token")
    assert await kept(events) == added
    assert await events.position() == Position(4, start.at, "token")


async def test_what_is_added_again_counts_as_kept_and_another_event_does_not(stores):
    _, events, _ = stores
    start = await events.position()
    added = some(start, 6)
    await events.add(added[:4], "four")
    await events.add(added[1:6], "six")
    await events.add(added, "six")
    assert await kept(events) == added
    assert await events.position() == Position(6, start.at, "six")
    for other in (
        added[5]._replace(job_id="another"),
        added[5]._replace(type=EventType.FAILED),
        added[5]._replace(at=start.at + STEP),
        Event(6, EventType.GAP, start.at),
    ):
        with pytest.raises(Superseded):
            await events.add([*added[3:5], other, *some(start, 9)[6:]], "nine")
        assert (await events.position()).token == "six"
    # What may depend on who tells it does not make it another.
    await events.add([added[5]._replace(attempt=2, object_id="", handler="")], "seven")
    assert await kept(events) == added


async def test_the_first_of_all_decide_on_one_beginning(stores):
    jobs, events, database = stores
    others = [MongoEventStore(*database) for _ in range(5)] if database else []
    positions = await asyncio.gather(*(each.position() for each in (events, *others)))
    await jobs.insert([a_job()])
    positions.append(await events.position())
    assert len(set(positions)) == 1
    assert await changes(events, positions[0].token, 1)


async def test_a_cut_off_batch_is_gone_through_again(mongo):
    client, name = mongo.database
    start = await mongo.events.position()
    added = some(start, 8)
    await mongo.events.add(added[:3], "three")
    await mongo.events.add(added[3:], "eight")
    for cut in (8, 7, 6, 5, 4):
        await client[name]["events"].delete_one({"_id": cut})
        assert await mongo.events.position() == Position(3, start.at, "three")
    await mongo.events.add(added[3:5], "five")
    assert (await mongo.events.position()).token == "five"


async def test_a_position_outlives_its_events_and_never_goes_back(stores):
    _, events, database = stores
    start = await events.position()
    await events.add(some(start, 3), "three")
    await events.keep(Position(3, start.at, "three, later"))
    assert (await events.position()).token == "three, later"
    await events.keep(Position(2, start.at, "two"))
    assert await events.position() == Position(3, start.at, "three, later")
    await events.add(some(start, 5)[3:], "five")
    assert (await events.position()).token == "five"
    if database is None:
        events.events.clear()
        events._tokens.clear()
    else:
        await database[0][database[1]]["events"].delete_many({})
    assert await events.position() == Position(3, start.at, "three, later")


async def test_pages_hold_what_is_asked_for_and_say_how_far_they_reach(stores):
    _, events, _ = stores
    added = some(await events.position(), 20)
    added[9] = Event(10, EventType.GAP, added[9].at)
    await events.add(added, "end")

    def wanted(**fields):
        return [event for event in added if Wanted(**fields).includes(event)]

    assert await events.page(0, 20, ALL, 7) == (tuple(added[:7]), 7, 1)
    assert await events.page(7, 11, ALL, 7) == (tuple(added[7:11]), 11, 1)
    for fields in (
        {"job_id": "job-1"},
        {"object_id": "o-1"},
        {"handler": "sleep"},
        {"handler": "other"},
        {"job_id": "job-1", "object_id": "o-0"},
    ):
        assert await kept(events, wanted=Wanted(**fields)) == wanted(**fields)
        assert added[9] in wanted(**fields)
        first = await events.page(3, 20, Wanted(**fields), 2)
        assert list(first.events) == [event for event in wanted(**fields) if event.seq > 3][:2]
        assert first.until == (first.events[-1].seq if len(first.events) == 2 else 20)


async def test_the_beginnings_of_several_jobs_are_read_together(stores):
    _, events, _ = stores
    added = some(await events.position(), 20)
    added[9] = Event(10, EventType.GAP, added[9].at)
    await events.add(added, "end")
    of_two = [event for event in added if event.job_id in {"job-1", "job-2", None}]
    assert await events.beginnings(["job-1", "job-2", "none"], 20, 100) == (tuple(of_two), 20, 1)
    assert await events.beginnings(["job-1", "job-2"], 11, 100) == (
        tuple(event for event in of_two if event.seq <= 11),
        11,
        1,
    )
    assert await events.beginnings(["job-1", "job-2"], 20, 3) == (tuple(of_two[:3]), of_two[2].seq, 1)


async def test_as_many_beginnings_as_are_read_together_are_merged_and_not_sorted(mongo):
    """The database merges some scans, but not any number; what it sorts it reads whole first."""
    await mongo.events.add(some(await mongo.events.position(), 20), "end")
    told = []
    for wanted in (_TOGETHER, 1_000):
        told += await sorting(mongo, mongo.events.beginnings([f"job-{n}" for n in range(wanted)], 20, 100))
    assert told == [False, True]


async def sorting(mongo, work):
    """Whether the server sorted what it was asked for first."""
    client, name = mongo.database
    await client[name].command("profile", 2)
    await work
    await client[name].command("profile", 0)
    (first, *_) = (
        await client[name]["system.profile"]
        .find({"ns": f"{name}.events", "op": "query"}, sort={"$natural": 1})
        .to_list()
    )
    await client[name]["system.profile"].drop()
    return [first.get("hasSortStage", False)]


async def test_pages_of_little_look_through_so_much_at_once_and_all_of_it_in_the_end(mongo):
    start = await mongo.events.position()
    added = some(start, 12_000, object_id="other")
    added[11_990] = added[11_990]._replace(object_id="mine")
    for at in range(0, 12_000, 1_000):
        await mongo.events.add(added[at : at + 1_000], "t")
    after, found, pages = 0, [], 0
    while after < 12_000:
        page = await mongo.events.page(after, 12_000, Wanted(object_id="mine"), 100)
        assert page.until > after
        found, after, pages = [*found, *page.events], page.until, pages + 1
    assert found == [added[11_990]]
    assert pages == 3


async def test_a_page_says_what_is_the_oldest_that_is_kept(stores):
    _, events, database = stores
    assert (await events.page(0, 5, ALL, 10)).oldest == 6
    await events.add(some(await events.position(), 5), "t")
    for seq in (1, 2):
        if database is None:
            del events.events[seq]
        else:
            await database[0][database[1]]["events"].delete_one({"_id": seq})
    found = await events.page(0, 5, ALL, 10)
    assert found.oldest == 3
    assert [event.seq for event in found.events] == [3, 4, 5]
    assert (await events.page(0, 5, Wanted(job_id="nobody"), 10)).oldest == 3


async def test_events_expire_after_the_time_that_was_said_last(mongo):
    client, name = mongo.database
    for keep_s in (7.0, 7.0, 90_000.0, 0.4):
        await MongoEventStore(client, name).prepare(keep_s)
        index = (await client[name]["events"].index_information())["expiry"]
        assert index["key"] == [("at", 1)]
        assert index["expireAfterSeconds"] == max(1, round(keep_s))


async def test_over_what_is_lost_one_leap_is_made_by_whoever_is_first(stores):
    jobs, events, _ = stores
    lost = await events.position()
    await asyncio.gather(events.skip(lost), events.skip(lost), events.skip(lost))
    after = await events.position()
    assert after.seq == LEAP
    assert after.at >= lost.at
    gaps = await kept(events, until=2 * LEAP)
    assert [(event.seq, event.type) for event in gaps] == [(1, EventType.GAP), (LEAP, EventType.GAP)]
    await events.skip(lost)
    assert await events.position() == after
    await jobs.insert([a_job()])
    assert await changes(events, after.token, 1)


async def test_nothing_is_leapt_over_where_somebody_went_on(stores):
    _, events, _ = stores
    lost = await events.position()
    await events.add(some(lost, 2), "two")
    await events.skip(lost)
    assert len(await kept(events)) == 2
    await events.keep(Position(2, lost.at, "two, later"))
    await events.skip(Position(2, lost.at, "two"))
    assert len(await kept(events)) == 2


async def test_a_leap_goes_over_the_numbers_of_a_batch_that_was_cut_off(mongo):
    client, name = mongo.database
    lost = await mongo.events.position()
    await mongo.events.add(some(lost, 3), "three")
    await client[name]["events"].update_one({"_id": 3}, {"$unset": {"token": ""}})
    await mongo.events.skip(lost)
    assert (await mongo.events.position()).seq == LEAP + 3


async def test_a_job_is_told_about_as_it_was_told_last_or_as_its_record_says(stores):
    jobs, events, _ = stores
    await jobs.insert([a_job("job-1"), a_job("job-2", object_id="o-2", handler="h")])
    await jobs.postpone([Postpone("job-2", (1, 1), 3, NOW, None)], 1)
    wanted = ["job-1", "job-2", "none"]
    of_records = {"job-1": ("video-1", "sleep", 0), "job-2": ("o-2", "h", 3)}
    assert await events.about(wanted, 7) == of_records
    start = await events.position()
    first = Event(1, EventType.RUNNING, start.at, "job-2", "o", "i", Status.RUNNING, 1)
    await events.add([first, first._replace(seq=2, attempt=2), first._replace(seq=3, attempt=4)], "t")
    assert await events.about(wanted, 2) == of_records | {"job-2": ("o", "i", 2)}
    assert await events.about(wanted, 0) == of_records


# The Herald ----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(*heralds):
    tasks = [asyncio.ensure_future(herald.serve()) for herald in heralds]
    try:
        yield
    finally:
        while left := [task for task in tasks if not task.done()]:
            # Again and again: on Python 3.11 a cancellation that meets the end of a write is swallowed.
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.2)


def a_herald(events):
    return Herald(events, SystemClock(), keep_s=KEEP_S)


async def told(herald, count, after=0):
    """Ask what happened after that, until it is so much."""
    found = []
    async with asyncio.timeout(SOON_S):
        while (await herald.health()).problem:  # noqa: ASYNC110  a look, not a hope
            await asyncio.sleep(0.01)
        while len(found) < count:
            answer = await herald.since(Follow(after, 1.0))
            assert not answer.missed
            found += answer.events
            after = answer.last
    assert len(found) == count
    return found


def as_told(events):
    return [(event.seq, event.type, event.job_id, event.attempt) for event in events]


async def test_what_happens_is_told_with_all_that_belongs_to_it(stores):
    herald = a_herald(stores.events)
    start = await stores.events.position()
    async with serving(herald):
        await live_through_all(stores.jobs)
        found = await told(herald, len(TOLD))
    assert [event.seq for event in found] == list(range(1, len(TOLD) + 1))
    assert [event.type for event in found] == [kind for kind, _ in TOLD]
    assert [event.attempt for event in found] == [0, 1, 1, 1, 1, 1, 2, 3, 3]
    assert {(event.job_id, event.object_id, event.handler) for event in found} == {
        ("job-1", "o-job-1", "sleep")
    }
    assert [event.final for event in found] == [False] * 8 + [True]
    assert all(event.at >= start.at for event in found)
    assert await kept(stores.events) == found


async def test_who_was_not_there_when_a_job_came_looks_up_what_it_is_about(stores):
    start = await stores.events.position()
    await stores.jobs.insert([a_job(), a_job("job-2", object_id="o-2")])
    first = a_herald(stores.events)
    async with serving(first):
        await told(first, 2)
    await stores.jobs.mark([Mark("job-1", "w", 1, NOW)], 1)
    await stores.jobs.note([Progressed("job-2", Progress(NOW, 0.5))])
    second = a_herald(stores.events)
    async with serving(second):
        found = await told(second, 4, start.seq)
    assert [(e.seq, e.object_id, e.handler, e.attempt) for e in found[2:]] == [
        (3, "video-1", "sleep", 1),
        (4, "o-2", "sleep", 0),
    ]


class Killing:
    """A store whose user is killed in the midst of it: after so many steps, before or after it acts."""

    def __init__(self, store, steps, *, acts):
        self._store, self._left, self._acts = store, steps, acts
        self.dead = asyncio.Event()

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name == "reader":
            return lambda token: Killing._of_reader(self, method(token))
        return lambda *args: self.step(method, *args)

    def _of_reader(self, reader):
        return KillingReader(self, reader)

    async def step(self, method, *args):
        self._left -= 1
        if self._left:
            return await method(*args)
        if self._acts:
            await self._in_part(method, *args)
        self.dead.set()
        return await asyncio.Event().wait()

    async def _in_part(self, method, *args):
        """Carry it out; of a batch of events, do what a server may have done when it is cut off."""
        if method.__name__ == "add" and isinstance(self._store, MongoEventStore):
            events, _ = args
            await self._store.add(events[: (len(events) + 1) // 2], "cut")
            await self._store._events.update_many({"token": "cut"}, {"$unset": {"token": ""}})
        else:
            await method(*args)


class KillingReader:
    def __init__(self, killing, reader):
        self._killing, self._reader = killing, reader

    async def read(self, within_s):
        return await self._killing.step(self._reader.read, min(within_s, 0.2))

    async def close(self):
        await self._reader.close()


@pytest.mark.parametrize("acts", [False, True], ids=["before", "after"])
async def test_whenever_the_herald_is_killed_each_change_is_one_event(stores, acts):
    await stores.events.position()
    for steps in range(1, 10):
        await live_through_all(stores.jobs, f"job-{steps}")
        killing = Killing(stores.events, steps, acts=acts)
        herald = a_herald(killing)
        async with serving(herald), asyncio.timeout(SOON_S):
            busy = [f"more-{steps}-{n}" for n in range(5)]
            for job_id in itertools.chain(busy, (f"last-{steps}-{n}" for n in itertools.count())):
                await stores.jobs.insert([a_job(job_id, object_id=job_id)])
                if killing.dead.is_set() and job_id not in busy:
                    break
                await asyncio.sleep(0.01)
    herald = a_herald(stores.events)
    async with serving(herald):
        await stores.jobs.insert([a_job("the-end", object_id="end")])
        async with asyncio.timeout(SOON_S):
            while not (events := await kept(stores.events)) or events[-1].job_id != "the-end":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    for steps in range(1, 10):
        of_one = [event for event in events if event.job_id == f"job-{steps}"]
        assert [event.type for event in of_one] == [kind for kind, _ in TOLD]
    inserted = [e.job_id for e in events if e.job_id.startswith(("more", "last"))]
    assert len(inserted) == len(set(inserted)) > 45


async def test_two_heralds_tell_the_same_under_the_same_numbers(stores):
    one, other = a_herald(stores.events), a_herald(stores.events)
    await stores.events.position()
    async with serving(one, other):
        await asyncio.gather(*(live_through_all(stores.jobs, f"job-{n}") for n in range(20)))
        count = 20 * len(TOLD)
        assert as_told(await told(one, count)) == as_told(await told(other, count))
    assert as_told(await kept(stores.events)) == as_told(await told_of(stores, count))


async def told_of(stores, count):
    third = a_herald(stores.events)
    async with serving(third):
        return await told(third, count)


async def test_a_herald_that_was_frozen_goes_on_with_what_the_other_wrote(stores):
    slow = Slowed(stores.events)
    frozen, other = a_herald(slow), a_herald(stores.events)
    await stores.events.position()
    async with serving(frozen, other):
        await live_through_all(stores.jobs, "job-1")
        await told(frozen, len(TOLD))
        slow.thawed.clear()
        await live_through_all(stores.jobs, "job-2")
        await told(other, 2 * len(TOLD))
        slow.thawed.set()
        await live_through_all(stores.jobs, "job-3")
        count = 3 * len(TOLD)
        assert as_told(await told(frozen, count)) == as_told(await told(other, count))
    assert len(await kept(stores.events)) == count


class Slowed:
    """A store that does not answer while it is frozen; then it is `held` that events came to be added."""

    def __init__(self, store):
        self._store = store
        self.held = asyncio.Event()
        self.thawed = asyncio.Event()
        self.thawed.set()

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name == "reader":
            return method

        async def call(*args):
            if name == "add" and not self.thawed.is_set():
                self.held.set()
            await self.thawed.wait()
            return await method(*args)

        return call


async def test_a_herald_that_thaws_after_a_leap_takes_the_numbers_that_count(stores):
    """The log was lost while it had a batch to add: others told of a gap instead."""
    slow = Slowed(stores.events)
    frozen = a_herald(slow)
    async with serving(frozen):
        await told(frozen, 0)
        slow.thawed.clear()
        await stores.jobs.insert([a_job("in-its-hands", object_id="1")])
        await slow.held.wait()
        await stores.events.skip(await stores.events.position())
        async with serving(other := a_herald(stores.events)):
            await stores.jobs.insert([a_job("told", object_id="2")])
            assert [e.job_id for e in await told(other, 1, LEAP)] == ["told"]
            slow.thawed.set()
            assert [e.job_id for e in await told(frozen, 1, LEAP)] == ["told"]
    assert [(e.seq, e.job_id) for e in await kept(stores.events, 0, 2 * LEAP)] == [
        (1, None),
        (LEAP, None),
        (LEAP + 1, "told"),
    ]


async def test_lost_history_is_a_gap_and_then_it_goes_on(stores):
    jobs, events, database = stores
    herald = a_herald(events)
    await events.position()
    async with serving(herald):
        await jobs.insert([a_job("seen", object_id="1")])
        await told(herald, 1)
    await jobs.insert([a_job("lost", object_id="2")])
    if database is None:
        jobs.log.lose()
    else:
        await database[0][database[1]]["events"].update_many(
            {"token": {"$exists": True}}, {"$set": {"token": "82"}}
        )
    heralds = [a_herald(events) for _ in range(3)]
    async with serving(*heralds):
        for herald in heralds:
            await told(herald, 0, LEAP + 1)
        await jobs.insert([a_job("told", object_id="3")])
        for herald in heralds:
            assert [e.job_id for e in await told(herald, 1, LEAP + 1)] == ["told"]
    assert [(e.seq, e.job_id) for e in await kept(events, 0, 2 * LEAP)] == [
        (1, "seen"),
        (2, None),
        (LEAP + 1, None),
        (LEAP + 2, "told"),
    ]


async def test_once_all_has_expired_the_numbers_go_on(stores):
    jobs, events, database = stores
    herald = a_herald(events)
    await events.position()
    async with serving(herald):
        await jobs.insert([a_job("one", object_id="1")])
        await told(herald, 1)
    await events.keep(await events.position())
    if database is None:
        events.events.clear()
        events._tokens.clear()
    else:
        await database[0][database[1]]["events"].delete_many({})
    await jobs.insert([a_job("two", object_id="2")])
    herald = a_herald(events)
    async with serving(herald):
        assert [(e.seq, e.job_id) for e in await told(herald, 1, 1)] == [(2, "two")]


async def test_who_asks_is_told_at_once_and_otherwise_waits(stores):
    herald = a_herald(stores.events)
    async with serving(herald):
        await told(herald, 0)
        waiting = asyncio.ensure_future(herald.since(Follow(0, SOON_S)))
        assert (await herald.since(Follow(0, 0.05))).events == ()
        assert not waiting.done()
        await stores.jobs.insert([a_job()])
        answer = await waiting
    assert [event.job_id for event in answer.events] == ["job-1"]
    assert answer[1:] == (1, False, False, False)
