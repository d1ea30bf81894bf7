"""The rule of the rerun window."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasty.job import Job, Status, fence
from hasty.messages import Reason, Refused
from hasty.rerun import decide
from tests.unit.examples import NOW, a_job, a_request, after, repeatable

MS = timedelta(milliseconds=1)
ENDED = a_job("job-0", status=Status.FINISHED)


def test_an_objects_first_job_is_admitted_as_it_was_asked_for():
    request = a_request(payload={"a": 1}, priority=-3, idempotency_key="k", timeout_s=7.0)
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
    assert decide(ENDED, a_request(rerun_window_s=1), after(299)).retry_after_s == 1.0
    assert decide(ENDED, a_request(rerun_window_s=1), after(300)).opens_at == after(301)
    assert decide(ENDED, a_request(rerun_window_s=0), after(300)).opens_at == after(300)


def test_without_a_window_the_next_run_is_accepted_at_least_a_millisecond_later():
    first = decide(None, a_request("job-1", rerun_window_s=0), NOW)
    assert first.opens_at == NOW
    second = decide(replace(first, status=Status.FINISHED), a_request("job-2", rerun_window_s=0), NOW)
    assert second.accepted_at == NOW + MS
    assert second.opens_at == NOW + MS
    assert fence(second.accepted_at, 1) > fence(first.accepted_at, 1_023)


def test_a_clock_that_went_back_before_the_window_refuses_longer():
    assert decide(ENDED, a_request(), after(-100)) == Refused(Reason.WINDOW, "job-0", 400.0)


def test_acceptance_never_goes_back_even_where_a_record_shows_a_later_one():
    previous = replace(ENDED, accepted_at=after(60), opens_at=after(10))
    admitted = decide(previous, a_request(rerun_window_s=0), after(20))
    assert admitted.accepted_at == after(60) + MS
    assert admitted.opens_at == after(60) + MS


@pytest.mark.parametrize(("window_s", "ms"), [(1 / 3, 334), (0.0001, 1), (0.1, 100), (1.001, 1_001)])
def test_a_window_ends_at_a_whole_millisecond_which_is_the_same_after_storage(window_s, ms):
    assert decide(None, a_request(rerun_window_s=window_s), NOW).opens_at == NOW + ms * MS


def test_the_record_outlives_its_window_by_a_day():
    assert decide(None, a_request(rerun_window_s=31_536_000.0), NOW).expires_at == after(31_536_000 + 86_400)


@st.composite
def histories(draw):
    """Requests for one object: when each comes (the clock may go back), its window, and what ended."""
    steps = st.tuples(
        st.integers(-2_000, 12_000),
        st.sampled_from([0, 1, 500, 1_000, 5_000]),
        st.booleans(),
    )
    return draw(st.lists(steps, min_size=1, max_size=40))


@repeatable
@given(histories())
def test_no_two_jobs_are_admitted_within_one_window_and_fences_grow(steps):
    newest, admitted, now_ms = None, [], 0
    for number, (passed_ms, window_ms, ends) in enumerate(steps):
        now_ms += passed_ms
        now = NOW + timedelta(milliseconds=now_ms)
        if newest is not None and ends:
            newest = replace(newest, status=Status.FINISHED)
        verdict = decide(newest, a_request(f"job-{number}", rerun_window_s=window_ms / 1000), now)
        if isinstance(verdict, Refused):
            assert newest is not None
            assert verdict.retry_after_s > 0
            assert (verdict.reason is Reason.WINDOW) == (now < newest.opens_at)
            continue
        admitted.append((verdict, window_ms))
        newest = verdict
    assert admitted
    for (earlier, window_ms), (later, _) in itertools.pairwise(admitted):
        assert later.accepted_at - earlier.accepted_at >= timedelta(milliseconds=max(window_ms, 1))
        assert later.opens_at >= earlier.opens_at
        assert later.run == earlier.run + 1
        assert fence(later.accepted_at, 1) > fence(earlier.accepted_at, 1_023)
