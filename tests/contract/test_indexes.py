"""What the indexes are for: a look at one queue, or at what is due, reads nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hasty.dispatch import Postpone
from hasty.job import Job, Status, Token, Window
from hasty.rerun import Begin, begun
from hasty.store.base import Attachment, Off
from hasty.store.mongo import MongoJobReader
from hasty.store.mongo.documents import document_of
from hasty.store.mongo.jobs import _ORDER

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def a_job(number, **about):
    named = f"job-{number:03}"
    times = {"accepted_at": NOW, "opens_at": NOW, "expires_at": NOW + timedelta(days=9)}
    return Job(job_id=named, object_id=named, run=1, handler="x", timeout_s=1.0, **times, **about)


def a_waiting(number, due_at, **about):
    turn = {"status": Status.SCHEDULED, "due_at": due_at, "turn_due": due_at, "window": Window(1.0)}
    return a_job(number, **turn, **about)


async def asked(store, work):
    """What the server says of each thing it was asked: which index, how many keys, how many documents."""
    database = store._jobs.database
    await database.command("profile", 2)
    await work
    await database.command("profile", 0)
    found = database["system.profile"].find({"ns": store._jobs.full_name}, sort={"$natural": 1})
    told = [
        (_kind(entry), _index(entry), entry.get("keysExamined", 0), entry.get("docsExamined", 0))
        async for entry in found
    ]
    await database["system.profile"].drop()
    return told


def _kind(entry):
    return entry["op"] if entry["op"] != "command" else next(iter(entry["command"]))


def _index(entry):
    """By the name of its first field."""
    plan = entry["planSummary"]
    return "_id" if plan == "IDHACK" else plan.partition("{ ")[2].partition(":")[0]


async def cost_of(cursor):
    """Keys and documents that a query looked at."""
    told = (await cursor.explain())["executionStats"]
    return told["totalKeysExamined"], told["totalDocsExamined"]


async def test_a_sweep_reads_the_keys_of_its_own_queue_and_no_document(mongo_jobs):
    await mongo_jobs.prepare()
    await mongo_jobs.insert([a_job(n, pool="narrow" if n % 3 else "wide") for n in range(30)])
    found = mongo_jobs._jobs.find({"queue": "wide"}, _ORDER, sort=_ORDER, hint="queues")
    assert await cost_of(found) == (10, 0)


async def test_what_is_not_due_is_not_looked_at(mongo_jobs):
    await mongo_jobs.prepare()
    later = NOW + timedelta(hours=1)
    await mongo_jobs.insert([a_job(n, give_up_at=NOW if n < 2 else later) for n in range(30)])
    await mongo_jobs.postpone(
        [Postpone(f"job-{n:03}", Token(1, n), 1, NOW if n < 13 else later, None) for n in range(10, 30)], 1
    )
    assert await cost_of(mongo_jobs._jobs.find({"give_up_at": {"$lte": NOW}}, hint="patience")) == (2, 2)
    assert await cost_of(mongo_jobs._jobs.find({"run_at": {"$lte": NOW}}, hint="scheduled")) == (3, 3)


async def test_of_those_that_wait_for_their_turn_only_the_due_ones_are_looked_at(mongo_jobs):
    waiting = [a_waiting(n, NOW if n < 3 else NOW + timedelta(hours=1)) for n in range(30)]
    await mongo_jobs.insert([*waiting, *(a_job(n) for n in range(40, 60))])
    told = await asked(mongo_jobs, mongo_jobs.waiting(NOW, 9))
    # One key more tells that there is nothing behind them.
    assert told == [("query", "turn_due", 4, 3)]
    # Of many, no more than are wanted.
    told = await asked(mongo_jobs, mongo_jobs.waiting(NOW + timedelta(hours=2), 9))
    assert told == [("query", "turn_due", 9, 9)]


async def test_who_follows_a_job_is_found_among_its_followers_alone(mongo_jobs):
    later = NOW + timedelta(hours=1)
    await mongo_jobs.insert([a_waiting(n, later, follows="a" if n < 3 else f"b{n}") for n in range(30)])
    told = await asked(mongo_jobs, mongo_jobs.hasten({"a"}, NOW))
    assert [(kind, index) for kind, index, *_ in told] == [("update", "follows")]
    assert all(keys <= 4 and documents == 3 for _, _, keys, documents in told)


async def test_the_backlog_is_counted_from_the_indexes_alone_and_no_further_than_asked(mongo_jobs):
    await mongo_jobs.insert([a_waiting(n, NOW) for n in range(30)] + [a_job(n) for n in range(40, 60)])
    told = await asked(mongo_jobs, mongo_jobs.backlog(1_000))
    assert [index for _, index, *_ in told] == ["queue", "turn_due"]
    assert all(keys <= 31 and documents == 0 for _, _, keys, documents in told)
    told = await asked(mongo_jobs, mongo_jobs.backlog(5))
    assert [index for _, index, *_ in told] == ["queue"]
    assert told[0][2] <= 6


async def run_of(store, object_id, waiting, *, live):
    """An object's first job has ended; those after it never had their turn, and live, or ended so."""
    first = document_of(replace(a_job(1), job_id=f"{object_id}-1", object_id=object_id))
    del first["live"]
    documents = [first | {"status": "finished", "ended_at": NOW}]
    for run in range(2, waiting + 2):
        document = document_of(replace(a_waiting(1, NOW), job_id=f"{object_id}-{run}", object_id=object_id))
        if not live:
            del document["live"]
            document |= {"status": "cancelled", "ended_at": NOW}
        documents.append(document | {"run": run})
    # All of them at once might take longer than the driver waits.
    for start in range(0, len(documents), 1_000):
        await store._jobs.insert_many(documents[start : start + 1_000])


