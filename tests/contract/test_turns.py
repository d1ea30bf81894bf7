"""What `hasty.store.base.JobStore` promises of jobs that are scheduled since they were accepted."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from hasty.dispatch import Mark, Postpone, Settle
from hasty.job import KEPT_AFTER_WINDOW, Outcome, Status, Token, Window
from hasty.pools import DEFAULT_POOL
from hasty.rerun import Begin, begun, decide
from hasty.store.base import Attachment, Off
from tests.unit.examples import NOW, a_job, a_request, after

MS = timedelta(milliseconds=1)

WINDOW = Window(300.0, after=(Status.FAILED, Status.FINISHED), not_before=after(7))


def a_waiting(job_id="job-1", due_at=NOW, **changes):
    """A job as the rule makes one for later, of an object of its own."""
    about = {
        "object_id": f"object of {job_id}",
        "status": Status.SCHEDULED,
        "window": WINDOW,
        "due_at": due_at,
        "turn_due": due_at,
    }
    return a_job(job_id, **(about | changes))


def several(count, **changes):
    return [a_waiting(f"job-{n:02d}", **changes) for n in range(count)]


def names(found):
    return [one.job_id for one in found]


def at(moment, *jobs, **begin):
    """These jobs as they are when they have their turn."""
    return [begun(job, Begin(**begin), moment) for job in jobs]


async def stored(jobs, job_id="job-1"):
    return (await jobs.get([job_id]))[job_id]


async def queued(jobs, pool=DEFAULT_POOL):
    found = await jobs.sweep(pool, set(), 1_000)
    assert found.exhausted
    return names(found.works)


async def end(jobs, *job_ids, status=Status.CANCELLED):
    outcome = Outcome(status, after(30), error={"type": "E", "message": "m"})
    await jobs.settle([Settle(job_id, outcome) for job_id in job_ids], 1, after(10**6))


# As it is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"replaces": True}, {"forced": True}], ids=str)
async def test_a_job_for_later_comes_back_as_it_was_inserted(jobs, changes):
    job = a_waiting(
        due_at=after(60),
        follows="job-0",
        patience_s=1.5,
        priority=-100,
        pool="gpu",
        labels=(("a.b/c-d_e", "x=y=z"), ("empty", ""), ("text", '$ü\0 "\n')),
        webhook="https://example.org/hook",
        idempotency_key="k",
        fingerprint="f",
        **changes,
    )
    assert await jobs.insert([job]) == {"job-1"}
    assert await stored(jobs) == job
    assert (await jobs.newest([job.object_id]))[job.object_id] == job.in_brief()


async def test_before_its_turn_it_is_in_no_queue_and_waits_for_nothing_else(jobs):
    await jobs.insert([a_waiting(patience_s=1.0)])
    assert await queued(jobs) == []
    assert await jobs.wake(after(10**6), 9) == ()
    assert await jobs.overdue(after(10**6), 9) == ()
    # A mark or a note that is not for it changes nothing.
    await jobs.mark([Mark("job-1", "w", 1, NOW)], 1)
    assert await stored(jobs) == a_waiting(patience_s=1.0)


async def test_those_that_are_due_are_found_the_first_ones_first(jobs):
    due = [a_waiting(f"job-{n}", due_at=after(9 - n)) for n in range(5)]
    await jobs.insert([*due, a_job("queued", object_id="q"), a_waiting("ended", due_at=NOW)])
    await end(jobs, "ended")
    assert await jobs.waiting(after(5) - MS, 9) == ()
    assert await jobs.waiting(after(5), 9) == (due[4],)
    assert names(await jobs.waiting(after(9), 3)) == ["job-4", "job-3", "job-2"]
    assert names(await jobs.waiting(after(99), 9)) == ["job-4", "job-3", "job-2", "job-1", "job-0"]


# Its turn --------------------------------------------------------------------------------------


@pytest.mark.parametrize("not_before", [None, after(5_000)])
async def test_a_job_that_has_its_turn_is_in_the_queue_and_its_window_counts_from_then(jobs, not_before):
    job = a_waiting(follows="job-0", patience_s=9.0, labels=(("a", "b"),), replaces=True, pool="gpu")
    await jobs.insert([job])
    (turned,) = at(after(1_000), job, not_before=not_before)
    works = await jobs.begin([turned])
    assert works == (turned.work(),)
    assert await stored(jobs) == turned
    assert (turned.status, turned.opens_at) == (Status.QUEUED, not_before or after(1_300))
    assert turned.expires_at == turned.opens_at + KEPT_AFTER_WINDOW
    assert (turned.follows, turned.turn_due, turned.give_up_at) == (None, None, after(1_009))
    assert await queued(jobs, "gpu") == ["job-1"]
    assert await jobs.waiting(after(10**6), 9) == ()
    assert names(await jobs.overdue(after(1_009), 9)) == ["job-1"]


async def test_a_turn_that_is_given_again_changes_nothing_and_says_the_same(jobs):
    """Later, by another Dispatcher that saw it wait: the first one counts."""
    job = a_waiting(patience_s=9.0)
    await jobs.insert([job])
    first = at(after(10), job)
    assert names(await jobs.begin(first)) == ["job-1"]
    assert names(await jobs.begin(at(after(500), job))) == ["job-1"]
    assert [await stored(jobs)] == first
    await jobs.mark([Mark("job-1", "w", 1, after(11))], 1)
    # It is there still: whoever heard nothing of the first answer offers it.
    assert names(await jobs.begin(at(after(501), job))) == ["job-1"]
    await jobs.postpone([Postpone("job-1", Token(1, 1), 1, after(600), None)], 1)
    assert await jobs.begin(at(after(502), job)) == ()
    assert (await stored(jobs)).status is Status.SCHEDULED
    assert await queued(jobs) == []


async def test_a_job_that_has_ended_has_no_turn_any_more(jobs):
    job = a_waiting()
    await jobs.insert([job, a_waiting("job-2"), a_job("job-3", object_id="other")])
    await end(jobs, "job-1", "job-3")
    ended = await stored(jobs)
    assert names(await jobs.begin(at(after(60), job, a_waiting("job-2"), a_waiting("unknown")))) == ["job-2"]
    assert await stored(jobs) == ended
    assert await queued(jobs) == ["job-2"]


async def test_a_job_that_ended_before_its_turn_tells_so_for_ever(jobs):
    """Whoever comes later passes it over: so it must still name the job that it followed."""
    await jobs.insert([a_waiting(follows="job-0", due_at=after(99))])
    await end(jobs, "job-1")
    job = await stored(jobs)
    assert (job.status, job.ended_at) == (Status.CANCELLED, after(30))
    assert (job.waits_for_turn, job.follows, job.opens_at) == (True, "job-0", after(300))
    await jobs.put_off([Off("job-1", after(500), "job-9")])
    await jobs.hasten({"job-0"}, NOW)
    assert await stored(jobs) == job
    assert await jobs.waiting(after(10**6), 9) == ()


@pytest.mark.parametrize("opens_at", [None, after(10**8)], ids=["as it was", "moved by the end"])
async def test_a_job_that_ended_before_its_turn_is_kept_no_longer_than_any_other(jobs, opens_at):
    """Else whoever asks for something in the year 3000 and cancels it leaves it here for a thousand years."""
    year = 365 * 86_400
    request = a_request(delay_s=float(year), window=Window(300.0, from_end=True))
    job = decide(None, request, NOW)
    assert job.expires_at > after(year)
    await jobs.insert([job, replace(job, job_id="job-2", object_id="y")])
    turned = at(after(60), replace(job, job_id="job-2"), not_before=after(10**8))
    await jobs.begin(turned)
    until, cancelled = after(7 * 86_400), Outcome(Status.CANCELLED, after(30), opens_at=opens_at)
    await jobs.settle([Settle(name, cancelled) for name in ("job-1", "job-2")], 1, until)
    assert (await stored(jobs)).expires_at == until
    assert ((await stored(jobs)).status, (await stored(jobs)).epoch) == (Status.CANCELLED, 1)
    # And it stays like that, whoever says it again.
    await jobs.settle([Settle("job-1", cancelled)], 2, after(8 * 86_400))
    assert (await stored(jobs)).expires_at == until
    # Who had his turn has a window.
    assert (await stored(jobs, "job-2")).expires_at == after(10**8) + KEPT_AFTER_WINDOW


async def test_what_was_attached_meanwhile_is_known_after_the_turn(jobs):
    job = a_waiting(idempotency_key="made", fingerprint="f")
    await jobs.insert([job])
    await jobs.attach([Attachment("attached", "g", "job-1")])
    await jobs.begin(at(after(60), job))
    known = await jobs.by_key(["made", "attached"])
    assert {key: (found.job.job_id, found.made) for key, found in known.items()} == {
        "made": ("job-1", True),
        "attached": ("job-1", False),
    }


# Put off, and hastened -------------------------------------------------------------------------


async def test_a_job_is_put_off_until_later_and_follows_whom_it_is_told(jobs):
    job = a_waiting(follows="job-0")
    await jobs.insert([job])
    for _ in range(2):
        await jobs.put_off([Off("job-1", after(60), "job-9"), Off("unknown", after(60), None)])
        assert await stored(jobs) == replace(job, turn_due=after(60), follows="job-9")
    assert await jobs.waiting(after(60) - MS, 9) == ()
    assert names(await jobs.waiting(after(60), 9)) == ["job-1"]
    await jobs.put_off([Off("job-1", NOW, None)])
    assert await stored(jobs) == replace(job, turn_due=NOW, follows=None)


async def test_who_had_his_turn_is_not_put_off(jobs):
    job = a_waiting(follows="job-0")
    await jobs.insert([job, a_job("queued", object_id="q")])
    await jobs.begin(at(after(60), job))
    before = await jobs.get(["job-1", "queued"])
    await jobs.put_off([Off(job_id, after(500), "job-0") for job_id in before])
    await jobs.hasten({"job-0"}, NOW)
    assert await jobs.get(before) == before
    assert sorted(await queued(jobs)) == ["job-1", "queued"]


async def test_those_that_follow_an_ended_job_are_looked_at_at_once_and_nobody_else_is(jobs):
    waiting = {
        "follows": a_waiting("follows", follows="a", due_at=after(60)),
        "follows, too": a_waiting("follows, too", follows="b", due_at=after(90)),
        "another": a_waiting("another", follows="c", due_at=after(60)),
        "nobody": a_waiting("nobody", due_at=after(60)),
        "due": a_waiting("due", follows="a", due_at=after(5)),
    }
    await jobs.insert(list(waiting.values()))
    for _ in range(2):
        await jobs.hasten({"a", "b", "unknown"}, after(10))
    assert names(await jobs.waiting(after(10), 9)) == ["due", *sorted(["follows", "follows, too"])]
    found = await jobs.get(waiting)
    for name in ("another", "nobody", "due"):
        assert found[name] == waiting[name]
    # When it was due as far as was known at its acceptance is not forgotten.
    assert found["follows"] == replace(waiting["follows"], turn_due=after(10))


# What else befalls them ------------------------------------------------------------------------


async def test_a_job_that_had_its_turn_is_as_any_other(jobs):
    job = a_waiting()
    await jobs.insert([job])
    await jobs.begin(at(after(60), job))
    await jobs.postpone([Postpone("job-1", Token(1, 1), 1, after(70), None)], 1)
    assert await jobs.waiting(after(10**6), 9) == ()
    assert names(await jobs.wake(after(70), 9)) == ["job-1"]
    await end(jobs, "job-1", status=Status.FINISHED)
    ended = await stored(jobs)
    assert (ended.status, ended.turn_due, ended.due_at, ended.opens_at) == (
        Status.FINISHED,
        None,
        NOW,
        after(360),
    )


async def test_the_backlog_is_what_may_run_or_never_had_its_turn_and_is_counted_no_further_than_asked(jobs):
    assert await jobs.backlog(5) == 0
    await jobs.insert(
        [
            *several(3),
            *(a_job(name, object_id=name) for name in ("waits", "runs", "retried", "ended")),
            a_job("gpu", object_id="gpu", pool="gpu"),
            a_waiting("cancelled"),
        ]
    )
    await jobs.mark([Mark("runs", "w", 1, NOW)], 1)
    await jobs.postpone([Postpone("retried", Token(1, 1), 1, after(10), None)], 1)
    await end(jobs, "ended", "cancelled")
    # Three that wait for their turn; and one that waits, one that runs, one in another queue.
    assert await jobs.backlog(100) == 6
    for limit in range(1, 8):
        assert await jobs.backlog(limit) == min(limit, 6)
    await jobs.begin(at(after(60), *several(3)))
    assert await jobs.backlog(100) == 6
    await jobs.wake(after(10), 9)
    assert await jobs.backlog(100) == 7


async def test_those_that_wait_for_a_pool_that_is_gone_are_moved_when_they_have_had_their_turn(jobs):
    waiting = [a_waiting(name, pool="gone") for name in ("moves", "ended")] + [a_waiting("stays", pool="gpu")]
    await jobs.insert([*waiting, a_job("queued", object_id="q", pool="gone")])
    await end(jobs, "ended")
    assert await jobs.adopt([DEFAULT_POOL, "gpu"]) == 1
    await jobs.begin(at(after(60), *waiting))
    assert await jobs.adopt([DEFAULT_POOL, "gpu"]) == 1
    assert sorted(await queued(jobs)) == ["moves", "queued"]
    assert await queued(jobs, "gpu") == ["stays"]


# Races -----------------------------------------------------------------------------------------


async def test_of_a_turn_and_an_end_at_once_each_job_has_ended_and_tells_whether_it_had_its_turn(jobs):
    waiting = several(40)
    await jobs.insert(waiting)
    ends = [end(jobs, job.job_id) for job in waiting]
    begins = [jobs.begin(at(after(60), job)) for job in waiting]
    interleaved = [step for pair in zip(begins, ends, strict=True) for step in pair]
    await asyncio.gather(*interleaved)
    found = await jobs.get(names(waiting))
    for job in found.values():
        assert job.status is Status.CANCELLED
        # Either all of it or none.
        assert job.opens_at == (after(300) if job.waits_for_turn else after(360))
    assert await queued(jobs) == []
    assert await jobs.backlog(99) == 0
    assert await jobs.waiting(after(10**6), 99) == ()


async def test_of_two_that_give_a_turn_at_once_one_counts(jobs):
    waiting = several(40, patience_s=1.0)
    await jobs.insert(waiting)
    moments = [after(60 + n) for n in range(4)]
    given = await asyncio.gather(*(jobs.begin(at(moment, *waiting)) for moment in moments))
    assert [sorted(names(works)) for works in given] == [names(waiting)] * 4
    for job in (await jobs.get(names(waiting))).values():
        (begun_at,) = {job.opens_at - timedelta(seconds=300), job.give_up_at - timedelta(seconds=1)}
        assert begun_at in moments


async def test_who_is_put_off_and_has_its_turn_at_once_waits_or_is_in_the_queue(jobs):
    waiting = several(40, follows="job-0")
    await jobs.insert(waiting)
    await asyncio.gather(
        *(
            step
            for job in waiting
            for step in (
                jobs.put_off([Off(job.job_id, after(500), "job-9")]),
                jobs.begin(at(after(60), job)),
                jobs.hasten({"job-9", "job-0"}, after(70)),
            )
        )
    )
    # A turn is not taken back.
    assert sorted(await queued(jobs)) == names(waiting)
    for job in (await jobs.get(names(waiting))).values():
        assert (job.status, job.turn_due, job.follows) == (Status.QUEUED, None, None)


async def test_of_many_that_are_to_be_an_objects_next_job_one_is(jobs):
    """Some at once, some for later."""
    for round_ in range(10):
        rivals = [
            (a_waiting if n % 2 else a_job)(f"job-{round_}-{n}", object_id=f"object-{round_}")
            for n in range(8)
        ]
        won = await asyncio.gather(*(jobs.insert([rival]) for rival in rivals))
        assert sum(len(ids) for ids in won) == 1
        newest = await jobs.newest([f"object-{round_}"])
        assert {newest[f"object-{round_}"].job_id} == set().union(*won)


async def test_who_ended_without_a_turn_does_not_stand_for_its_object(jobs):
    """However many of them there are, and also where those between are forgotten."""
    ran = a_job("ran", object_id="o", run=1)
    passed = [a_waiting(f"passed-{run}", object_id="o", run=run) for run in range(2, 40, 3)]
    await jobs.insert([ran, *passed, a_waiting("only", object_id="p"), a_waiting("waits", object_id="q")])
    for job in (*passed, a_waiting("only", object_id="p")):
        await end(jobs, job.job_id, "cancelled")
    standing = await jobs.standing(dict.fromkeys(("o", "p", "q", "unknown"), 99))
    assert {object_id: job.job_id for object_id, job in standing.items()} == {"o": "ran", "q": "waits"}
    # Of an object's own, only those before it.
    assert await jobs.standing({"o": 1, "q": 1}) == {}


async def test_who_has_its_turn_while_it_is_looked_for_is_not_missed(mongo_jobs, monkeypatch):
    """It goes from one index to another, and they are not read at the same moment."""
    waits = a_waiting(object_id="o", run=2)
    await mongo_jobs.insert([a_job("ran", object_id="o", run=1), waits])
    await end(mongo_jobs, "ran", status=Status.FINISHED)
    find_one, looks = mongo_jobs._jobs.find_one, []

    async def look(*about, **options):
        found = await find_one(*about, **options)
        looks.append(found)
        await mongo_jobs.begin(at(after(60), waits))
        return found

    monkeypatch.setattr(mongo_jobs._jobs, "find_one", look)
    standing = await mongo_jobs.standing({"o": 3})
    assert len(looks) == 2
    # As it was found last.
    assert (standing["o"].job_id, standing["o"].status) == ("job-1", Status.QUEUED)
