"""What `hasty.store.base.Outbox` promises: who is to be told of a job's end, by whom, and what came of it."""

import asyncio
from datetime import timedelta

import pytest

from hasty.clock import SystemClock
from hasty.dispatch import Settle
from hasty.errors import StoreUnavailable
from hasty.job import Outcome, Status
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
from hasty.store.memory import MemoryJobStore, MemoryOutbox
from hasty.store.mongo import MongoOutbox
from hasty.store.mongo.connection import connect
from tests.unit.examples import NOW, a_job, after

URL = "https://hooks.example/jobs?of=hasty"
MS = timedelta(milliseconds=1)


@pytest.fixture
async def outbox(jobs):
    """The outbox that is made of the jobs."""
    if isinstance(jobs, MemoryJobStore):
        outbox = MemoryOutbox(jobs)
    else:
        outbox = MongoOutbox(jobs._client, jobs._jobs.database.name)
    for _ in range(2):
        await outbox.prepare()
    return outbox


def hooked(job_id, url=URL, **changes):
    return a_job(job_id, object_id=f"of {job_id}", webhook=url, **changes)


def an_outcome(status=Status.FINISHED):
    return Outcome(status, after(30), {"lines": 1}, None, 1, NOW, "w")


async def end(jobs, *job_ids):
    await jobs.settle([Settle(job_id, an_outcome()) for job_id in job_ids], 1, after(86_400))


async def ended(jobs, *job_ids, url=URL):
    await jobs.insert([hooked(job_id, url) for job_id in job_ids])
    await end(jobs, *job_ids)


def a_delivery(attempt=1, code=500, error=None):
    return Delivery(after(60 + attempt), attempt, code, error, 0.25, delivered=code == 200)


async def due(outbox, now, limit=99, but=()):
    return [each.job_id for each in await outbox.due(now, limit, but)]


# What is in it ---------------------------------------------------------------------------------


async def test_a_job_is_due_from_the_write_that_ends_it(jobs, outbox):
    await jobs.insert([hooked("job-1")])
    assert await outbox.due(after(10**6), 9) == ()
    assert await outbox.claim(["job-1"], "c", after(10**6), after(10**7)) == ()
    await end(jobs, "job-1")
    assert await outbox.due(after(31), 9) == (Due("job-1", "hooks.example"),)


async def test_a_job_that_is_cancelled_or_fails_is_due_as_well(jobs, outbox):
    await jobs.insert([hooked("cancelled"), hooked("failed")])
    await jobs.settle([Settle("cancelled", an_outcome(Status.CANCELLED))], 1, NOW)
    await jobs.settle([Settle("failed", an_outcome(Status.FAILED))], 1, NOW)
    assert sorted(await due(outbox, after(31))) == ["cancelled", "failed"]


async def test_a_job_without_a_webhook_is_never_in_it(jobs, outbox):
    await jobs.insert([a_job("job-1")])
    await end(jobs, "job-1")
    assert await outbox.due(after(10**6), 9) == ()
    assert await outbox.claim(["job-1", "unknown"], "c", after(10**6), after(10**7)) == ()
    await outbox.record([Told("unknown", "c", a_delivery(code=200))])
    assert (await outbox.log("job-1"), await outbox.log("unknown")) == (DeliveryLog(), None)


async def test_the_longest_due_come_first(jobs, outbox):
    for n in range(4):
        await jobs.insert([hooked(f"job-{n}", accepted_at=after(10 - n))])
        await end(jobs, f"job-{n}")
    assert await due(outbox, after(31)) == ["job-3", "job-2", "job-1", "job-0"]
    assert await due(outbox, after(31), limit=2) == ["job-3", "job-2"]