@pytest.mark.parametrize("live", [False, True], ids=["passed over", "waiting"])
async def test_what_stands_of_an_object_is_found_however_many_never_had_their_turn(
    mongo_jobs, database, live
):
    for waiting in (100, 10_000):
        name = f"of {waiting}"
        await run_of(mongo_jobs, name, waiting, live=live)
        told = await asked(mongo_jobs, mongo_jobs.standing({name: waiting + 2}))
        assert {(kind, index) for kind, index, *_ in told} == {("query", "object_id")}
        assert sum(keys for _, _, keys, _ in told) <= 2 and sum(read for *_, read in told) <= 2
        told = await asked(mongo_jobs, MongoJobReader(*database).object(name))
        assert {(kind, index) for kind, index, *_ in told} == {("query", "object_id")}
        assert sum(keys for _, _, keys, _ in told) <= 3 and sum(read for *_, read in told) <= 3
        # And it is what is wanted.
        run = waiting + 1 if live else 1
        assert (await mongo_jobs.standing({name: waiting + 2}))[name].run == run
        found = await MongoJobReader(*database).object(name)
        assert (found.newest.run, found.standing.run, found.last.run) == (waiting + 1, run, 1)


async def test_the_newest_run_of_an_object_is_found_whatever_its_runs(mongo_jobs):
    for name in ("a", "b"):
        await run_of(mongo_jobs, name, 1_000, live=True)
    told = await asked(mongo_jobs, mongo_jobs.newest(["a", "b", "unknown"]))
    ((kind, index, keys, documents),) = told
    assert (kind, index) == ("aggregate", "object_id")
    assert keys <= 2 * 3 and documents <= 2


async def test_a_key_is_looked_for_among_keys_alone(mongo_jobs):
    keyed = [replace(a_job(n), idempotency_key=f"key-{n}", fingerprint="f") for n in range(30)]
    await mongo_jobs.insert([*keyed, *(a_job(n) for n in range(40, 60))])
    await mongo_jobs.attach([Attachment(f"other-{n}", "f", "job-040") for n in range(100)])
    told = await asked(mongo_jobs, mongo_jobs.by_key(["key-1", "key-2", "other-3", "unknown"]))
    ((kind, index, keys, documents),) = told
    assert (kind, index, documents) == ("query", "keys.key", 3)
    assert keys <= 8


async def test_a_turn_is_given_and_put_off_by_id(mongo_jobs):
    waiting = [a_waiting(n, NOW) for n in range(30)]
    await mongo_jobs.insert(waiting)
    told = await asked(mongo_jobs, mongo_jobs.put_off([Off("job-001", NOW, None), Off("job-002", NOW, "a")]))
    assert {(index, documents) for _, index, _, documents in told} == {("_id", 1)}
    turned = [begun(job, Begin(), NOW) for job in waiting[:2]]
    told = await asked(mongo_jobs, mongo_jobs.begin(turned))
    updates = [(index, documents) for kind, index, _, documents in told if kind == "update"]
    assert updates == [("_id", 1), ("_id", 1)]
    assert [(index, documents) for kind, index, _, documents in told if kind == "query"] == [("_id", 2)]
