"""The rule of the rerun window."""

import asyncio
import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hasty.rerun
from hasty.actors.registry import Registry
from hasty.dispatch import Settle
from hasty.job import Job, Outcome, Status, Window, fence
from hasty.messages import Accepted, Admit, Reason, Refused
from hasty.rerun import Past, opening
from hasty.store.base import kept_until, settled_fields
from hasty.store.memory import MemoryJobStore
from hasty.testing import VirtualClock
from tests.unit.examples import NOW, a_job, a_request, a_work, after, repeatable, virtually
from tests.unit.system import Silent

MS = timedelta(milliseconds=1)


def decide(newest, request, now):
    """Decide where the newest job is the one that counts."""
    return hasty.rerun.decide(Past(newest, newest) if newest is not None else None, request, now)


ENDED = a_job("job-0", status=Status.FINISHED)
FINALS = (Status.CANCELLED, Status.FAILED, Status.FINISHED)


def test_an_objects_first_job_is_admitted_as_it_was_asked_for():
    request = a_request(
        payload={"a": 1},
        priority=-3,
        idempotency_key="k",
        timeout_s=7.0,
        pool="gpu",
        queue_timeout_s=9.0001,
    )
    assert decide(None, request, NOW) == Job(
        job_id="job-1",
        object_id="video-1",
        run=1,
        handler="sleep",
        payload={"a": 1},
        status=Status.QUEUED,
        priority=-3,
        accepted_at=NOW,
        opens_at=after(300),
        expires_at=after(300 + 86_400),
        timeout_s=7.0,
        pool="gpu",
        window=None,
        give_up_at=after(9.001),
        idempotency_key="k",
    )


@pytest.mark.parametrize("status", list(Status))
def test_a_request_that_comes_again_gets_its_own_job_whatever_became_of_it(status):
    job = a_job("job-1", status=status)
    assert decide(job, a_request("job-1"), after(1)) is job
    assert decide(job, a_request("job-1"), after(999)) is job


@pytest.mark.parametrize("status", list(Status))
def test_another_job_is_refused_within_the_window_ended_or_not(status):
    verdict = decide(a_job("job-0", status=status), a_request(), after(299))
    assert verdict == Refused(Reason.WINDOW, "job-0", 1.0)


def test_the_window_is_shut_until_the_last_millisecond_and_open_at_its_end():
    assert decide(ENDED, a_request(), ENDED.opens_at - MS) == Refused(Reason.WINDOW, "job-0", 0.001)
    admitted = decide(ENDED, a_request(), ENDED.opens_at)
    assert (admitted.run, admitted.accepted_at, admitted.opens_at) == (2, after(300), after(600))


def test_a_refused_rerun_says_when_the_window_opens():
    assert decide(ENDED, a_request(), NOW).retry_after_s == 300.0
    assert decide(ENDED, a_request(), after(120.5)).retry_after_s == 179.5


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.QUEUED, Status.RUNNING])
def test_a_job_that_has_not_ended_stands_in_the_way_after_its_window(status):
    verdict = decide(a_job("job-0", status=status), a_request(), after(10_000))
    assert verdict == Refused(Reason.UNFINISHED, "job-0", 5.0)


@pytest.mark.parametrize("status", [Status.FINISHED, Status.FAILED, Status.CANCELLED])
def test_a_job_that_ended_in_any_way_makes_room_for_the_next_run(status):
    previous = a_job("job-0", status=status, run=41)
    assert decide(previous, a_request(), after(300)).run == 42


def test_a_shorter_window_counts_from_its_own_acceptance_and_opens_no_earlier_than_the_longer_one():
    assert decide(ENDED, a_request(window=Window(1)), after(299)).retry_after_s == 1.0
    assert decide(ENDED, a_request(window=Window(1)), after(300)).opens_at == after(301)
    assert decide(ENDED, a_request(window=Window(0)), after(300)).opens_at == after(300)


def test_without_a_window_the_next_run_is_accepted_at_least_a_millisecond_later():
    first = decide(None, a_request("job-1", window=Window(0)), NOW)
    assert first.opens_at == NOW
    second = decide(replace(first, status=Status.FINISHED), a_request("job-2", window=Window(0)), NOW)
    assert second.accepted_at == NOW + MS
    assert second.opens_at == NOW + MS
    assert fence(second.accepted_at, 1) > fence(first.accepted_at, 1_023)