async def test_hosts_can_be_left_out(jobs, outbox):
    for n, host in enumerate(["a", "b", "a", "c", "b"]):
        await jobs.insert([hooked(f"job-{n}", f"http://{host}.example/", accepted_at=after(10 - n))])
        await end(jobs, f"job-{n}")
    assert sorted(await due(outbox, after(31), 9, ["a.example", "x"])) == ["job-1", "job-3", "job-4"]
    assert await due(outbox, after(31), 9, ["a.example", "c.example"]) == ["job-4", "job-1"]
    assert await due(outbox, after(31), 1, ["a.example", "c.example"]) == ["job-4"]
    assert await due(outbox, after(7) - MS, 9, ["a.example"]) == ["job-4"]
    assert await due(outbox, after(31), 9, ["a.example", "b.example", "c.example"]) == []


# Who has it ------------------------------------------------------------------------------------


async def test_what_is_claimed_is_nobody_elses_until_the_claim_is_over(jobs, outbox):
    await ended(jobs, "job-1")
    (parcel,) = await outbox.claim(["job-1"], "mine", after(40), after(70))
    stored = (await jobs.get(["job-1"]))["job-1"]
    assert (parcel.job, parcel.host, parcel.tries) == (stored, "hooks.example", 0)
    assert (stored.status, stored.webhook, stored.result) == (Status.FINISHED, URL, {"lines": 1})

    assert await due(outbox, after(70) - MS) == []
    assert await outbox.claim(["job-1"], "another's", after(70) - MS, after(99)) == ()
    assert await due(outbox, after(70)) == ["job-1"]
    assert len(await outbox.claim(["job-1"], "another's", after(70), after(99))) == 1


async def test_a_parcel_comes_without_the_payload(jobs, outbox):
    await jobs.insert([hooked("job-1", payload={"large": True})])
    await end(jobs, "job-1")
    (parcel,) = await outbox.claim(["job-1"], "c", after(40), after(70))
    assert parcel.job.payload is None
    assert (await jobs.get(["job-1"]))["job-1"].payload == {"large": True}


async def test_of_many_who_claim_at_once_one_has_each(jobs, outbox):
    names = [f"job-{n}" for n in range(40)]
    await ended(jobs, *names)
    taken = await asyncio.gather(*(outbox.claim(names, f"c-{n}", after(40), after(70)) for n in range(5)))
    assert sorted(parcel.job.job_id for parcels in taken for parcel in parcels) == sorted(names)


# What came of it -------------------------------------------------------------------------------


async def claimed(jobs, outbox, claim="mine"):
    await ended(jobs, "job-1")
    assert len(await outbox.claim(["job-1"], claim, after(40), after(70))) == 1


async def test_what_was_delivered_is_due_no_more(jobs, outbox):
    await claimed(jobs, outbox)
    before = (await jobs.get(["job-1"]))["job-1"]
    for _ in range(2):
        await outbox.record([Told("job-1", "mine", a_delivery(code=200))])
        assert await outbox.log("job-1") == DeliveryLog(DeliveryState.DELIVERED, (a_delivery(code=200),))
    assert await due(outbox, after(10**6)) == []
    assert await outbox.claim(["job-1"], "c", after(10**6), after(10**7)) == ()
    assert (await jobs.get(["job-1"]))["job-1"] == before


async def test_what_failed_is_due_at_its_next_try(jobs, outbox):
    await claimed(jobs, outbox)
    for _ in range(2):
        await outbox.record([Told("job-1", "mine", a_delivery(error="no connection"), after(90))])
        log = await outbox.log("job-1")
        assert log == DeliveryLog(DeliveryState.PENDING, (a_delivery(error="no connection"),), after(90))
    assert await due(outbox, after(90) - MS) == []
    assert await due(outbox, after(90)) == ["job-1"]
    (parcel,) = await outbox.claim(["job-1"], "again", after(90), after(120))
    assert parcel.tries == 1
    assert await outbox.log("job-1") == log._replace(next_at=None)


async def test_what_is_given_up_is_due_no_more(jobs, outbox):
    await claimed(jobs, outbox)
    await outbox.record([Told("job-1", "mine", a_delivery(code=410))])
    assert await outbox.log("job-1") == DeliveryLog(DeliveryState.GIVEN_UP, (a_delivery(code=410),))
    assert await due(outbox, after(10**6)) == []


