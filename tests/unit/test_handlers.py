"""Handlers and what they are told."""

import asyncio
import dataclasses
import logging
from datetime import timedelta

import pytest

from hasty.handlers import SLEEP, Handler, Handlers, JobContext, Term, built_in, sleeper
from hasty.handlers.catalogue import Retrying
from hasty.job import Status, Window, fence
from hasty.settings import Settings
from hasty.testing import VirtualClock
from tests.unit.examples import NOW, VIRTUAL_BEGINNING, a_work, virtually


async def nothing(_context, _payload):
    return None


def a_handler(name):
    return Handler(name=name, function=nothing, timeout_s=1.0, window=Window(2.0))


def a_term(**limits):
    return Term(VirtualClock(asyncio.get_running_loop()), **({"timeout_s": 46.0} | limits))


def a_context(term=None, attempt=1):
    return JobContext.of(a_work("job-9", object_id="doc", run=3), attempt, term or a_term())


def test_handlers_are_found_by_their_names():
    one, two = a_handler("one"), a_handler("two")
    handlers = Handlers(one, two)
    assert dict(handlers) == {"one": one, "two": two}
    assert handlers["two"] is two
    assert handlers.get("three") is None
    with pytest.raises(KeyError):
        handlers["three"]


@pytest.mark.parametrize(
    "change",
    [
        {"timeout_s": 9.0},
        {"window": Window(9.0)},
        {"window": Window(2.0, from_end=True)},
        {"window": Window(2.0, after=(Status.FINISHED,))},
        {"max_timeout_s": 9.0},
        {"stall_timeout_s": 9.0},
        {"grace_s": 9.0},
        {"max_crashes": 9},
        {"pool": "gpu"},
        {"queue_timeout_s": 9.0},
        {"retry": Retrying(9)},
        {"retry": Retrying(0, 9.0)},
        {"retry": Retrying(0, 1.0, 9.0)},
        {"retry": Retrying(0, on=(OSError,))},
    ],
    ids=str,
)
def test_two_sets_of_handlers_with_different_limits_have_different_versions(change):
    one, other = Handlers(a_handler("one")), Handlers(dataclasses.replace(a_handler("one"), **change))
    assert one.version == Handlers(a_handler("one")).version
    assert one.version != other.version


@virtually
async def test_a_handler_is_told_which_attempt_of_which_job_it_is():
    context = a_context(attempt=2)
    told = (context.job_id, context.object_id, context.run, context.attempt, context.fence, context.handler)
    assert told == ("job-9", "doc", 3, 2, fence(NOW, 2), "sleep")
    # Whatever is left of its time.
    assert context == a_context(a_term(timeout_s=1.0), attempt=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.attempt = 3


@virtually
async def test_a_handler_is_told_how_much_time_it_has():
    context = a_context()
    await asyncio.sleep(6)
    assert (context.remaining(), context.deadline) == (40.0, VIRTUAL_BEGINNING + timedelta(seconds=46))
    await asyncio.sleep(50)
    assert context.remaining() == 0.0


@virtually
async def test_a_handler_is_told_that_it_is_to_end():
    term = a_term()
    context = a_context(term)
    assert not context.cancelled()
    term.end()
    assert context.cancelled()


@virtually
async def test_what_a_handler_logs_names_its_job(caplog):
    with caplog.at_level(logging.INFO, logger="hasty"):
        a_context(attempt=2).logger.info("%d of %d", 1, 2, extra={"page": 7})
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("hasty.job.sleep", "[job-9 attempt 2] 1 of 2")
    assert (record.job_id, record.object_id, record.attempt, record.page) == ("job-9", "doc", 2, 7)


def test_the_built_in_handler_has_the_limits_of_the_settings():
    handlers = built_in(Settings(timeout_s=9, rerun_window_s=8))
    assert list(handlers) == [SLEEP] == ["sleep"]
    assert (handlers[SLEEP].timeout_s, handlers[SLEEP].window) == (9.0, Window(8.0))


@virtually
async def test_the_built_in_handler_sleeps_as_the_settings_say(loop_time):
    handler = built_in(Settings(sleep_min_s=7, sleep_max_s=7))[SLEEP]
    assert await handler.function(a_context(), None) == {"sleep_time_used": 7}
    assert loop_time() == 7.0


@virtually
async def test_a_sleep_stays_in_its_bounds_and_says_its_length_in_whole_seconds(loop_time):
    sleep = sleeper(15.0, 45.0)
    told = set()
    for _ in range(200):
        started = loop_time()
        used = (await sleep(a_context(), None))["sleep_time_used"]
        lasted = loop_time() - started
        assert 15.0 <= lasted <= 45.0
        assert type(used) is int
        assert abs(used - lasted) <= 0.5
        told.add(used)
    assert len(told) > 10
