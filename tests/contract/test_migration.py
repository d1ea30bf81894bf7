"""A database of an earlier release: what it has goes on under this one."""

import asyncio

import pytest
from pymongo import ASCENDING, DESCENDING, IndexModel

from hasty.dispatch import Mark, Settle
from hasty.errors import CannotStart
from hasty.job import Outcome, Status, Window
from hasty.pools import DEFAULT_POOL
from hasty.store.base import Attachment
from hasty.store.mongo import MongoJobStore
from hasty.store.mongo.jobs import SCHEMA
from tests.unit.examples import NOW, a_job, after

#: The order of the queue in schema 1.
QUEUE_1 = IndexModel(
    [("live", ASCENDING), ("priority", ASCENDING), ("accepted_at", ASCENDING), ("_id", ASCENDING)],
    name="queue",
    partialFilterExpression={"live": True},
)


def in_schema_1(job_id, **changes):
    """A job as schema 1 kept it."""
    return {
        "_id": job_id,
        "object_id": job_id,
        "run": 1,
        "handler": "sleep",
        "payload": '{"a":1}',
        "status": "queued",
        "live": True,
        "priority": 0,
        "accepted_at": NOW,
        "opens_at": after(300),
        "expires_at": after(300 + 86_400),
        "timeout_s": 46.0,
    } | changes


@pytest.fixture
async def old(database):
    """A database as schema 1 left it: a job waits, one runs, one has ended."""
    client, name = database
    running = {"status": "running", "started_at": NOW, "worker": "w", "attempt": 1, "epoch": 3}
    ended = running | {"status": "finished", "ended_at": NOW, "result": None, "error": None}
    finished = in_schema_1("ended", **ended)
    del finished["live"]
    await client[name]["jobs"].create_indexes([QUEUE_1])
    await client[name]["jobs"].insert_many(
        [in_schema_1("waits", accepted_at=after(1)), in_schema_1("runs", **running), finished]
    )
    await client[name]["meta"].insert_many(
        [
            {"_id": "schema", "version": 1},
            {"_id": "dispatcher", "epoch": 3, "holder": "one", "lease_until": NOW},
        ]
    )
    return client[name]


async def test_what_had_not_ended_is_in_the_queue_of_the_default_pool(old, database):
    store = MongoJobStore(*database)
    for _ in range(2):
        await store.prepare()
        found = await store.sweep(DEFAULT_POOL, set(), 9)
        assert [work.job_id for work in found.works] == ["runs", "waits"]
        assert {(work.pool, work.window) for work in found.works} == {(DEFAULT_POOL, None)}
    assert await old["meta"].find_one({"_id": "schema"}) == {"_id": "schema", "version": SCHEMA}
    assert "queue" not in await old["jobs"].index_information()
    jobs = await store.get(["waits", "ended"])
    waits = a_job("waits", object_id="waits", payload={"a": 1}, accepted_at=after(1))
    assert jobs["waits"] == waits
    assert (jobs["ended"].status, jobs["ended"].pool) == (Status.FINISHED, DEFAULT_POOL)
    assert await store.take_epoch("two", 60) == 4


async def test_it_goes_on_to_its_end(old, database):
    store = MongoJobStore(*database)
    await store.prepare()
    await store.mark([Mark("waits", "w", 1, NOW)], 4)
    await store.settle([Settle(name, Outcome(Status.FINISHED, NOW)) for name in ("waits", "runs")], 4, NOW)
    jobs = await store.get(["waits", "runs"])
    assert {job.status for job in jobs.values()} == {Status.FINISHED}
    assert await store.sweep(DEFAULT_POOL, set(), 9) == ((), True)


async def test_what_a_later_release_scheduled_meanwhile_stays_scheduled(old, database):
    """Whoever died in the middle of the migration: what was done since is not undone."""
    scheduled = in_schema_1("later", status="scheduled", pool="gpu", run_at=after(10))
    await old["jobs"].insert_one(scheduled)
    store = MongoJobStore(*database)
    await store.prepare()
    assert (await store.get(["later"]))["later"].status is Status.SCHEDULED
    (woken,) = await store.wake(after(10), 9)
    assert (woken.job_id, woken.pool) == ("later", "gpu")


async def test_several_may_migrate_at_once(old, database):
    """As a Registry and a Dispatcher do that start together."""
    await asyncio.gather(*(MongoJobStore(*database).prepare() for _ in range(8)))
    found = await MongoJobStore(*database).sweep(DEFAULT_POOL, set(), 9)
    assert [work.job_id for work in found.works] == ["runs", "waits"]


async def test_a_database_of_a_later_release_is_left_alone(mongo_jobs, database):
    client, name = database
    later = {"_id": "schema", "version": SCHEMA + 1}
    await client[name]["meta"].replace_one({"_id": "schema"}, later)
    with pytest.raises(
        CannotStart, match=rf"of schema {SCHEMA + 1}, this hasty knows {SCHEMA}: use the newer"
    ):
        await MongoJobStore(*database).prepare()
    assert await client[name]["meta"].find_one({"_id": "schema"}) == later