async def test_of_many_records_each_counts(jobs, outbox):
    names = [f"job-{n}" for n in range(4)]
    await ended(jobs, *names)
    await outbox.claim(names, "mine", after(40), after(70))
    codes = [200, 500, 410, 200]
    await outbox.record(
        [
            Told(name, "mine", a_delivery(code=code), after(90) if code == 500 else None)
            for name, code in zip(names, codes, strict=True)
        ]
    )
    states = [(await outbox.log(name)).state for name in names]
    assert states == ["delivered", "pending", "given_up", "delivered"]


async def test_who_has_it_no_more_cannot_say_that_it_failed(jobs, outbox):
    await claimed(jobs, outbox, "of somebody frozen")
    (parcel,) = await outbox.claim(["job-1"], "mine", after(70), after(99))
    for next_at in (after(80), None):
        await outbox.record([Told("job-1", "of somebody frozen", a_delivery(), next_at)])
        assert await outbox.log("job-1") == DeliveryLog(DeliveryState.PENDING)
    assert await due(outbox, after(99) - MS) == []
    assert parcel.tries == 0


async def test_who_has_it_no_more_can_say_that_it_was_delivered(jobs, outbox):
    await claimed(jobs, outbox, "of somebody frozen")
    await outbox.claim(["job-1"], "another's", after(70), after(99))
    await outbox.record([Told("job-1", "of somebody frozen", a_delivery(code=200))])
    delivered = DeliveryLog(DeliveryState.DELIVERED, (a_delivery(code=200),))
    assert await outbox.log("job-1") == delivered
    # The other one tries all the same, and says what it likes.
    await outbox.record([Told("job-1", "another's", a_delivery(2), after(120))])
    await outbox.record([Told("job-1", "another's", a_delivery(2, code=200))])
    assert await outbox.log("job-1") == delivered
    assert await due(outbox, after(10**6)) == []


async def test_that_it_was_delivered_counts_even_after_it_was_given_up(jobs, outbox):
    await claimed(jobs, outbox, "of somebody frozen")
    await outbox.claim(["job-1"], "mine", after(70), after(99))
    await outbox.record([Told("job-1", "mine", a_delivery(code=410))])
    await outbox.record([Told("job-1", "of somebody frozen", a_delivery(2, code=200))])
    assert (await outbox.log("job-1")).state is DeliveryState.DELIVERED


async def test_the_log_keeps_the_newest(jobs, outbox):
    await claimed(jobs, outbox, "c-0")
    for n in range(DELIVERIES_KEPT + 5):
        await outbox.record([Told("job-1", f"c-{n}", a_delivery(n + 1), after(100 * (n + 1)))])
        await outbox.claim(["job-1"], f"c-{n + 1}", after(100 * (n + 1)), after(100 * (n + 1) + 50))
    log = await outbox.log("job-1")
    assert [delivery.attempt for delivery in log.deliveries] == list(range(6, DELIVERIES_KEPT + 6))
    late = after(10**6)
    assert (await outbox.claim(["job-1"], "last", late, late + MS))[0].tries == DELIVERIES_KEPT + 5


async def test_nothing_is_known_of_one_that_has_not_ended(jobs, outbox):
    await jobs.insert([hooked("job-1")])
    assert await outbox.log("job-1") == DeliveryLog(DeliveryState.WAITING)
    await end(jobs, "job-1")
    assert await outbox.log("job-1") == DeliveryLog(DeliveryState.PENDING, (), NOW)


# How long it is kept ---------------------------------------------------------------------------


async def test_a_record_is_kept_beyond_its_next_try(jobs, outbox):
    await claimed(jobs, outbox)
    kept = (await jobs.get(["job-1"]))["job-1"].expires_at
    await outbox.record([Told("job-1", "mine", a_delivery(), after(90))])
    assert (await jobs.get(["job-1"]))["job-1"].expires_at == kept
    await outbox.claim(["job-1"], "c", after(90), after(99))
    late = kept - KEPT_AFTER_TRY + MS
    await outbox.record([Told("job-1", "c", a_delivery(2), late)])
    assert (await jobs.get(["job-1"]))["job-1"].expires_at == kept + MS


