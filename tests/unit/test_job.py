"""The words of hasty."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from hasty.job import Status, Token, Window, Work, fence, first_id_of, weigh
from tests.unit.examples import NOW, a_job, a_work, after

MS = timedelta(milliseconds=1)


def test_a_fence_is_the_acceptance_in_milliseconds_and_the_attempt():
    assert fence(NOW, 1) == 1_767_323_045_678 * 1024 + 1


def test_fences_grow_over_attempts_and_over_runs():
    fences = [fence(NOW, attempt) for attempt in range(1, 1_024)]
    fences += [fence(NOW + MS, attempt) for attempt in range(1, 1_024)]
    assert fences == sorted(set(fences))


@pytest.mark.parametrize(
    ("older", "newer"),
    [((1, 1), (1, 2)), ((1, 2**40 - 1), (2, 0)), ((9, 10), (10, 9)), ((0, 0), (0, 1))],
)
def test_a_newer_token_is_greater_also_as_the_integer_that_is_stored(older, newer):
    assert Token(*older) < Token(*newer)
    assert int(Token(*older)) < int(Token(*newer))


def test_a_token_fits_what_mongodb_counts_with():
    assert int(Token(2**22, 2**40 - 1)) < 2**63


def test_work_is_ordered_by_priority_then_age_then_id():
    urgent = a_work("d", priority=-1, accepted_at=after(100))
    old = a_work("c", accepted_at=NOW)
    young = a_work("a", accepted_at=after(1))
    young_too = a_work("b", accepted_at=after(1))
    late = a_work("0", priority=1, accepted_at=after(-100))
    shuffled = [late, young_too, old, urgent, young]
    assert sorted(shuffled, key=lambda work: work.order) == [urgent, old, young, young_too, late]


def test_a_job_hands_on_what_its_work_needs():
    window = Window(9.0, from_end=True)
    job = a_job(payload={"a": [1]}, priority=4, run=3, timeout_s=1.5, pool="gpu", window=window)
    assert job.work() == Work("job-1", "video-1", 3, "sleep", {"a": [1]}, 4, NOW, 1.5, "gpu", window)


def test_a_job_lives_until_one_of_the_three_final_statuses():
    assert {status for status in Status if not status.final} == {"scheduled", "queued", "running"}
    assert {status for status in Status if status.final} == {"finished", "failed", "cancelled"}
    assert all(a_job(status=status).live is not status.final for status in Status)


def test_a_job_may_run_now_unless_it_has_ended_or_waits_for_a_later_time():
    assert {status for status in Status if a_job(status=status).in_queue} == {"queued", "running"}


@pytest.mark.parametrize(
    ("window", "fixed"),
    [
        (Window(9.0), True),
        (Window(9.0, after=(Status.FINISHED, Status.CANCELLED, Status.FAILED)), True),
        (Window(9.0, from_end=True), False),
        (Window(9.0, after=(Status.FINISHED, Status.FAILED)), False),
        (Window(9.0, after=()), False),
    ],
)
def test_a_window_is_fixed_at_admission_unless_the_end_has_a_say_in_it(window, fixed):
    assert window.fixed is fixed


def test_a_job_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_job().status = Status.FINISHED


def test_ids_are_cut_off_by_the_moment_they_were_made_in():
    """The id is the example of RFC 9562, made at 2022-02-22 19:22:22 UTC."""
    job_id, made = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    assert first_id_of(made) == "017f22e2-79b0"
    assert first_id_of(made) < job_id < first_id_of(made + MS)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000,
        [f"{n:0100d}" for n in range(100)],
        {"k" * 50: {"a": ["x" * 9_950]}},
        {f"{n:04d}": f"{n:096d}" for n in range(100)},
    ],
    ids=["text", "list", "nested", "object"],
)
def test_a_value_weighs_about_what_it_takes(value):
    assert 10_000 <= weigh(value) - weigh(None) < 14_000


def test_nothing_weighs_a_little():
    assert 0 < weigh(None) == a_work().weight < 1_000
    assert weigh(0) < 1_000


def test_what_cannot_be_weighed_counts_as_the_heaviest():
    class Text(str):
        """JSON takes it for text; nothing can send it anywhere."""

        __slots__ = ()

    value = []
    for _ in range(100_000):
        value = [value]
    assert weigh([Text("x")]) == weigh(value) > 256 * 1024
    while value:
        value = value.pop()
