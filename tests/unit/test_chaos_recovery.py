"""How long it took until something ran again is read from the evidence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hasty.chaos.answers import Answer, Reply
from hasty.chaos.evidence import Evidence
from hasty.chaos.faults import KINDS, Fault
from hasty.chaos.recovery import percentile, seconds_to_recover, unclear_during
from hasty.store.mongo.audit import Attempt, History, Page
from tests.unit.test_chaos_verdict import job

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def fault(kind: str, over_s: float | None = 30) -> Fault:
    return Fault(kind=KINDS[kind], pid=1, at=at(10), over_at=None if over_s is None else at(over_s))


def posted(sent_s: float, received_s: float, status: int | None) -> Answer:
    return Answer("POST", "o", None, at(sent_s), at(received_s), Reply(status, {"job_id": "j"}))


def evidence(answers=(), jobs=None, pages=None) -> Evidence:
    return Evidence(answers=answers, jobs=jobs or {}, pages=pages or {}, history=History({}, {}), window_s=10)


def page(*attempts: tuple[float, float, str]) -> Page:
    made = [
        Attempt(n=n, claim=str(n), worker="w", boot=1, started_at=at(s), ended_at=at(e), outcome=outcome)
        for n, (s, e, outcome) in enumerate(attempts, 1)
    ]
    return Page(opened=None, attempts=tuple(made), final=None)


def test_served_again_is_the_first_201_asked_for_after_the_fault():
    answers = [posted(9.9, 10.1, 201), posted(10.2, 12.5, 201), posted(11, 12.6, 201)]
    assert seconds_to_recover(fault("registry-kill"), evidence(answers)) == 2.5


def test_served_again_is_after_the_last_unclear_answer():
    answers = [posted(10.1, 10.2, 201), posted(14, 14.1, 503), posted(15, 15.5, 201), posted(40, 41, None)]
    assert seconds_to_recover(fault("raylet-kill"), evidence(answers)) == 5.5


def test_started_again_is_when_a_job_starts_that_was_accepted_after_the_fault():
    jobs = {"a": job("a", 1, 9.5), "b": job("b", 1, 11), "c": job("c", 1, 12)}
    pages = {
        "a": page((10.1, 11, "finished")),
        "b": page((14, 15, "finished")),
        "c": page((13, 14, "finished")),
    }
    assert seconds_to_recover(fault("dispatcher-kill"), evidence((), jobs, pages)) == 3


def test_moved_is_when_the_last_lost_attempt_was_followed_by_another():
    pages = {
        "a": page((9, 11, "lost"), (11, 13, "finished")),
        "b": page((9, 12.5, "lost"), (12.5, 13, "finished")),
        "by another fault": page((9, 31, "lost"), (31, 33, "finished")),
        "not hit": page((9, 13, "finished")),
    }
    assert seconds_to_recover(fault("worker-kill"), evidence((), {}, pages)) == 2.5


@pytest.mark.parametrize("kind", ["worker-kill", "dispatcher-kill", "registry-kill"])
def test_without_a_sign_there_is_no_time(kind):
    assert seconds_to_recover(fault(kind), evidence()) is None
    assert seconds_to_recover(fault(kind, over_s=None), evidence()) is None


def test_a_fault_that_was_cut_short_says_nothing():
    short = replace(fault("registry-freeze"), cut_short=True)
    assert seconds_to_recover(short, evidence([posted(10.2, 12.5, 201)])) is None


def test_a_percentile_of_few_is_the_next_one_above():
    assert [percentile([1, 2, 3], percent) for percent in (50, 99, 100)] == [2, 3, 3]
    assert percentile(range(1, 201), 99) == 198
    assert percentile([4], 50) == 4


def test_what_had_no_clear_answer_is_counted_from_the_fault_to_its_end():
    answers = [posted(9, 11, None), posted(11, 12, 503), posted(12, 13, 201), posted(31, 32, 503)]
    assert unclear_during(fault("gateway-kill"), answers) == 1
