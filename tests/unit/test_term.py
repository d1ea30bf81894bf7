"""How long an attempt may run, and what its handler can say about that."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasty.handlers import JobContext, Term
from hasty.job import Progress
from tests.unit.examples import a_work, after, repeatable

BEGINNING_S = 1_000.0


class Hand:
    """A clock that is set by hand, to seconds since the beginning."""

    def __init__(self):
        self.shows_s = 0.0

    def monotonic(self):
        return BEGINNING_S + self.shows_s

    def now(self):
        return after(self.shows_s)


class Line:
    """The way to whoever looks after it; notes what is told."""

    def __init__(self):
        self.told = []
        self.over = False

    def extended(self, until_s):
        self.told.append(until_s - BEGINNING_S)

    def progressed(self, progress):
        self.told.append(progress)

    def warned(self):
        return self.over


def a_term(timeout_s=46.0, max_timeout_s=None):
    clock = Hand()
    return Term(clock, timeout_s=timeout_s, max_timeout_s=max_timeout_s), clock


# Its time ----------------------------------------------------------------------------------------


def test_it_lasts_for_its_timeout():
    term, clock = a_term()
    clock.shows_s = 10
    assert (term.remaining_s, term.deadline, term.over) == (36.0, after(46), False)
    clock.shows_s = 47
    assert (term.remaining_s, term.deadline) == (0.0, after(47))


def test_it_counts_from_when_it_was_begun_last():
    term, clock = a_term(max_timeout_s=100.0)
    clock.shows_s = 500
    term.begin()
    assert (term.remaining_s, term.heard_s) == (46.0, BEGINNING_S + 500)
    term.extend(1_000)
    assert term.remaining_s == 100.0


def test_it_is_over_when_somebody_ends_it_and_not_before():
    term, clock = a_term()
    clock.shows_s = 47
    assert not term.over
    term.end()
    assert term.over


def test_it_is_over_when_whoever_looks_after_it_says_so():
    term, _ = a_term()
    term.line = Line()
    assert not term.over
    term.line.over = True
    assert term.over


# More time ---------------------------------------------------------------------------------------


def test_more_time_counts_from_now():
    term, clock = a_term(max_timeout_s=300.0)
    clock.shows_s = 40
    term.extend(60)
    assert term.remaining_s == 60.0


def test_more_time_never_shortens():
    term, clock = a_term(max_timeout_s=300.0)
    term.extend(1)
    assert term.remaining_s == 46.0
    term.extend(200)
    clock.shows_s = 10
    term.extend(60)
    assert term.remaining_s == 190.0


def test_in_all_it_lasts_no_longer_than_the_longest_timeout():
    term, clock = a_term(max_timeout_s=100.0)
    clock.shows_s = 40
    term.extend(1_000)
    assert term.remaining_s == 60.0
    clock.shows_s = 99
    term.extend(1_000)
    assert term.remaining_s == 1.0


@pytest.mark.parametrize("max_timeout_s", [None, 10.0])
def test_without_a_longer_timeout_there_is_no_more_time(max_timeout_s):
    term, clock = a_term(max_timeout_s=max_timeout_s)
    clock.shows_s = 40
    term.extend(60)
    assert term.remaining_s == 6.0


@pytest.mark.parametrize("seconds", [0, -1, -0.0, math.nan, math.inf, -math.inf])
def test_what_is_no_number_over_zero_is_refused_and_moves_nothing(seconds):
    term, _ = a_term(max_timeout_s=300.0)
    term.line = line = Line()
    with pytest.raises(ValueError, match="say a number of seconds over 0"):
        term.extend(seconds)
    assert (term.remaining_s, line.told) == (46.0, [])


def test_a_handler_that_asks_for_more_time_hears_how_much_it_has():
    term, clock = a_term(max_timeout_s=100.0)
    context = JobContext.of(a_work(), 1, term)
    clock.shows_s = 40
    assert context.extend(30) == 30.0
    assert context.extend(1_000) == context.remaining() == 60.0
    assert context.deadline == after(100)


def test_whoever_looks_after_it_elsewhere_is_told_until_when():
    term, clock = a_term(max_timeout_s=100.0)
    term.line = line = Line()
    clock.shows_s = 40
    term.extend(30)
    term.extend(1_000)
    assert line.told == [70.0, 100.0]


def test_what_a_handler_elsewhere_says_is_bounded_here_as_well():
    """The other process is a user's: it can say what it likes."""
    term, _ = a_term(max_timeout_s=100.0)
    term.extend_until(BEGINNING_S + 10_000)
    assert term.remaining_s == 100.0
    term.extend_until(0.0)
    assert term.remaining_s == 100.0


@given(
    st.floats(0.01, 1_000),
    st.none() | st.floats(0.01, 1_000),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 1_000)), max_size=20),
)
@repeatable
def test_however_often_it_is_asked_for_more_time_only_adds_and_has_its_bound(timeout_s, longest_s, asked):
    term, clock = a_term(timeout_s, longest_s)
    latest_s = BEGINNING_S + max(timeout_s, longest_s or 0.0)
    for passed_s, seconds in asked:
        clock.shows_s += passed_s
        before_s = term.until_s
        term.extend(seconds)
        assert before_s <= term.until_s <= latest_s
        assert term.until_s >= min(clock.monotonic() + seconds, latest_s)


# Progress ----------------------------------------------------------------------------------------


def heard(*progress):
    """What is told of a progress 10 s after the beginning."""
    term, clock = a_term()
    clock.shows_s = 10
    told = []
    term.tell = told.append
    term.progress(*progress)
    assert term.heard_s == BEGINNING_S + 10
    return told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((0.5, "halfway"), (0.5, "halfway")),
        ((None, None), (None, None)),
        ((1, None), (1.0, None)),
        ((0, ""), (0.0, "")),
        ((None, 7), (None, "7")),
        ((None, "ü" * 201), (None, "ü" * 200)),
        ((None, "half \ud83d a pair"), (None, "half ? a pair")),
    ],
)
def test_progress_is_told_in_a_form_that_can_be_stored(said, told):
    (progress,) = heard(*said)
    assert progress == Progress(after(10), *told)
    assert progress.fraction is None or type(progress.fraction) is float


@pytest.mark.parametrize("fraction", [-0.001, 1.001, math.nan, math.inf])
def test_a_fraction_outside_of_its_bounds_is_refused_and_is_no_sign_of_life(fraction):
    term, clock = a_term()
    told = []
    term.tell = told.append
    clock.shows_s = 10
    with pytest.raises(ValueError, match="a fraction from 0 to 1"):
        term.progress(fraction, "more")
    assert (told, term.heard_s) == ([], BEGINNING_S)


def test_progress_is_a_sign_of_life_and_more_time_is_none():
    term, clock = a_term(max_timeout_s=300.0)
    clock.shows_s = 10
    term.extend(100)
    assert term.heard_s == BEGINNING_S
    term.progress(None, None)
    assert term.heard_s == BEGINNING_S + 10


def test_progress_is_told_elsewhere_as_well():
    term, _ = a_term()
    term.line = line = Line()
    context = JobContext.of(a_work(), 1, term)
    context.progress(0.5, "halfway")
    context.progress(message="further")
    assert line.told == [Progress(after(0), 0.5, "halfway"), Progress(after(0), None, "further")]