def test_a_clock_that_went_back_before_the_window_refuses_longer():
    assert decide(ENDED, a_request(), after(-100)) == Refused(Reason.WINDOW, "job-0", 400.0)


def test_acceptance_never_goes_back_even_where_a_record_shows_a_later_one():
    previous = replace(ENDED, accepted_at=after(60), opens_at=after(10))
    admitted = decide(previous, a_request(window=Window(0)), after(20))
    assert admitted.accepted_at == after(60) + MS
    assert admitted.opens_at == after(60) + MS


@pytest.mark.parametrize(("window_s", "ms"), [(1 / 3, 334), (0.0001, 1), (0.1, 100), (1.001, 1_001)])
def test_a_window_ends_at_a_whole_millisecond_which_is_the_same_after_storage(window_s, ms):
    assert decide(None, a_request(window=Window(window_s)), NOW).opens_at == NOW + ms * MS


def test_the_record_outlives_its_window_by_a_day():
    assert decide(None, a_request(window=Window(31_536_000.0)), NOW).expires_at == after(31_536_000 + 86_400)


# Windows that the end decides on ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "fixed"),
    [
        (Window(300.0), True),
        (Window(300.0, after=FINALS), True),
        (Window(300.0, from_end=True), False),
        (Window(300.0, after=(Status.FINISHED,)), False),
        (Window(300.0, after=()), False),
    ],
)
def test_a_job_takes_its_window_along_only_where_its_end_decides_on_it(window, fixed):
    job = decide(None, a_request(window=window), NOW)
    assert (job.window, window.fixed) == (None if fixed else window, fixed)
    # Until then it is shut as if it counted from acceptance.
    assert (job.opens_at, job.expires_at) == (after(300), after(300 + 86_400))
    assert job.work().window == job.window


@pytest.mark.parametrize("status", FINALS)
@pytest.mark.parametrize(
    ("window", "shut_by", "opens_at"),
    [
        (None, FINALS, None),
        (Window(300.0, from_end=True, after=FINALS), FINALS, after(350)),
        (Window(300.0, from_end=True, after=(Status.FINISHED,)), (Status.FINISHED,), after(350)),
        (Window(300.0, after=(Status.FINISHED, Status.FAILED)), (Status.FINISHED, Status.FAILED), None),
        (Window(300.0, after=()), (), None),
        (Window(0.0, from_end=True, after=FINALS), FINALS, after(50)),
        (Window(1 / 3, from_end=True, after=FINALS), FINALS, after(50.334)),
    ],
)
def test_after_an_end_the_window_is_shut_or_opens_at_once(window, status, shut_by, opens_at):
    found = opening(a_work(window=window), status, after(50))
    assert found == (opens_at if status in shut_by else after(50))


class Ended(NamedTuple):
    """How and when a job ended."""

    status: Status
    at: datetime


def settled(job, end):
    """Settle a job as the stores do."""
    outcome = Outcome(end.status, end.at, opens_at=opening(job.work(), *end))
    kept = max(job.expires_at, kept_until(outcome, end.at))
    return replace(job, expires_at=kept, **settled_fields(outcome))


def test_an_end_that_keeps_no_window_shut_makes_room_at_once():
    """And is no reason to forget the record sooner."""
    window = Window(300.0, after=(Status.FINISHED,))
    job = decide(None, a_request("job-0", window=window), NOW)
    failed = settled(job, Ended(Status.FAILED, after(10)))
    assert (failed.opens_at, failed.expires_at) == (after(10), job.expires_at)
    assert decide(failed, a_request(), after(10) - MS) == Refused(Reason.WINDOW, "job-0", 0.001)
    assert decide(failed, a_request(), after(10)).run == 2
    finished = settled(job, Ended(Status.FINISHED, after(10)))
    assert decide(finished, a_request(), after(10)) == Refused(Reason.WINDOW, "job-0", 290.0)


def test_a_window_from_the_end_is_shut_from_acceptance_until_it_has_passed_after_the_end():
    job = decide(None, a_request("job-0", window=Window(60.0, from_end=True)), NOW)
    assert decide(job, a_request(), after(59)) == Refused(Reason.WINDOW, "job-0", 1.0)
    assert decide(job, a_request(), after(100_000)) == Refused(Reason.UNFINISHED, "job-0", 5.0)
    ended = settled(job, Ended(Status.CANCELLED, after(100_000)))
    assert decide(ended, a_request(), after(100_059)) == Refused(Reason.WINDOW, "job-0", 1.0)
    assert decide(ended, a_request(), after(100_060)).run == 2
    # The record that says so is there for as long, and a day longer.
    assert ended.expires_at == after(100_060 + 86_400)


