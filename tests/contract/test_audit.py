"""What an audit reads is what the stores wrote, and what anybody else did to it."""

from datetime import UTC, datetime, timedelta

import pytest

from hasty.dispatch import Mark, Settle
from hasty.job import Outcome, Progress, Status, Token
from hasty.messages import Progressed
from hasty.store.base import Claim, Closing, Record
from hasty.store.mongo.audit import CHANGED, DELETED, Audit, Telling
from tests.contract.test_waiting import a_postpone
from tests.unit.examples import a_job

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)

ENDED = Outcome(Status.FINISHED, NOW + timedelta(seconds=1), {"n": 2}, None, 2, NOW, "w")


@pytest.fixture
def audit(database):
    client, name = database
    return Audit(client, client, api=name, worker=name)


@pytest.fixture
async def began(audit):
    return await audit.moment()


def a_claim(claim="c1", boot=1):
    return Claim("job", Token(1, 1), claim, "w", boot, NOW)


def words(written):
    return {job_id: [one.word for one in told] for job_id, told in written.items()}


async def test_it_finds_the_jobs_of_a_prefix_and_no_others(audit, mongo_jobs):
    names = {"a": "p-1", "b": "p-2\u00e4", "c": "p", "d": "q-1", "e": "o-9"}
    await mongo_jobs.insert([a_job(job_id, object_id=name) for job_id, name in names.items()])
    assert set(await audit.jobs("p-")) == {"a", "b"}
    assert await audit.live("p-") == 2
    await mongo_jobs.settle([Settle("a", ENDED)], 1, NOW)
    assert await audit.live("p-") == 1


async def test_it_reads_a_page_as_it_is(audit, mongo_ledger):
    await mongo_ledger.claim([a_claim("c1", boot=1)])
    await mongo_ledger.claim([a_claim("c2", boot=2)])
    page = (await audit.pages(["job"]))["job"]
    assert (page.final, page.opened.n, page.opened.boot, page.opened.outcome) == (None, 2, 2, None)
    assert [(attempt.n, attempt.outcome) for attempt in page.attempts] == [(1, "lost")]

    await mongo_ledger.record([Record("job", "c2", 2, ENDED)])
    page = (await audit.pages(["job"]))["job"]
    assert (page.opened, page.final, page.final_claim) == (None, ENDED, "c2")
    assert [(attempt.n, attempt.outcome) for attempt in page.attempts] == [(1, "lost"), (2, "finished")]


async def test_the_history_of_a_job_is_what_was_written_since(audit, began, mongo_jobs):
    await mongo_jobs.insert([a_job("job")])
    await mongo_jobs.mark([Mark("job", "w", 1, NOW)], 1)
    await mongo_jobs.settle([Settle("job", ENDED)], 1, NOW)
    await mongo_jobs.settle([Settle("job", replace_status(ENDED))], 1, NOW)
    await mongo_jobs.extend(["job"], NOW + timedelta(days=9))
    assert words((await audit.history(began)).jobs) == {"job": ["queued", "running", "finished"]}


def replace_status(outcome):
    return outcome._replace(status=Status.CANCELLED)


async def test_a_retry_is_read_as_one_attempt_that_failed_and_another(audit, began, mongo_jobs, mongo_ledger):
    run_at = NOW + timedelta(seconds=5)
    failed = replace_status(ENDED)._replace(status=Status.FAILED, attempt=1)
    await mongo_jobs.insert([a_job("job")])
    await mongo_ledger.claim([a_claim()])
    await mongo_jobs.mark([Mark("job", "w", 1, NOW)], 1)
    await mongo_jobs.note([Progressed("job", Progress(NOW, 0.5))])
    await mongo_ledger.record([Record("job", "c1", 1, failed, run_at)])
    await mongo_jobs.postpone([a_postpone("job", run_at)], 1)
    await mongo_jobs.wake(run_at, 9)
    await mongo_ledger.claim([a_claim("c2")._replace(token=Token(1, 2), at=run_at)])
    await mongo_jobs.mark([Mark("job", "w", 2, NOW)], 1)
    assert await audit.live("video-") == 1
    await mongo_ledger.record([Record("job", "c2", 1, ENDED)])
    await mongo_jobs.settle([Settle("job", ENDED)], 1, NOW)

    history = await audit.history(began)
    assert words(history.jobs) == {"job": ["queued", "running", "scheduled", "queued", "running", "finished"]}
    assert words(history.ledger) == {"job": ["finished"]}
    page = (await audit.pages(["job"]))["job"]
    assert [(each.n, each.outcome) for each in page.attempts] == [(1, "failed"), (2, "finished")]
    assert (page.opened, page.final, page.final_claim) == (None, ENDED, "c2")


