"""When an actor that does not answer counts as frozen."""

from hasty.pulse import PING_EVERY_S, PING_WITHIN_S, Pulse


def test_three_questions_without_an_answer_are_a_freeze():
    pulse = Pulse(now=0.0)
    for expected in (False, False, True):
        pulse.missed(1.0, PING_WITHIN_S)
        assert pulse.frozen is expected


def test_an_answer_between_them_forgives():
    pulse = Pulse(now=0.0)
    pulse.missed(1.0, PING_WITHIN_S)
    pulse.missed(1.0, PING_WITHIN_S)
    pulse.heard(5.0)
    pulse.missed(7.5, PING_WITHIN_S)
    assert not pulse.frozen
    assert pulse.silent_s == 2.5


def test_a_question_counts_only_if_there_was_time_to_answer():
    """An error comes at once, from an actor that is dead or being started: nobody is to be killed."""
    pulse = Pulse(now=0.0)
    for _ in range(10):
        pulse.missed(1.0, 0.01)
    assert not pulse.frozen


def test_a_wait_that_ends_a_moment_early_counts():
    """uvloop's timers count whole milliseconds: a wait of 2 s may take 1.999."""
    pulse = Pulse(now=0.0)
    for _ in range(3):
        pulse.missed(1.0, PING_WITHIN_S - 0.002)
    assert pulse.frozen


def test_a_question_does_not_count_if_we_were_late_ourselves():
    """On a machine at its limit the answer may wait in our own queue."""
    pulse = Pulse(now=0.0)
    for _ in range(10):
        pulse.missed(1.0, PING_WITHIN_S + 1.0)
    assert not pulse.frozen


def test_silence_while_we_stood_still_ourselves_is_not_held_against_anybody():
    pulse = Pulse(now=0.0)
    pulse.missed(60.0, 60.0)
    assert pulse.silent_s == PING_EVERY_S + PING_WITHIN_S
    assert not pulse.frozen
