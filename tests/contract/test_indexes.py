"""What the indexes are for: a look at one queue, or at what is due, reads nothing else."""

from datetime import UTC, datetime, timedelta

from hasty.dispatch import Postpone
from hasty.job import Job, Token
from hasty.store.mongo.jobs import _ORDER

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def a_job(number, **about):
    named = f"job-{number:03}"
    times = {"accepted_at": NOW, "opens_at": NOW, "expires_at": NOW + timedelta(days=9)}
    return Job(job_id=named, object_id=named, run=1, handler="x", timeout_s=1.0, **times, **about)


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
