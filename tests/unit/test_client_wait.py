"""Waiting for a job: long polls, one after the other, until it has ended or the caller's time is over."""

import math

import httpx
import pytest

from hasty.client.waiting import AWAY_S
from hasty.errors import (
    InvalidRequest,
    JobCancelled,
    JobFailed,
    RateLimited,
    StoreUnavailable,
    UnknownJob,
    Unreachable,
    WaitTimeout,
)
from tests.unit.client_double import answer, both, job, problem


def scripted(kind, *script, **options):
    """A client of a hasty whose answers take time: each is the seconds that it takes, and what it is."""
    client = kind([], options)

    def taking(seconds, what):
        def give(_request):
            client.clock.now += seconds
            if isinstance(what, httpx.Response):
                return what
            raise what("")

        return give

    client.hasty.script.extend(taking(seconds, what) for seconds, what in script)
    return client


def holds(client):
    return [request.url.params.get("wait") for request in client.hasty.requests]


def running():
    return answer(job("running"))


@both
def test_a_job_is_waited_for_in_long_polls(kind):
    client = scripted(kind, (30, running()), (30, running()), (3, answer(job("finished", result=3))))
    began = client.clock.now
    found = client.call("wait", "job-1")
    assert (found.status, found.final, found.result) == ("finished", True, 3)
    assert client.clock.now - began == 63
    assert holds(client) == ["30", "30", "30"]
    assert {request.url.path for request in client.hasty.requests} == {"/v1/jobs/job-1"}


@both
def test_a_poll_may_be_silent_for_as_long_as_hasty_holds_it_and_as_any_other_answer(kind):
    client = scripted(kind, (0, answer(job("finished"))), timeout=30)
    client.call("wait", "job-1")
    timeouts = client.hasty.last.extensions["timeout"]
    assert (timeouts["connect"], timeouts["read"], timeouts["write"]) == (5.0, 40.0, 10.0)


@both
@pytest.mark.parametrize("status", ["finished", "failed", "cancelled"])
def test_it_does_not_matter_how_the_job_ended(kind, status):
    assert scripted(kind, (0, answer(job(status)))).call("wait", "job-1").status == status


@both
def test_when_the_time_is_over_the_job_is_told_as_it_stood(kind):
    client = scripted(kind, (30, running()), (12.5, running()))
    began = client.clock.now
    with pytest.raises(WaitTimeout, match=r"^job job-1 of 'sleep' is still running$") as late:
        client.call("wait", "job-1", timeout=42.5)
    assert late.value.job.status == "running"
    assert isinstance(late.value, TimeoutError)
    assert holds(client) == ["30", "12.5"]
    assert client.clock.now - began == 42.5


@both
def test_a_job_that_ends_at_the_last_moment_has_ended(kind):
    client = scripted(kind, (0, running()), (0.5, running()), (0, answer(job("finished"))))
    assert client.call("wait", "job-1", timeout=1.6).final
    assert client.clock.slept == [1, pytest.approx(0.1)]
    assert holds(client) == ["1.6", "0.6", None]


@both
def test_without_any_time_it_is_looked_at_once(kind):
    assert scripted(kind, (0, answer(job("finished")))).call("wait", "job-1", timeout=0).final
    client = scripted(kind, (0, running()))
    with pytest.raises(WaitTimeout):
        client.call("wait", "job-1", timeout=0)
    assert (holds(client), client.clock.slept) == ([None], [])


@both
def test_a_hasty_that_does_not_hold_its_answers_is_not_asked_all_the_time(kind):
    client = scripted(kind, *[(0, running())] * 20, (0, answer(job("finished"))))
    client.call("wait", "job-1")
    assert client.clock.slept == [1.0] * 20


@both
@pytest.mark.parametrize(
    "what",
    [
        httpx.ReadError,
        httpx.ReadTimeout,
        httpx.RemoteProtocolError,
        httpx.Response(500),
        problem(503, "draining"),
    ],
)
def test_a_connection_that_drops_in_the_middle_is_made_again(kind, what):
    client = scripted(kind, (29, what), (2, answer(job("finished"))))
    assert client.call("wait", "job-1").final


@both
def test_failures_count_anew_after_each_answer(kind):
    down = [(29, httpx.ReadError), *[(0, httpx.ConnectError)] * 2]
    script = [*down, (30, running()), *down, (30, running()), *down, (1, answer(job("finished")))]
    assert scripted(kind, *script, retries=3).call("wait", "job-1").final


@both
def test_a_hasty_that_stays_away_is_unreachable(kind):
    client = scripted(kind, (5, running()), *[(0, httpx.ConnectError)] * 1_000, retries=3)
    began = client.clock.now
    with pytest.raises(Unreachable):
        client.call("wait", "job-1")
    assert AWAY_S <= client.clock.now - began - 5 < AWAY_S + 20


@both
@pytest.mark.parametrize("call", ["wait", "result"])
@pytest.mark.parametrize("options", [{}, {"retries": 0}, {"timeout": 1}])
def test_a_hasty_that_is_started_again_only_makes_it_take_longer(kind, call, options):
    client = kind([], options)
    back = client.clock.now + 59

    def starting(_request):
        if client.clock.now < back:
            raise httpx.ConnectError("")
        return answer(job("finished", result=3))

    client.hasty.script.extend([starting] * 1_000)
    found = client.call(call, "job-1")
    assert (found if call == "result" else found.result) == 3
    assert client.clock.now >= back