async def test_the_history_tells_who_wrote_to_an_outcome(audit, began, mongo_jobs, database):
    client, name = database
    await mongo_jobs.insert([a_job("job")])
    await mongo_jobs.settle([Settle("job", ENDED)], 1, NOW)
    await client[name].jobs.update_one({"_id": "job"}, {"$set": {"result": "another"}})
    await client[name].jobs.delete_one({"_id": "job"})
    history = await audit.history(began)
    assert words(history.jobs) == {"job": ["queued", "finished", CHANGED, DELETED]}
    assert all(abs(one.at - datetime.now(UTC)) < timedelta(minutes=1) for one in history.jobs["job"])


async def test_the_history_of_a_page_is_its_final(audit, began, mongo_ledger, database):
    client, name = database
    await mongo_ledger.claim([a_claim("c1", boot=1)])
    await mongo_ledger.claim([a_claim("c2", boot=2)])
    await mongo_ledger.record([Record("job", "c2", 2, ENDED)])
    await mongo_ledger.record([Record("job", "c1", 1, ENDED)])
    await mongo_ledger.close([Closing("closed", replace_status(ENDED))])
    await client[name].ledger.update_one({"_id": "job"}, {"$set": {"final.status": "failed"}})
    await client[name].ledger.update_one({"_id": "closed"}, {"$set": {"final": None}})
    found = words((await audit.history(began)).ledger)
    assert found == {"job": ["finished", CHANGED], "closed": ["cancelled", CHANGED]}


async def test_a_long_history_is_read_to_its_end(audit, began, mongo_jobs):
    jobs = [a_job(f"job-{n}", object_id=f"object-{n}") for n in range(3_000)]
    await mongo_jobs.insert(jobs)
    assert len((await audit.history(began)).jobs) == len(jobs)


async def test_it_counts_what_is_open_from_before(audit, mongo_jobs, mongo_ledger):
    await mongo_jobs.insert([a_job("job")])
    await mongo_ledger.claim([a_claim()])
    assert await audit.open_from_before(NOW + timedelta(seconds=1)) == 1
    assert await audit.open_from_before(NOW) == 0
    await mongo_ledger.record([Record("job", "c1", 1, ENDED)])
    assert await audit.open_from_before(NOW + timedelta(seconds=1)) == 0


async def test_it_tells_whether_a_later_job_was_started(audit, mongo_ledger):
    job_id = "019b0a6e-6f0c-7c52-9d55-3d2f1a0c6b1e"
    minted = datetime.fromtimestamp(int(job_id.replace("-", "")[:12], 16) / 1000, UTC)
    await mongo_ledger.claim([a_claim()._replace(job_id=job_id)])
    assert await audit.claimed_since(minted - timedelta(seconds=1))
    assert not await audit.claimed_since(minted + timedelta(seconds=1))


async def test_what_was_told_of_jobs_is_read_in_its_order(audit, database, began):
    client, name = database
    events = client[name]["events"]
    assert (await audit.telling(["a"]), await audit.told_since(NOW)) == (Telling({}, 0, 0), False)
    kinds = [("a", "job.queued"), ("other", "job.queued"), ("a", "job.finished"), (None, "gap")]
    told = [(seq, *each) for seq, each in enumerate(kinds, 1)] + [(7, "b", "job.queued")]
    for seq, job_id, kind in told:
        about = {} if job_id is None else {"job_id": job_id}
        await events.insert_one({"_id": seq, "type": kind, "at": NOW + timedelta(seconds=seq), **about})
    assert await audit.telling(["a", "b"]) == Telling(
        {"a": ("job.queued", "job.finished"), "b": ("job.queued",)}, missing=2, gaps=1
    )
    assert await audit.told_since(NOW + timedelta(seconds=6))
    assert not await audit.told_since(NOW + timedelta(seconds=7))


async def test_an_end_that_nobody_told_of_is_counted(audit, mongo_jobs, database):
    client, name = database
    await mongo_jobs.insert([a_job(job_id, object_id=f"p-{job_id}") for job_id in ("told", "untold", "live")])
    await mongo_jobs.settle(
        [Settle(job_id, ENDED) for job_id in ("told", "untold")], 1, NOW + timedelta(days=9)
    )
    assert await audit.untold("p-") == 2
    await client[name]["events"].insert_one({"_id": 1, "type": "job.finished", "job_id": "told", "at": NOW})
    assert (await audit.untold("p-"), await audit.untold("q-")) == (1, 0)
