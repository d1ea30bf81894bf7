"""What may pass is tried again, safely: not too often, not too long, and not before hasty asks for it."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasty.client.patience import Limits, Patience
from hasty.client.problems import Failure
from hasty.errors import (
    HastyError,
    JobRefused,
    RateLimited,
    StoreUnavailable,
    TryAgainLater,
    UnknownJob,
    Unreachable,
)
from tests.unit.client_double import answer, both, job, problem
from tests.unit.examples import repeatable

PASSING = [
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.PoolTimeout,
    httpx.RemoteProtocolError,
    lambda _: problem(429, "rate_limited"),
    lambda _: problem(500, "internal"),
    lambda _: httpx.Response(500, text="<html>of HAProxy</html>"),
    lambda _: httpx.Response(502),
    lambda _: problem(503, "store_unavailable"),
    lambda _: httpx.Response(504),
]


@both
@pytest.mark.parametrize("what", PASSING)
@pytest.mark.parametrize("call", ["get", "submit", "cancel", "rerun"])
def test_what_may_pass_is_tried_again(kind, what, call):
    client = kind([what, what, answer(job())], {})
    assert client.call(call, "job-1").id == "job-1"
    first, *others = client.hasty.requests
    assert len(others) == len(client.clock.slept) == 2
    for other in others:
        assert (other.method, other.url, other.content) == (first.method, first.url, first.content)
        assert other.headers == first.headers


@both
@pytest.mark.parametrize("call", ["submit", "cancel", "rerun"])
def test_every_try_of_a_post_has_the_same_key(kind, call):
    client = kind([httpx.ReadTimeout, httpx.Response(500), answer(job())], {})
    client.call(call, "job-1")
    keys = {request.headers["Idempotency-Key"] for request in client.hasty.requests}
    assert len(keys) == 1


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 501, 505])
def test_what_does_not_pass_is_not_tried_again(kind, status):
    client = kind([problem(status, "whatever")], {})
    with pytest.raises(HastyError):
        client.call("submit", "x")
    assert client.clock.slept == []


@both
def test_a_refusal_is_not_tried_again_though_it_says_when_to_come_back(kind):
    with pytest.raises(JobRefused):
        kind([problem(409, "rerun_window", 1, job_id="job-1")], {}).call("submit", "x")


@both
@pytest.mark.parametrize("retries", [0, 1, 5])
def test_it_is_tried_again_so_often_and_then_the_last_error_is_raised(kind, retries):
    script = [httpx.ConnectError] * retries + [problem(503, "store_unavailable")]
    client = kind(script, {"retries": retries, "timeout": 1_000})
    with pytest.raises(StoreUnavailable):
        client.call("get", "job-1")
    assert len(client.hasty.requests) == retries + 1


@both
def test_no_answer_at_all_is_unreachable(kind):
    client = kind([httpx.ConnectError] * 6, {"timeout": 1_000})
    with pytest.raises(Unreachable, match=r"^no answer from 127.0.0.1:8000: no luck$"):
        client.call("submit", "x")


@both
def test_it_is_not_tried_before_hasty_asks_for_it(kind):
    client = kind([problem(429, "backlog_full", 7), answer(job())], {})
    client.call("submit", "x")
    (slept,) = client.clock.slept
    assert 7 <= slept <= 7.5


@both
def test_a_wait_that_is_too_long_is_the_caller_s(kind):
    client = kind([problem(429, "rate_limited", 31)], {})
    with pytest.raises(RateLimited) as raised:
        client.call("submit", "x")
    assert raised.value.retry_after_s == 31
    assert client.clock.slept == []


@both
def test_all_tries_together_take_no_longer_than_the_timeout(kind):
    client = kind([], {"timeout": 20, "retries": 1_000})

    def slow(request):
        # As long as it may be silent.
        client.clock.now += request.extensions["timeout"]["read"]
        raise httpx.ReadTimeout("")

    client.hasty.script.extend([slow] * 50)
    began = client.clock.now
    with pytest.raises(Unreachable):
        client.call("submit", "x")
    assert 15 < client.clock.now - began <= 20
    assert len(client.hasty.requests) >= 3


@both
def test_one_try_is_silent_for_a_third_of_the_time_at_most_so_that_another_can_follow(kind):
    client = kind([answer(job())], {"timeout": 30})
    client.call("get", "job-1")
    assert client.hasty.last.extensions["timeout"] == {
        "connect": 5.0,
        "read": 10.0,
        "write": 10.0,
        "pool": 10.0,
    }


@both
def test_a_connection_is_made_soon_or_not_at_all(kind):
    client = kind([answer(job())], {"timeout": 6})
    client.call("get", "job-1")
    assert client.hasty.last.extensions["timeout"]["connect"] == 2.0


@both
def test_an_error_that_does_not_pass_ends_the_tries(kind):
    client = kind([httpx.ReadError, problem(404, "unknown_job")], {})
    with pytest.raises(UnknownJob):
        client.call("get", "job-1")


def passing(wait_s=0.0):
    return Failure(TryAgainLater(), passes=True, wait_s=wait_s)


def waits(count, chance, *, timeout_s=1e9, wait_s=0.0):
    patience = Patience(Limits(count, timeout_s, lambda: chance), 0.0)
    return [patience.next_wait_s(passing(wait_s), 0.0) for _ in range(count)]


def test_the_bound_of_the_waits_doubles_up_to_a_cap():
    assert waits(8, 1.0) == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert waits(5_000, 1.0)[-1] == 10.0


def test_each_wait_is_drawn_from_all_that_is_under_its_bound():
    assert waits(3, 0.0) == [0.0, 0.0, 0.0]
    assert waits(3, 0.5) == [0.25, 0.5, 1.0]


def test_what_hasty_asks_for_is_waited_and_the_drawn_wait_beyond_it_so_that_not_all_come_at_once():
    assert waits(3, 0.5, wait_s=7.0) == [7.25, 7.5, 8.0]


def test_without_a_beginning_time_counts_from_the_first_failure():
    patience = Patience(Limits(10, 5.0, lambda: 0.0))
    assert patience.next_wait_s(passing(), 100.0) == 0.0
    assert patience.next_wait_s(passing(), 104.9) == 0.0
    assert patience.next_wait_s(passing(), 105.0) is None


def test_success_makes_up_for_failures():
    patience = Patience(Limits(1, 5.0, lambda: 0.0))
    assert patience.next_wait_s(passing(), 0.0) == 0.0
    assert patience.next_wait_s(passing(), 0.0) is None
    patience.relax()
    assert patience.next_wait_s(passing(), 100.0) == 0.0


def test_some_time_may_be_borne_however_often_it_fails_and_whatever_the_limits_are():
    patience = Patience(Limits(0, 5.0, lambda: 0.5), at_least_s=60.0)
    waited = [patience.next_wait_s(passing(), now) for now in (100.0, 101.0, 159.9, 160.0)]
    assert waited == [0.25, 0.5, 1.0, None]
    patience.relax()
    assert patience.next_wait_s(passing(), 161.0) == 0.25
    assert patience.next_wait_s(Failure(TryAgainLater()), 162.0) is None


@repeatable
@given(
    st.integers(0, 20),
    st.floats(0.1, 1_000),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50), st.floats(0, 0.999))),
)
def test_patience_ends(retries, timeout_s, course):
    chances = iter([chance for *_, chance in course])
    patience, now, waited = Patience(Limits(retries, timeout_s, lambda: next(chances)), 0.0), 0.0, 0
    for told, took, _ in course:
        now += took
        wait_s = patience.next_wait_s(passing(told), now)
        if wait_s is None:
            break
        assert wait_s >= told
        now, waited = now + wait_s, waited + 1
        assert now < timeout_s
    assert waited <= retries
