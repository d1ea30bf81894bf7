"""Events over a change of primary that takes writes back, and over a log that is not kept that far back."""

import asyncio
import contextlib
import itertools
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from hasty.actors.herald import Herald
from hasty.clock import SystemClock
from hasty.dispatch import Mark, Settle
from hasty.errors import Unreachable
from hasty.job import Job, Outcome, Status
from hasty.messages import EventType, Follow
from hasty.retry import until_answered
from hasty.store.base import LEAP, Wanted
from hasty.store.mongo import MongoEventStore, MongoJobStore
from hasty.store.mongo.connection import connect
from tests.outage.servers import Member, replica_set
from tests.outage.test_rollback import another_primary, in_threads, rolled_back, write_alone
from tests.outage.watcher import PATIENCE_S, eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)

KEEP_S = 86_400.0

#: As much as it takes to fill a log of 64 MiB twice.
JUNK = 128


class Scene:
    """Jobs that come and end all the time, and Heralds that tell of them; each with a client of its own."""

    def __init__(self, uri):
        self._uri, self._name = uri, f"events_{uuid.uuid4().hex[:8]}"
        self._clients = []
        self._tasks = []
        self.jobs = MongoJobStore(self._client(), self._name)
        self.events = self.store()
        self.done = []
        self.told = []

    def _client(self):
        self._clients.append(connect(self._uri))
        return self._clients[-1]

    def store(self):
        return MongoEventStore(self._client(), self._name)

    @property
    def database(self):
        return self._clients[0][self._name]

    def begin(self, work):
        self._tasks.append(asyncio.ensure_future(work))
        return self._tasks[-1]

    def herald(self):
        """Begin another one, and note what it tells."""
        herald = Herald(self.store(), SystemClock(), keep_s=KEEP_S)
        told = []
        self.told.append(told)
        return self.begin(herald.serve()), self.begin(note(herald, told)), told

    async def work(self):
        """Have jobs come, run and end, each write until it is known to be there."""
        for number in itertools.count():
            job = a_job(number)
            await until_answered(lambda job=job: self.jobs.insert([job]), asyncio.sleep)
            await until_answered(lambda job=job: self.jobs.mark(mark(job), 1), asyncio.sleep)
            await until_answered(lambda job=job: self.jobs.settle(settle(job), 1, NOW), asyncio.sleep)
            self.done.append(job.job_id)

    async def more(self, count):
        wanted = len(self.done) + count

        async def enough():
            return len(self.done) >= wanted

        await eventually(enough, f"{count} more jobs to end")

    async def end(self, *tasks):
        while left := [task for task in tasks or self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.2)

    async def close(self):
        await self.end()
        for client in self._clients:
            await client.close()


@contextlib.asynccontextmanager
async def scene(uri):
    found = Scene(uri)
    try:
        await found.jobs.prepare()
        await found.events.prepare(KEEP_S)
        await found.events.position()
        yield found
    finally:
        await found.close()


def a_job(number):
    return Job(
        job_id=f"job-{number}",
        object_id=f"o-{number}",
        run=1,
        handler="sleep",
        accepted_at=NOW,
        opens_at=NOW,
        expires_at=NOW + timedelta(days=36_500),
        timeout_s=46.0,
    )


def mark(job):
    return [Mark(job.job_id, "w", 1, NOW)]


def settle(job):
    return [Settle(job.job_id, Outcome(Status.FINISHED, NOW, None, None, 1, NOW, "w"))]


async def note(herald, told):
    """Follow a Herald from the beginning."""
    after = 0
    while True:
        try:
            answer = await herald.since(Follow(after, 1.0))
        except Unreachable:
            await asyncio.sleep(0.05)
            continue
        assert not answer.missed
        told += answer.events
        after = answer.last


@pytest.fixture(scope="module")
def three():
    with replica_set(3) as servers:
        yield servers


async def test_over_a_rollback_each_change_is_told_once_by_everybody(three):
    old = three.primary
    others = [member for member in three.members if member is not old]
    async with scene(three.uri) as found:
        for _ in range(2):
            found.herald()
        working = found.begin(found.work())
        await found.more(30)
        await in_threads(Member.cut_off, others)
        # What the old primary takes from now on, it will take back: marks, which nobody waits for.
        await in_threads(write_alone, [old])
        await asyncio.sleep(1)  # the length of the partition is part of the example
        old.freeze()
        await another_primary(others)
        await in_threads(Member.reconnect, others)
        await found.more(30)
        old.thaw()
        await eventually(lambda: asyncio.to_thread(rolled_back, old), "the rollback")
        await found.more(30)
        await found.end(working)
        last = found.done[-1]

        async def all_told():
            return all(any(e.job_id == last and e.final for e in told) for told in found.told)

        await eventually(all_told, "everybody to tell the last end")
        kept = (await found.events.page(0, 10**9, Wanted(), 10**6)).events
    one, other = found.told
    count = min(len(one), len(other))
    assert one[:count] == other[:count] == list(kept[:count])
    assert [event.seq for event in kept] == list(range(1, len(kept) + 1))
    for job_id in found.done:
        kinds = [event.type for event in kept if event.job_id == job_id]
        # The mark that it runs may have been taken back.
        assert [kind for kind in kinds if kind is not EventType.RUNNING] == [
            EventType.QUEUED,
            EventType.FINISHED,
        ]
        assert len(kinds) <= 3


@pytest.fixture(scope="module")
def one():
    # What lies behind its latest checkpoint a server keeps, however long its log becomes.
    with replica_set(1, "--syncdelay=1") as servers:
        yield servers


def first_in_the_log(member):
    return member.client.local["oplog.rs"].find_one(sort=[("$natural", 1)])["ts"]


def fill_the_log(member):
    """Have the server forget all that is in its log now."""
    mark = member.last_in_its_log()
    junk = b"x" * (1024 * 1024)
    while first_in_the_log(member) <= mark:
        member.client.test.junk.insert_many([{"junk": junk} for _ in range(JUNK // 8)])
        time.sleep(0.2)  # it does so in its own time


async def test_where_the_log_is_not_kept_that_far_back_there_is_a_gap_for_everybody(one):
    (member,) = one.members
    async with scene(one.uri) as found:
        serving, noting, told = found.herald()
        await found.jobs.insert([a_job(1)])
        await eventually(_told(told, "job-1"), "the first job to be told of")
        await found.end(serving, noting)
        await found.jobs.insert([a_job(2)])
        await asyncio.to_thread(fill_the_log, member)
        heralds = [Herald(found.store(), SystemClock(), keep_s=KEEP_S) for _ in range(2)]
        for herald in heralds:
            found.begin(herald.serve())

        async def heard():
            return not any([(await herald.health()).problem for herald in heralds])

        await eventually(heard, "both to go on")
        await found.jobs.insert([a_job(3)])
        for herald in heralds:
            answer = await herald.since(Follow(1 + LEAP, PATIENCE_S))
            assert [event.job_id for event in answer.events] == ["job-3"]
        kept = (await found.events.page(0, 10**9, Wanted(), 100)).events
        assert [(event.seq, event.job_id) for event in kept] == [
            (1, "job-1"),
            (2, None),
            (1 + LEAP, None),
            (2 + LEAP, "job-3"),
        ]


def _told(told, job_id):
    async def holds():
        return any(event.job_id == job_id for event in told)

    return holds