#: Those of schema 2, whose queues are the same since.
INDEXES_2 = [
    IndexModel([("object_id", ASCENDING), ("run", DESCENDING)], name="run_of_object", unique=True),
    IndexModel(
        [("queue", ASCENDING), ("priority", ASCENDING), ("accepted_at", ASCENDING), ("_id", ASCENDING)],
        name="queues",
        partialFilterExpression={"queue": {"$exists": True}},
    ),
    IndexModel(
        [("run_at", ASCENDING)], name="scheduled", partialFilterExpression={"run_at": {"$exists": True}}
    ),
    IndexModel(
        [("give_up_at", ASCENDING)],
        name="patience",
        partialFilterExpression={"give_up_at": {"$exists": True}},
    ),
    IndexModel(
        [("idempotency_key", ASCENDING)],
        name="idempotency_key",
        unique=True,
        partialFilterExpression={"idempotency_key": {"$type": "string"}},
    ),
    IndexModel(
        [("expires_at", ASCENDING)],
        name="expiry",
        expireAfterSeconds=0,
        partialFilterExpression={"ended_at": {"$exists": True}},
    ),
]


@pytest.fixture
async def second(database):
    """A database as schema 2 left it: one job waits in a pool's queue, one is to be tried again."""
    client, name = database
    await client[name]["jobs"].create_indexes(INDEXES_2)
    waits = in_schema_1("waits", pool="gpu", queue="gpu", idempotency_key="of no use")
    retried = in_schema_1("retried", pool="gpu", status="scheduled", run_at=after(10), attempt=1)
    await client[name]["jobs"].insert_many([waits, retried])
    await client[name]["meta"].insert_one({"_id": "schema", "version": 2})
    return client[name]


async def test_what_the_second_schema_has_goes_on_and_its_index_of_keys_is_gone(second, database):
    store = MongoJobStore(*database)
    for _ in range(2):
        await store.prepare()
        indexes = await second["jobs"].index_information()
        assert "idempotency_key" not in indexes
        assert {"keys", "turns", "followed", "queues", "expiry"} <= set(indexes)
        assert await second["meta"].find_one({"_id": "schema"}) == {"_id": "schema", "version": SCHEMA}
    found = await store.get(["waits", "retried"])
    assert found["waits"] == a_job("waits", object_id="waits", payload={"a": 1}, pool="gpu")
    assert [work.job_id for work in (await store.sweep("gpu", set(), 9)).works] == ["waits"]
    assert [work.job_id for work in await store.wake(after(10), 9)] == ["retried"]
    assert await store.waiting(after(10**6), 9) == ()
    assert await store.backlog(9) == 2


async def test_a_job_of_the_second_schema_can_be_the_answer_to_a_key_and_be_followed(second, database):
    store = MongoJobStore(*database)
    await store.prepare()
    await store.attach([Attachment("k", "f", "waits")])
    assert (await store.by_key(["k", "of no use"])).keys() == {"k"}
    follows = a_job(
        "follows",
        object_id="waits",
        run=2,
        status=Status.SCHEDULED,
        turn_due=after(5),
        follows="waits",
        idempotency_key="of no use",
        fingerprint="f",
    )
    assert await store.insert([follows]) == {"follows"}
    await store.hasten(["waits"], after(1))
    assert [job.job_id for job in await store.waiting(after(1), 9)] == ["follows"]


async def test_several_may_migrate_from_the_second_schema_at_once(second, database):
    await asyncio.gather(*(MongoJobStore(*database).prepare() for _ in range(8)))
    assert "idempotency_key" not in await second["jobs"].index_information()


async def test_what_was_made_for_later_before_the_migration_was_done_stays_for_later(second, database):
    """One process migrates while another, as new, admits already; the first one dies and does it again."""
    store = MongoJobStore(*database)
    await store.prepare()
    job = a_job("later", object_id="x", status=Status.SCHEDULED, turn_due=after(5))
    await store.insert([job])
    await second["meta"].update_one({"_id": "schema"}, {"$set": {"version": 1}})
    await store.prepare()
    assert (await store.get(["later"]))["later"] == job
    assert [work.job_id for work in (await store.sweep(DEFAULT_POOL, set(), 9)).works] == []


@pytest.fixture
async def third(mongo_jobs, database):
    """A database as schema 3 left it: of one object a job has ended, and others after it without a turn."""
    client, name = database
    for index in ("waiting_of_object", "turned_of_object"):
        await client[name]["jobs"].drop_index(index)
    await client[name]["meta"].update_one({"_id": "schema"}, {"$set": {"version": 3}})
    turn = {"status": Status.SCHEDULED, "turn_due": after(5), "window": Window(300.0)}
    await mongo_jobs.insert(
        [
            a_job("ended", object_id="x"),
            *(a_job(f"passed-{run}", object_id="x", run=run, **turn) for run in (2, 3)),
            a_job("waits", object_id="y", **turn),
        ]
    )
    ends = [Settle(name, Outcome(Status.CANCELLED, NOW)) for name in ("ended", "passed-2", "passed-3")]
    await mongo_jobs.settle(ends, 1, NOW)
    return client[name]


async def test_what_stands_of_the_objects_of_the_third_schema_is_found(third, database):
    store = MongoJobStore(*database)
    for _ in range(2):
        await store.prepare()
        standing = await store.standing({"x": 4, "y": 2, "unknown": 2})
        assert {name: job.job_id for name, job in standing.items()} == {"x": "ended", "y": "waits"}
        assert await third["meta"].find_one({"_id": "schema"}) == {"_id": "schema", "version": SCHEMA}