@st.composite
def histories(draw):
    """Requests for one object: when each comes (the clock may go back), its window, and what ended."""
    windows = st.builds(
        Window,
        st.sampled_from([0.0, 0.001, 0.5, 1.0, 5.0]),
        st.booleans(),
        st.lists(st.sampled_from(FINALS), unique=True).map(lambda ends: tuple(sorted(ends)))
        | st.just(FINALS),
        not_before=st.none(),
    )
    steps = st.tuples(st.integers(-2_000, 12_000), windows, st.none() | st.sampled_from(FINALS))
    return draw(st.lists(steps, min_size=1, max_size=40))


def shut_until(job, window, end):
    """When a job's window opens, as its handler's author was told."""
    if end.status not in window.after:
        return end.at
    return (end.at if window.from_end else job.accepted_at) + timedelta(seconds=window.seconds)


@repeatable
@given(histories())
def test_no_two_jobs_are_admitted_within_one_window_and_fences_grow(steps):
    newest, admitted, ends, now_ms = None, [], {}, 0
    for number, (passed_ms, window, status) in enumerate(steps):
        now_ms += passed_ms
        now = NOW + timedelta(milliseconds=now_ms)
        if newest is not None and newest.live and status is not None:
            end = ends[newest.job_id] = Ended(status, now)
            newest = settled(newest, end)
        verdict = decide(newest, a_request(f"job-{number}", window=window), now)
        if isinstance(verdict, Refused):
            assert newest is not None
            assert verdict.retry_after_s > 0
            assert (verdict.reason is Reason.WINDOW) == (now < newest.opens_at)
            continue
        admitted.append((verdict, window))
        newest = verdict
    assert admitted
    for (earlier, window), (later, _) in itertools.pairwise(admitted):
        assert later.accepted_at >= earlier.accepted_at + MS
        assert later.accepted_at >= shut_until(earlier, window, ends[earlier.job_id])
        assert later.run == earlier.run + 1
        assert fence(later.accepted_at, 1) > fence(earlier.accepted_at, 1_023)


# The Registry ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", FINALS)
@virtually
async def test_the_registry_sees_at_once_that_an_end_has_opened_a_window(status):
    """It remembers the job as it was admitted: live, its window shut."""
    jobs = MemoryJobStore(clock := VirtualClock(asyncio.get_running_loop()))
    registry = Registry(jobs, Silent(), clock)
    window = Window(300.0, after=(Status.FINISHED,))
    assert isinstance(await ask(registry, "job-1", window), Accepted)
    await asyncio.sleep(10)
    assert await ask(registry, "job-2", window) == Refused(Reason.WINDOW, "job-1", 290.0)

    (work,) = (job.work() for job in jobs.jobs.values())
    outcome = Outcome(status, clock.now(), opens_at=opening(work, status, clock.now()))
    await jobs.settle([Settle("job-1", outcome)], 1, clock.now())
    answer = await ask(registry, "job-3", window)
    if status is Status.FINISHED:
        assert answer == Refused(Reason.WINDOW, "job-1", 290.0)
    else:
        assert answer.work.run == 2


@virtually
async def test_the_registry_keeps_a_window_shut_that_an_end_has_moved():
    jobs = MemoryJobStore(clock := VirtualClock(asyncio.get_running_loop()))
    registry = Registry(jobs, Silent(), clock)
    window = Window(300.0, from_end=True)
    await ask(registry, "job-1", window)
    await asyncio.sleep(250)
    opens_at = clock.now() + timedelta(seconds=300)
    await jobs.settle([Settle("job-1", Outcome(Status.FAILED, clock.now(), opens_at=opens_at))], 1, NOW)
    await asyncio.sleep(100)
    assert await ask(registry, "job-2", window) == Refused(Reason.WINDOW, "job-1", 200.0)
    await asyncio.sleep(200)
    assert (await ask(registry, "job-3", window)).work.run == 2


async def ask(registry, job_id, window):
    (answer,) = (await registry.admit(Admit((a_request(job_id, window=window),)))).answers
    return answer