@both
def test_each_time_that_hasty_is_away_counts_for_itself(kind):
    away = [(5, httpx.ConnectError)] * 7
    script = [*away, (1, running()), *away, (1, running()), *away, (1, answer(job("finished")))]
    assert scripted(kind, *script).call("wait", "job-1").final


@both
def test_a_try_while_hasty_is_away_has_as_much_time_as_any(kind):
    client = scripted(kind, *[(10, httpx.ConnectTimeout)] * 5, (0, answer(job("finished"))), timeout=30)
    client.call("wait", "job-1")
    assert client.hasty.last.extensions["timeout"]["read"] == 40.0


@both
def test_who_is_told_to_come_back_after_a_longer_time_is_not_kept_waiting(kind):
    client = scripted(kind, (1, problem(429, "rate_limited", 61)))
    with pytest.raises(RateLimited):
        client.call("wait", "job-1")
    assert client.clock.slept == []


@both
def test_a_caller_s_time_is_kept_also_where_hasty_is_away(kind):
    client = scripted(kind, (2, running()), *[(0, httpx.ConnectError)] * 50, retries=100, timeout=1_000)
    began = client.clock.now
    with pytest.raises(WaitTimeout) as late:
        client.call("wait", "job-1", timeout=10)
    assert client.clock.now - began == 10
    assert late.value.job.status == "running"


@both
def test_the_last_answer_may_be_a_little_late_and_no_more(kind):
    client = kind([], {})

    def frozen(request):
        client.clock.now += request.extensions["timeout"]["read"]
        raise httpx.ReadTimeout("")

    client.hasty.script.append(frozen)
    began = client.clock.now
    with pytest.raises(Unreachable):
        client.call("wait", "job-1", timeout=5)
    assert client.clock.now - began == 7


@both
def test_what_was_never_answered_is_told_as_what_it_is(kind):
    client = scripted(kind, *[(1, httpx.ConnectError)] * 50, retries=100)
    with pytest.raises(Unreachable):
        client.call("wait", "job-1", timeout=3)
    client = scripted(kind, *[(1, problem(503, "store_unavailable"))] * 50, retries=100)
    with pytest.raises(StoreUnavailable):
        client.call("wait", "job-1", timeout=3)


@both
@pytest.mark.parametrize("seconds", [None, 0, 60])
def test_a_job_that_is_not_there_is_not_waited_for(kind, seconds):
    with pytest.raises(UnknownJob):
        scripted(kind, (0, problem(404, "unknown_job"))).call("wait", "job-1", timeout=seconds)


@both
def test_a_job_that_is_forgotten_meanwhile_is_not_there(kind):
    client = scripted(kind, (30, running()), (5, problem(404, "unknown_job")))
    with pytest.raises(UnknownJob):
        client.call("wait", "job-1", timeout=35)


@both
def test_no_pause_goes_beyond_the_caller_s_time(kind):
    client = scripted(kind, (0, running()), (0, problem(503, "draining", 10)), (0, running()), timeout=100)
    began = client.clock.now
    with pytest.raises(WaitTimeout):
        client.call("wait", "job-1", timeout=4)
    assert client.clock.now - began == 4


# Results -----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("result", [None, 0, {"total": 3}, [1]])
def test_the_result_is_what_the_handler_returned(kind, result):
    script = [(30, running()), (1, answer(job("finished", result=result)))]
    assert scripted(kind, *script).call("result", "job-1") == result


@both
def test_a_job_that_failed_has_none_and_says_why(kind):
    ended = job("failed", error={"type": "ValueError", "message": "too wide", "causes": []})
    with pytest.raises(JobFailed, match=r"^job job-1 of 'sleep' failed: ValueError: too wide$") as raised:
        scripted(kind, (0, answer(ended))).call("result", "job-1")
    assert raised.value.job.error["type"] == "ValueError"


@both
@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"type": "Cancelled", "message": "no need"}, ": Cancelled: no need"),
        ({"type": "Timeout", "message": ""}, ": Timeout"),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_job_that_was_cancelled_has_none_either(kind, error, told):
    with pytest.raises(JobCancelled, match=rf"^job job-1 of 'sleep' was cancelled{told}$") as raised:
        scripted(kind, (0, answer(job("cancelled", error=error)))).call("result", "job-1")
    assert raised.value.job.status == "cancelled"


@both
def test_a_result_is_waited_for_no_longer_than_the_caller_says(kind):
    with pytest.raises(WaitTimeout):
        scripted(kind, (2, running())).call("result", "job-1", timeout=2)


@both
@pytest.mark.parametrize("seconds", [math.nan, -1])
def test_a_time_that_is_none_is_refused(kind, seconds):
    for call in ("wait", "result"):
        with pytest.raises(InvalidRequest, match=r"^timeout: must be a number of seconds, from 0 on"):
            kind([], {}).call(call, "job-1", timeout=seconds)


@both
def test_for_ever_is_a_time_too(kind):
    assert scripted(kind, (30, running()), (0, answer(job("failed")))).call("wait", "job-1", math.inf).final
