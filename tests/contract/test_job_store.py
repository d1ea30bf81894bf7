"""What `hasty.store.base.JobStore` promises."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hasty.dispatch import Mark, Settle
from hasty.job import Job, Outcome, Status, Window
from hasty.pools import DEFAULT_POOL
from hasty.store.base import Attachment, Found

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
DAY_S = 86_400.0


def a_job(job_id="job-1", **changes):
    fields = {
        "job_id": job_id,
        "object_id": "video-1",
        "run": 1,
        "handler": "sleep",
        "accepted_at": NOW,
        "opens_at": NOW + timedelta(minutes=5),
        "expires_at": NOW + timedelta(days=1),
        "timeout_s": 46.0,
    }
    return Job(**(fields | changes))


def finished(**changes):
    fields = {
        "status": Status.FINISHED,
        "ended_at": NOW + timedelta(seconds=30),
        "result": {"sleep_time_used": 30},
        "attempt": 1,
        "started_at": NOW,
        "worker": "w",
    }
    return Outcome(**(fields | changes))


async def test_a_job_comes_back_as_it_was_inserted(jobs):
    job = a_job(payload={"a.b": [1, 2**80, None], "$c": "\0 ü"}, idempotency_key="k", priority=-1)
    window = Window(0.5, from_end=True, after=(Status.FAILED, Status.FINISHED))
    other = a_job("job-2", run=2, pool="gpu", window=window, give_up_at=NOW + timedelta(seconds=9))
    assert await jobs.insert([job, other]) == {"job-1", "job-2"}
    assert await jobs.get(["job-1", "job-2", "unknown"]) == {"job-1": job, "job-2": other}


async def test_in_brief_a_job_comes_without_what_may_be_heavy(jobs):
    job = a_job(
        payload={"a": 1}, idempotency_key="k", fingerprint="f", labels=(("a", "b"),), webhook="https://x"
    )
    await jobs.insert([job])
    await jobs.settle([Settle("job-1", finished())], 1, NOW + timedelta(days=7))
    whole = (await jobs.get(["job-1"]))["job-1"]
    assert whole.payload == {"a": 1} and whole.result is not None
    light = replace(whole, payload=None, result=None, idempotency_key=None, fingerprint=None)
    assert await jobs.brief(["job-1", "unknown"]) == {"job-1": light}


async def test_an_id_or_a_run_is_taken_once(jobs):
    await jobs.insert([a_job("job-1")])
    same_id = a_job("job-1", object_id="video-2")
    same_run = a_job("job-2")
    free = a_job("job-3", object_id="video-3")
    assert await jobs.insert([same_id, same_run, free]) == {"job-3"}
    assert (await jobs.get(["job-1"]))["job-1"].object_id == "video-1"


async def test_of_two_writers_racing_for_an_object_one_wins(jobs):
    for round_ in range(20):
        rivals = [a_job(f"job-{round_}-{n}", object_id=f"object-{round_}") for n in range(8)]
        won = await asyncio.gather(*(jobs.insert([rival]) for rival in rivals))
        assert sum(len(ids) for ids in won) == 1


async def test_the_newest_run_of_each_object_is_found(jobs):
    await jobs.insert([a_job(f"a{run}", object_id="a", run=run) for run in range(1, 12)])
    await jobs.insert([a_job("b1", object_id="b")])
    newest = await jobs.newest({"a", "b", "c"})
    assert {name: job.job_id for name, job in newest.items()} == {"a": "a11", "b": "b1"}


async def test_the_newest_run_comes_in_brief(jobs):
    job = a_job(payload={"a": 1}, idempotency_key="k", fingerprint="f", labels=(("a", "b"),))
    await jobs.insert([job])
    await jobs.attach([Attachment("another", "g", "job-1")])
    await jobs.settle([Settle("job-1", finished())], 1, NOW + timedelta(days=7))
    whole = (await jobs.get(["job-1"]))["job-1"]
    assert (whole.payload, whole.idempotency_key) == ({"a": 1}, "k")
    assert await jobs.newest([job.object_id]) == {job.object_id: whole.in_brief()}


async def test_a_sweep_returns_live_jobs_in_order_and_skips(jobs):
    await jobs.insert(
        [
            a_job("late", object_id="1", accepted_at=NOW + timedelta(seconds=9)),
            a_job("early", object_id="2", accepted_at=NOW),
            a_job("urgent", object_id="3", priority=-1, accepted_at=NOW + timedelta(seconds=20)),
            a_job("held", object_id="4"),
            a_job("ended", object_id="5"),
        ]
    )
    await jobs.settle([Settle("ended", finished())], 1, NOW + timedelta(days=1))
    found = await jobs.sweep(DEFAULT_POOL, {"held"}, 2)
    assert [work.job_id for work in found.works] == ["urgent", "early"]
    assert not found.exhausted
    found = await jobs.sweep(DEFAULT_POOL, {"held"}, 3)
    assert [work.job_id for work in found.works] == ["urgent", "early", "late"]
    assert found.exhausted


async def test_a_sweep_looks_into_one_pool_and_returns_all_that_a_worker_needs(jobs):
    window = Window(60.0, from_end=True, after=(Status.FINISHED,))
    there = a_job("there", object_id="1", pool="gpu", payload=[1], priority=3, run=4, window=window)
    await jobs.insert([there, a_job("elsewhere", object_id="2"), a_job("near", object_id="3", pool="gpu-2")])
    assert await jobs.sweep("gpu", set(), 9) == Found((there.work(),), exhausted=True)
    assert await jobs.sweep("gpu", {"there"}, 9) == Found((), exhausted=True)
    assert await jobs.sweep("unknown", set(), 9) == Found((), exhausted=True)


async def test_a_sweep_over_heavy_jobs_takes_fewer_from_the_front(mongo_jobs):
    payload = "x" * 100_000
    heavy = [
        a_job(f"job-{n:04d}", object_id=f"{n}", accepted_at=NOW + timedelta(seconds=n), payload=payload)
        for n in range(1_200)
    ]
    for start in range(0, 1_200, 100):
        await mongo_jobs.insert(heavy[start : start + 100])
    found = await mongo_jobs.sweep(DEFAULT_POOL, set(), 1_200)
    assert [work.job_id for work in found.works] == [job.job_id for job in heavy[:1_000]]
    assert not found.exhausted
    rest = await mongo_jobs.sweep(DEFAULT_POOL, {work.job_id for work in found.works}, 1_200)
    assert [work.job_id for work in rest.works] == [job.job_id for job in heavy[1_000:]]
    assert rest.exhausted


async def test_settling_shows_the_outcome_and_only_the_first_one(jobs):
    await jobs.insert([a_job()])
    await jobs.settle([Settle("job-1", finished())], 3, NOW + timedelta(days=7))
    failed = finished(status=Status.FAILED, result=None, error={"type": "E", "message": "m"})
    await jobs.settle([Settle("job-1", failed), Settle("unknown", failed)], 4, NOW + timedelta(days=7))
    job = (await jobs.get(["job-1"]))["job-1"]
    assert (job.status, job.result, job.error) == (Status.FINISHED, {"sleep_time_used": 30}, None)
    assert (job.attempt, job.worker, job.started_at, job.epoch) == (1, "w", NOW, 3)
    assert job.expires_at == NOW + timedelta(days=7)
    assert not job.live


async def test_a_settled_job_is_kept_until_its_window_was_open_for_a_day(jobs):
    long = NOW + timedelta(days=30)
    await jobs.insert([a_job(expires_at=long)])
    await jobs.settle([Settle("job-1", finished())], 1, NOW + timedelta(days=1))
    assert (await jobs.get(["job-1"]))["job-1"].expires_at == long


async def test_an_end_that_decides_on_the_window_moves_it_and_keeps_the_record_for_it(jobs):
    window = Window(300.0, from_end=True, after=(Status.FINISHED,))
    await jobs.insert(
        [a_job(name, object_id=name, window=window) for name in ("later", "sooner", "as it was")]
    )
    until = NOW + timedelta(days=2)
    later, sooner = NOW + timedelta(days=9), NOW + timedelta(seconds=30)
    settles = [
        Settle("later", finished(opens_at=later)),
        Settle("sooner", finished(opens_at=sooner)),
        Settle("as it was", finished()),
    ]
    await jobs.settle(settles, 1, until)
    # Whoever comes second moves nothing.
    await jobs.settle([Settle("later", finished(opens_at=sooner))], 2, until)
    found = await jobs.get(["later", "sooner", "as it was"])
    assert {name: (job.opens_at, job.expires_at) for name, job in found.items()} == {
        "later": (later, later + timedelta(days=1)),
        "sooner": (sooner, until),
        "as it was": (NOW + timedelta(minutes=5), until),
    }


async def test_closing_a_running_job_leaves_its_attempt_shown(jobs):
    await jobs.insert([a_job()])
    await jobs.mark([Mark("job-1", "w", 2, NOW)], 1)
    await until_shown(jobs, "job-1")
    await jobs.settle([Settle("job-1", Outcome(Status.CANCELLED, NOW))], 1, NOW + timedelta(days=1))
    job = (await jobs.get(["job-1"]))["job-1"]
    assert (job.status, job.attempt, job.worker) == (Status.CANCELLED, 2, "w")


async def test_a_mark_shows_a_running_job_but_neither_an_ended_one_nor_over_a_later_epoch(jobs):
    await jobs.insert([a_job(f"job-{n}", object_id=str(n)) for n in range(3)])
    await jobs.settle([Settle("job-1", finished())], 1, NOW + timedelta(days=1))
    await jobs.mark([Mark("job-2", "new", 2, NOW)], 2)
    await jobs.mark([Mark(f"job-{n}", "old", 1, NOW) for n in range(3)], 1)
    found = await until_shown(jobs, "job-0", "job-1", "job-2")
    assert found["job-0"].status == Status.RUNNING
    assert (found["job-0"].worker, found["job-0"].attempt, found["job-0"].started_at) == ("old", 1, NOW)
    assert found["job-1"].status == Status.FINISHED
    assert found["job-2"].worker == "new"


async def until_shown(jobs, *job_ids):
    """A mark is not waited for: a majority shows it a moment later."""
    while True:
        found = await jobs.get(job_ids)
        if all(job.status is not Status.QUEUED for job in found.values()):
            return found


async def test_extending_keeps_what_is_there_and_never_shortens(jobs):
    await jobs.insert([a_job("a"), a_job("b", object_id="b", expires_at=NOW + timedelta(days=9))])
    until = NOW + timedelta(days=2)
    assert await jobs.extend(["a", "b", "gone"], until) == {"a", "b"}
    found = await jobs.get(["a", "b"])
    assert found["a"].expires_at == until
    assert found["b"].expires_at == NOW + timedelta(days=9)


async def test_one_that_is_shown_as_it_was_before_counts_as_gone(mongo_jobs, monkeypatch):
    """What was deleted just before it could be extended is in what a majority had a moment ago."""
    await mongo_jobs.insert([a_job("a"), a_job("gone", object_id="b", expires_at=NOW)])
    update = mongo_jobs._jobs.update_many
    monkeypatch.setattr(mongo_jobs._jobs, "update_many", lambda _chosen, change: update({"_id": "a"}, change))
    assert await mongo_jobs.extend(["a", "gone"], NOW + timedelta(days=2)) == {"a"}


async def test_an_epoch_is_taken_once_and_at_once_only_by_its_holder(jobs):
    first = await jobs.take_epoch("one", 60)
    assert first is not None
    assert await jobs.take_epoch("two", 60) is None
    assert await jobs.take_epoch("one", 60) == first + 1
    assert not await jobs.renew_epoch(first, 60)
    assert await jobs.renew_epoch(first + 1, 0)
    assert await until_taken(jobs, "two") == first + 2


async def until_taken(jobs, holder):
    while (epoch := await jobs.take_epoch(holder, 60)) is None:  # noqa: ASYNC110  the lease ends in the server
        await asyncio.sleep(0)
    return epoch


async def test_of_many_who_want_an_epoch_one_gets_it(jobs):
    taken = await asyncio.gather(*(jobs.take_epoch(f"holder-{n}", 60) for n in range(8)))
    assert sum(epoch is not None for epoch in taken) == 1


async def test_the_store_tells_an_aware_time(jobs):
    assert abs(await jobs.server_time() - datetime.now(UTC)) < timedelta(seconds=5)


async def test_preparing_again_changes_nothing(jobs):
    await jobs.insert([a_job()])
    await asyncio.gather(jobs.prepare(), jobs.prepare())
    assert await jobs.get(["job-1"])
