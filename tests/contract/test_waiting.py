"""What `hasty.store.base.JobStore` promises of jobs that wait: for a later time, or not for ever."""

import asyncio
from datetime import timedelta

from hasty.dispatch import Mark, Postpone, Settle
from hasty.job import Outcome, Progress, Status, Token
from hasty.messages import Progressed
from hasty.pools import DEFAULT_POOL
from tests.unit.examples import NOW, a_job, after

ERROR = {"type": "E", "message": "m"}

MS = timedelta(milliseconds=1)


def an_outcome(status=Status.FINISHED, attempt=1):
    return Outcome(status, after(30), None, None, attempt, NOW, "w")


def several(count, **changes):
    return [a_job(f"job-{n:02d}", object_id=f"object-{n}", **changes) for n in range(count)]


def names(works):
    return [work.job_id for work in works]


def a_postpone(job_id, run_at, attempt=1, error=None):
    return Postpone(job_id, Token(1, attempt), attempt, run_at, error)


async def stored(jobs, job_id="job-1"):
    return (await jobs.get([job_id]))[job_id]


async def queued(jobs, pool=DEFAULT_POOL):
    found = await jobs.sweep(pool, set(), 1_000)
    assert found.exhausted
    return names(found.works)


async def until_shown(jobs, shows, job_id="job-1"):
    """What is for people is not waited for: a majority shows it a moment later."""
    while not shows(job := await stored(jobs, job_id)):
        pass
    return job


async def mark(jobs, job_id="job-1", *, attempt=1, epoch=1):
    await jobs.mark([Mark(job_id, "w", attempt, NOW)], epoch)
    return await until_shown(jobs, lambda job: job.attempt == attempt, job_id)


# For a later time ------------------------------------------------------------------------------


async def test_a_postponed_job_is_out_of_the_queue_until_its_time_has_come(jobs):
    await jobs.insert([a_job(pool="gpu")])
    await mark(jobs)
    await jobs.postpone([a_postpone("job-1", after(10), 1, ERROR)], 1)
    job = await stored(jobs)
    assert (job.status, job.run_at, job.attempt, job.error) == (Status.SCHEDULED, after(10), 1, ERROR)
    assert job.live
    assert await queued(jobs, "gpu") == []
    assert await jobs.wake(after(10) - MS, 9) == ()
    assert await queued(jobs, "gpu") == []
    assert await jobs.wake(after(10), 9) == (a_job(pool="gpu").work(),)
    job = await stored(jobs)
    assert (job.status, job.run_at, job.error) == (Status.QUEUED, None, ERROR)
    assert await queued(jobs, "gpu") == ["job-1"]
    assert await jobs.wake(after(99), 9) == ()


async def test_a_postponement_repeated_says_the_same(jobs):
    await jobs.insert([a_job()])
    for _ in range(2):
        await jobs.postpone([a_postpone("job-1", after(10), 1, ERROR), a_postpone("unknown", NOW)], 1)
        job = await stored(jobs)
        assert (job.status, job.run_at, job.attempt) == (Status.SCHEDULED, after(10), 1)
    assert names(await jobs.wake(after(10), 9)) == ["job-1"]


async def test_a_postponement_that_comes_late_changes_nothing(jobs):
    """A later attempt runs, a later epoch has written, or the job has ended."""
    await jobs.insert([a_job(name, object_id=name) for name in ("runs on", "of another epoch", "ended")])
    await mark(jobs, "runs on", attempt=2)
    await mark(jobs, "of another epoch", epoch=3)
    await jobs.settle([Settle("ended", an_outcome())], 1, NOW)
    before = await jobs.get(["runs on", "of another epoch", "ended"])
    await jobs.postpone([a_postpone(name, after(10), 1, ERROR) for name in before], 2)
    assert await jobs.get(before) == before
    assert sorted(await queued(jobs)) == ["of another epoch", "runs on"]
    assert await jobs.wake(after(99), 9) == ()


async def test_of_many_that_are_due_the_first_are_woken_first(jobs):
    await jobs.insert(several(5))
    await jobs.postpone([a_postpone(f"job-{n:02d}", after(9 - n)) for n in range(5)], 1)
    # The last of them is not due.
    assert sorted(names(await jobs.wake(after(8), 2))) == ["job-03", "job-04"]
    assert sorted(names(await jobs.wake(after(8), 9))) == ["job-01", "job-02"]
    assert names(await jobs.wake(after(9), 9)) == ["job-00"]


async def test_what_two_wake_at_once_is_in_the_queue_once_and_one_of_them_knows(jobs):
    await jobs.insert(several(60))
    await jobs.postpone([a_postpone(job.job_id, after(1)) for job in several(60)], 1)
    woken = await asyncio.gather(*(jobs.wake(after(1), 60) for _ in range(4)))
    assert {job_id for works in woken for job_id in names(works)} == {job.job_id for job in several(60)}
    assert await queued(jobs) == [job.job_id for job in several(60)]
    assert await jobs.wake(after(1), 60) == ()


