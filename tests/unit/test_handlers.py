"""Handlers and what they are told."""

import dataclasses

import pytest

from hasty.handlers import SLEEP, Handler, Handlers, JobContext, built_in, sleeper
from hasty.job import fence
from hasty.settings import Settings
from tests.unit.examples import NOW, a_work, virtually


async def nothing(_context, _payload):
    return None


def a_handler(name):
    return Handler(name=name, function=nothing, timeout_s=1.0, rerun_window_s=2.0)


def test_handlers_are_found_by_their_names():
    one, two = a_handler("one"), a_handler("two")
    handlers = Handlers(one, two)
    assert dict(handlers) == {"one": one, "two": two}
    assert handlers["two"] is two
    assert handlers.get("three") is None
    with pytest.raises(KeyError):
        handlers["three"]


def test_a_handler_is_told_which_attempt_of_which_job_it_is():
    context = JobContext.of(a_work("job-9", object_id="doc", run=3), attempt=2)
    assert context == JobContext(job_id="job-9", object_id="doc", run=3, attempt=2, fence=fence(NOW, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.attempt = 3


def test_the_built_in_handler_has_the_limits_of_the_settings():
    handlers = built_in(Settings(timeout_s=9, rerun_window_s=8))
    assert list(handlers) == [SLEEP] == ["sleep"]
    assert (handlers[SLEEP].timeout_s, handlers[SLEEP].rerun_window_s) == (9.0, 8.0)


@virtually
async def test_the_built_in_handler_sleeps_as_the_settings_say(loop_time):
    handler = built_in(Settings(sleep_min_s=7, sleep_max_s=7))[SLEEP]
    assert await handler.function(JobContext.of(a_work(), 1), None) == {"sleep_time_used": 7}
    assert loop_time() == 7.0


@virtually
async def test_a_sleep_stays_in_its_bounds_and_says_its_length_in_whole_seconds(loop_time):
    sleep = sleeper(15.0, 45.0)
    told = set()
    for _ in range(200):
        started = loop_time()
        used = (await sleep(JobContext.of(a_work(), 1), None))["sleep_time_used"]
        lasted = loop_time() - started
        assert 15.0 <= lasted <= 45.0
        assert type(used) is int
        assert abs(used - lasted) <= 0.5
        told.add(used)
    assert len(told) > 10