async def test_what_is_forgotten_is_no_trouble():
    clock = SystemClock()
    jobs = MemoryJobStore(clock)
    outbox = MemoryOutbox(jobs)
    await ended(jobs, "job-1")
    assert await outbox.claim(["job-1"], "mine", after(40), after(70)) != ()
    del jobs.jobs["job-1"]
    await outbox.record([Told("job-1", "mine", a_delivery(), after(90))])
    assert (await outbox.due(after(10**6), 9), await outbox.log("job-1")) == ((), None)
    assert outbox._hooks == {}


# In MongoDB ------------------------------------------------------------------------------------


class Watched:
    """A collection of which it is noted what each look at it read."""

    def __init__(self, collection):
        self._collection, self.costs = collection, []

    def find(self, *about, **more):
        cursor = self._collection.find(*about, **more)
        self._explained = self._collection.find(*about, **more).explain
        return cursor

    async def cost(self):
        """Keys and documents that the last look read."""
        told = (await self._explained())["executionStats"]
        return told["totalKeysExamined"], told["totalDocsExamined"]


@pytest.fixture
async def filled(mongo_jobs, database):
    """An outbox over jobs that run, were told of, or wait for a later try, and some that are due."""
    outbox = MongoOutbox(*database)
    await outbox.prepare()
    await mongo_jobs.insert([hooked(f"runs-{n}") for n in range(20)])
    for kind, code, next_at in (("told", 200, None), ("later", 500, after(10**5))):
        names = [f"{kind}-{n}" for n in range(20)]
        await ended(mongo_jobs, *names)
        await outbox.claim(names, kind, after(40), after(70))
        await outbox.record([Told(name, kind, a_delivery(code=code), next_at) for name in names])
    await ended(mongo_jobs, "due-0", "due-1", "due-2")
    busy = [hooked(f"busy-{n}", "http://busy.example/", accepted_at=NOW + n * MS) for n in range(50)]
    await mongo_jobs.insert(busy)
    await end(mongo_jobs, *(job.job_id for job in busy))
    outbox._jobs = Watched(outbox._jobs)
    return outbox


async def test_a_look_at_what_is_due_reads_keys_and_no_more_of_them_than_it_returns(filled):
    assert len(await filled.due(after(50), 30)) == 30
    assert await filled._jobs.cost() == (30, 0)


async def test_however_much_there_is_for_a_busy_host_it_is_passed_over(filled):
    assert sorted(await due(filled, after(50), 30, ["busy.example"])) == ["due-0", "due-1", "due-2"]
    keys, documents = await filled._jobs.cost()
    # A key more for each host, where it is passed over or left behind.
    assert keys <= 3 + 4
    assert documents == 0


async def test_a_mongodb_that_gives_no_answer_is_told_of(mongo_uri):
    client = connect(mongo_uri)
    outbox = MongoOutbox(client)
    await client.close()
    told = await asyncio.gather(
        outbox.prepare(),
        outbox.due(NOW, 9),
        outbox.claim(["j"], "c", NOW, NOW),
        outbox.record([Told("j", "c", a_delivery())]),
        outbox.log("j"),
        return_exceptions=True,
    )
    assert [type(error) for error in told] == [StoreUnavailable] * 5


async def test_a_host_that_cannot_be_read_is_no_reason_to_lose_a_job(jobs, outbox):
    """It should have been refused long before."""
    await ended(jobs, "job-1", url="no url at all")
    assert await outbox.due(after(40), 9) == (Due("job-1", ""),)
    (parcel,) = await outbox.claim(["job-1"], "c", after(40), after(70))
    assert parcel == Parcel(parcel.job, "", 0)


async def test_the_jobs_of_another_database_are_not_its_business(mongo_jobs, database):
    client, name = database
    await ended(mongo_jobs, "job-1")
    elsewhere = MongoOutbox(client, name + "_other")
    await elsewhere.prepare()
    assert await elsewhere.due(after(40), 9) == ()
    await client.drop_database(name + "_other")
