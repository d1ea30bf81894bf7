"""A seed decides what is broken, in which order, and for how long."""

from itertools import islice

from hasty.chaos.faults import KINDS
from hasty.chaos.plan import PAUSE_S, plan

ALL = tuple(KINDS.values())


def first(seed: int, count: int):
    return list(islice(plan(seed, ALL), count))


def test_a_seed_says_it_all():
    assert first(7, 100) == first(7, 100)


def test_another_seed_is_another_plan():
    assert first(7, 100) != first(8, 100)


def test_every_kind_comes_once_in_a_round():
    planned = first(3, 3 * len(ALL))
    for begin in range(0, len(planned), len(ALL)):
        names = [fault.kind.name for fault in planned[begin : begin + len(ALL)]]
        assert sorted(names) == sorted(KINDS)


def test_rounds_have_orders_of_their_own():
    planned = [fault.kind for fault in first(3, 2 * len(ALL))]
    assert planned[: len(ALL)] != planned[len(ALL) :]


def test_every_freeze_thaws_within_its_bounds_and_nothing_else_does():
    for fault in first(1, 200):
        if fault.kind.thaw_s is None:
            assert fault.thaw_after_s is None
        else:
            shortest, longest = fault.kind.thaw_s
            assert shortest <= fault.thaw_after_s <= longest


def test_pauses_and_choices_stay_within_their_bounds():
    for fault in first(1, 200):
        assert PAUSE_S[0] <= fault.pause_s <= PAUSE_S[1]
        assert 0 <= fault.choice < 1


def test_a_name_says_whether_a_kind_freezes():
    assert all(kind.name.endswith("-freeze") == (kind.thaw_s is not None) for kind in ALL)