async def test_a_job_that_ends_while_it_is_woken_has_ended(jobs):
    await jobs.insert(several(20))
    await jobs.postpone([a_postpone(job.job_id, after(1)) for job in several(20)], 1)
    settles = [Settle(job.job_id, an_outcome(Status.CANCELLED)) for job in several(20)]
    await asyncio.gather(jobs.wake(after(1), 20), *(jobs.settle([settle], 1, NOW) for settle in settles))
    found = await jobs.get([job.job_id for job in several(20)])
    assert {job.status for job in found.values()} == {Status.CANCELLED}
    assert await queued(jobs) == []


async def test_a_scheduled_job_that_ends_is_woken_no_more(jobs):
    await jobs.insert([a_job()])
    await jobs.postpone([a_postpone("job-1", after(1), 1, ERROR)], 1)
    await jobs.settle([Settle("job-1", an_outcome(Status.CANCELLED, attempt=0))], 1, NOW)
    job = await stored(jobs)
    assert (job.status, job.run_at, job.attempt, job.error) == (Status.CANCELLED, None, 1, None)
    assert await jobs.wake(after(99), 9) == ()


async def test_a_mark_that_comes_late_does_not_show_a_waiting_job_as_running(jobs):
    await jobs.insert([a_job()])
    await jobs.postpone([a_postpone("job-1", after(1), 1, ERROR)], 1)
    await jobs.mark([Mark("job-1", "w", 1, NOW)], 1)
    await jobs.wake(after(1), 9)
    job = await stored(jobs)
    assert (job.status, job.worker) == (Status.QUEUED, None)


# Not for ever ----------------------------------------------------------------------------------


async def test_a_job_that_waited_too_long_is_overdue_until_it_starts_or_ends(jobs):
    patient = [a_job("patient", object_id="p"), a_job("in time", object_id="t", give_up_at=after(11))]
    names_ = ("marked", "excused", "postponed", "ended")
    await jobs.insert(patient + [a_job(name, object_id=name, give_up_at=after(10)) for name in names_])
    assert await jobs.overdue(after(10) - MS, 9) == ()
    assert sorted(names(await jobs.overdue(after(10), 9))) == sorted(names_)
    assert len(await jobs.overdue(after(10), 3)) == 3

    await mark(jobs, "marked")
    await jobs.excuse(["excused", "unknown"])
    await jobs.postpone([a_postpone("postponed", after(20))], 1)
    await jobs.settle([Settle("ended", an_outcome())], 1, NOW)
    assert await jobs.overdue(after(10), 9) == ()
    assert names(await jobs.overdue(after(11), 9)) == ["in time"]
    found = await jobs.get(names_)
    assert {job.give_up_at for job in found.values()} == {None}


async def test_an_excuse_changes_nothing_else(jobs):
    job = a_job()
    await jobs.insert([a_job(give_up_at=after(10))])
    for _ in range(2):
        await jobs.excuse(["job-1"])
        assert await stored(jobs) == job


# How far they have come ------------------------------------------------------------------------


HALF = Progress(after(5), 0.5, "half")


async def test_progress_is_shown_while_a_job_runs_and_by_its_attempt_alone(jobs):
    await jobs.insert([a_job()])
    await mark(jobs)
    await jobs.note([Progressed("job-1", Progress(after(4))), Progressed("unknown", HALF)])
    await jobs.note([Progressed("job-1", HALF)])
    assert (await until_shown(jobs, lambda job: job.progress == HALF)).status is Status.RUNNING
    assert (await mark(jobs, attempt=2)).progress is None


async def test_progress_that_comes_late_is_not_shown(jobs):
    await jobs.insert(several(2))
    for job in several(2):
        await mark(jobs, job.job_id)
    await jobs.settle([Settle("job-00", an_outcome())], 1, NOW)
    await jobs.postpone([a_postpone("job-01", after(10))], 1)
    assert await after_a_note(jobs) == {"job-00": None, "job-01": None}


async def after_a_note(jobs):
    await jobs.note([Progressed(job.job_id, HALF) for job in several(2)])
    # Once a majority has this, it has what came before.
    await jobs.extend(names(several(2)), after(10**6))
    return {job_id: job.progress for job_id, job in (await jobs.get(names(several(2)))).items()}


async def test_what_waits_or_has_ended_shows_no_progress(jobs):
    await jobs.insert(several(2))
    assert await after_a_note(jobs) == {"job-00": HALF, "job-01": HALF}
    await jobs.settle([Settle("job-00", an_outcome())], 1, NOW)
    assert (await stored(jobs, "job-00")).progress is None
    await jobs.postpone([a_postpone("job-01", after(10))], 1)
    assert (await stored(jobs, "job-01")).progress is None
