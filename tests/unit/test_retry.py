"""How long to wait before trying again."""

import itertools
import logging
import random

import pytest

from hasty.errors import FixTheRequest, StoreUnavailable, Unreachable
from hasty.retry import backoff, full_jitter_s, until_answered
from tests.unit.examples import virtually


def first(count, waits):
    return list(itertools.islice(waits, count))


def test_each_wait_is_half_its_bound_where_chance_gives_least():
    assert first(8, backoff(chance=lambda: 0.0)) == [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_each_wait_stays_under_its_bound_where_chance_gives_most():
    waits = first(8, backoff(chance=lambda: 1.0))
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_the_first_bound_and_the_cap_can_be_set():
    assert first(4, backoff(first_s=1.0, cap_s=3.0, chance=lambda: 0.5)) == [0.75, 1.5, 2.25, 2.25]


def test_callers_that_failed_together_come_back_apart():
    one, other = backoff(chance=random.Random(1).random), backoff(chance=random.Random(2).random)
    assert all(a != b for a, b in zip(first(20, one), first(20, other), strict=True))


@pytest.mark.parametrize(
    ("failures", "bound_s"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (11, 300.0), (10_000, 300.0)],
)
def test_after_a_failure_the_wait_is_drawn_from_all_of_a_doubling_capped_bound(failures, bound_s):
    assert full_jitter_s(failures, 1.0, 300.0, chance=lambda: 0.0) == 0.0
    assert full_jitter_s(failures, 1.0, 300.0, chance=lambda: 0.25) == bound_s / 4
    assert full_jitter_s(failures, 1.0, 300.0, chance=lambda: 1.0) == bound_s
    assert 0 <= full_jitter_s(failures, 1.0, 300.0) < bound_s


def test_a_bound_that_begins_over_its_cap_is_the_cap():
    assert full_jitter_s(1, 9.0, 3.0, chance=lambda: 1.0) == 3.0


class Asked:
    """Fails so many times before it answers; notes the waits between."""

    def __init__(self, failures, error=StoreUnavailable):
        self.failures = failures
        self.error = error
        self.times = 0
        self.waits = []

    async def ask(self):
        self.times += 1
        if self.times <= self.failures:
            raise self.error
        return "answer"

    async def sleep(self, seconds):
        self.waits.append(seconds)


@virtually
async def test_a_clear_answer_is_returned_at_once():
    asked = Asked(failures=0)
    assert await until_answered(asked.ask, asked.sleep) == "answer"
    assert (asked.times, asked.waits) == (1, [])


@pytest.mark.parametrize("error", [StoreUnavailable, Unreachable])
@virtually
async def test_what_may_succeed_later_is_asked_again_after_a_growing_wait(error):
    asked = Asked(failures=10, error=error)
    assert await until_answered(asked.ask, asked.sleep) == "answer"
    assert (asked.times, len(asked.waits)) == (11, 10)
    assert 0.025 <= asked.waits[0] < 0.05
    assert 1.0 <= asked.waits[9] < 2.0


@virtually
async def test_what_can_never_succeed_is_not_asked_again():
    asked = Asked(failures=1, error=FixTheRequest)
    with pytest.raises(FixTheRequest):
        await until_answered(asked.ask, asked.sleep)
    assert asked.times == 1


@virtually
async def test_waiting_is_told_at_the_first_failure_and_then_once_in_thirty(caplog):
    asked = Asked(failures=61)
    with caplog.at_level(logging.WARNING, logger="hasty"):
        await until_answered(asked.ask, asked.sleep)
    assert [record.fields["tries"] for record in caplog.records] == [0, 30, 60]
    assert {record.event for record in caplog.records} == {"Waited"}
