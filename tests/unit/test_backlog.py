"""The head of a pool's queue, whose tail is in MongoDB."""

import random

import pytest

from hasty.dispatch import CAPACITY, SWEEP_EVERY_S
from hasty.dispatch.backlog import Backlog
from tests.unit.examples import a_work, after


def works(count, start=0):
    """Jobs in the order of their age: job-0 is the oldest."""
    return tuple(a_work(f"job-{n}", accepted_at=after(n)) for n in range(start, start + count))


def ids(of):
    return [work.job_id for work in of]


def a_backlog(*waiting, capacity=10, elsewhere=()):
    backlog = Backlog(capacity, lambda job_id: job_id in elsewhere)
    backlog.offer(waiting, 0.0)
    return backlog


def taken(backlog):
    """Take everything, in order."""
    return ids(iter(backlog.pop, None))


# Order -------------------------------------------------------------------------------------------


def knows_all(backlog) -> bool:
    """Whether no job is known to wait in MongoDB alone."""
    return backlog._horizon is None and not backlog._missed


def test_the_first_of_the_order_is_taken_first_however_jobs_came():
    urgent, idle = a_work("urgent", priority=-1, accepted_at=after(99)), a_work("idle", priority=1)
    backlog = a_backlog(idle, *reversed(works(3)), urgent)
    assert len(backlog) == 5
    assert taken(backlog) == ["urgent", "job-0", "job-1", "job-2", "idle"]
    assert (len(backlog), backlog.pop()) == (0, None)


def test_a_job_waits_once_and_not_at_all_where_it_is_known_elsewhere():
    one, two = works(2)
    backlog = a_backlog(one, one, two, elsewhere={"job-1"})
    backlog.put(one, 0.0)
    assert "job-0" in backlog
    assert "job-1" not in backlog
    assert list(backlog.job_ids) == taken(backlog) == ["job-0"]


def test_a_job_that_is_dropped_does_not_come_back_and_may_be_put_again():
    one, two = works(2)
    backlog = a_backlog(one, two)
    assert backlog.drop("job-0") == one
    assert backlog.drop("job-0") is None
    assert len(backlog) == 1
    backlog.put(one, 0.0)
    assert taken(backlog) == ["job-0", "job-1"]


# How long the next has waited --------------------------------------------------------------------


def test_nothing_waits_for_no_time():
    backlog = a_backlog()
    assert backlog.oldest_wait_s(100.0) == 0.0
    backlog.put(a_work(), 100.0)
    assert backlog.oldest_wait_s(100.0) == 0.0
    backlog.pop()
    assert backlog.oldest_wait_s(200.0) == 0.0


def test_it_is_told_for_how_long_the_next_job_is_known_to_wait():
    """By the monotonic clock of who asks: when it was accepted is another machine's wall time."""
    backlog = a_backlog()
    for n, work in enumerate(works(3)):
        backlog.offer([work], 10.0 * n)
    backlog.offer(works(3), 50.0)
    assert backlog.oldest_wait_s(60.0) == 60.0
    backlog.pop()
    assert backlog.oldest_wait_s(60.0) == 50.0
    backlog.drop("job-1")
    assert backlog.oldest_wait_s(60.0) == 40.0


def test_what_a_sweep_finds_waits_from_then_on_and_what_is_put_back_from_its_return():
    one, two = works(2)
    backlog = a_backlog()
    backlog.begin_sweep(0.0)
    backlog.take_sweep((one, two), 5.0, exhausted=True)
    assert backlog.oldest_wait_s(7.0) == 2.0
    backlog.pop()
    backlog.put(one, 6.0)
    assert backlog.oldest_wait_s(7.0) == 1.0


def test_leaving_the_tail_to_mongodb_changes_nothing_for_who_stays():
    backlog = a_backlog(*works(1))
    backlog.offer(works(30, start=1), 50.0)
    assert len(backlog) == 10
    assert backlog.oldest_wait_s(60.0) == 60.0


# The window --------------------------------------------------------------------------------------


def test_it_holds_twice_its_capacity_and_then_once():
    backlog = a_backlog(*reversed(works(20)))
    assert (len(backlog), knows_all(backlog)) == (20, True)
    backlog.offer(works(1, start=20), 0.0)
    assert (len(backlog), knows_all(backlog)) == (10, False)
    assert taken(backlog) == ids(works(10))


def test_behind_its_horizon_nothing_is_taken_in_and_before_it_everything():
    backlog = a_backlog(*works(30))
    backlog.offer((*works(1, start=40), a_work("urgent", priority=-1)), 0.0)
    assert taken(backlog) == ["urgent", *ids(works(10))]


def test_what_comes_back_is_taken_in_wherever_it_belongs():
    """From a worker that was lost: MongoDB may hold it as running, but it is to be the next."""
    backlog = a_backlog(*works(30))
    backlog.put(a_work("late", accepted_at=after(99)), 0.0)
    assert taken(backlog)[-1] == "late"


def test_it_asks_for_a_sweep_every_five_seconds():
    backlog = a_backlog()
    assert SWEEP_EVERY_S == 5.0
    assert backlog.wants_sweep(0.0)
    assert backlog.begin_sweep(10.0) == 10
    assert not backlog.wants_sweep(99.0)
    backlog.end_sweep()
    assert not backlog.wants_sweep(14.9)
    assert backlog.wants_sweep(15.0)


def test_it_asks_for_a_sweep_as_soon_as_it_runs_low_and_there_is_more():
    backlog, whole = a_backlog(*works(30)), a_backlog(*works(10))
    for each in (backlog, whole):
        each.begin_sweep(0.0)
        each.end_sweep()
        for _ in range(5):
            each.pop()
        assert not each.wants_sweep(1.0)
        each.pop()
    assert backlog.wants_sweep(1.0)
    assert not whole.wants_sweep(1.0)


def test_a_sweep_that_found_everything_opens_the_window():
    backlog = a_backlog(*works(30))
    backlog.begin_sweep(0.0)
    backlog.take_sweep(works(9, start=10), 0.0, exhausted=False)
    assert not knows_all(backlog)
    backlog.begin_sweep(0.0)
    # It came when the sweep may have been read already.
    backlog.offer(works(1, start=40), 0.0)
    backlog.take_sweep((), 0.0, exhausted=True)
    assert knows_all(backlog)
    assert taken(backlog) == [*ids(works(19)), "job-40"]


def test_a_sweep_during_which_the_tail_was_left_to_mongodb_is_made_again():
    backlog = a_backlog(*works(20))
    backlog.begin_sweep(0.0)
    backlog.offer(works(1, start=20), 0.0)
    backlog.take_sweep(works(1, start=21), 0.0, exhausted=True)
    # Jobs 10 to 20 come before what was found.
    assert (len(backlog), knows_all(backlog)) == (10, False)
    assert "job-21" not in backlog


def test_what_no_sweep_could_have_seen_keeps_the_window_shut():
    backlog = a_backlog(*works(30))
    backlog.begin_sweep(0.0)
    backlog.offer(works(11, start=40), 0.0)
    backlog.take_sweep((), 0.0, exhausted=True)
    assert not knows_all(backlog)


def test_a_backlog_that_was_cleared_takes_nothing_of_a_sweep_that_was_under_way_and_all_of_the_next():
    backlog = a_backlog(*works(30))
    backlog.begin_sweep(0.0)
    backlog.offer(works(1, start=40), 0.0)
    backlog.clear()
    assert (len(backlog), backlog.pop(), knows_all(backlog)) == (0, None, False)
    backlog.take_sweep(works(2, start=10), 0.0, exhausted=True)
    assert len(backlog) == 0
    backlog.begin_sweep(5.0)
    backlog.take_sweep(works(2, start=10), 5.0, exhausted=True)
    assert (taken(backlog), knows_all(backlog)) == (["job-10", "job-11"], True)


def test_a_sweep_that_failed_leaves_everything_as_it_was():
    backlog = a_backlog(*works(30))
    backlog.begin_sweep(0.0)
    backlog.end_sweep()
    assert (len(backlog), knows_all(backlog)) == (10, False)
    backlog.begin_sweep(0.0)
    backlog.take_sweep((), 0.0, exhausted=True)
    assert knows_all(backlog)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_comes_when_what_waits_leaves_in_order_and_in_the_end_everything_has(seed):
    chance = random.Random(seed)
    capacity = chance.choice([1, 2, 5])
    live, given = {}, set()
    backlog = Backlog(capacity, given.__contains__)
    now, found, number = 0.0, None, 0
    for _ in range(400):
        now += chance.choice([0.1, 3.0])
        match chance.choice(["admit", "admit", "pop", "read", "take", "drop"]):
            case "admit":
                new = works(chance.choice([1, 1, 4, 15]), number)
                number += len(new)
                live |= {work.job_id: work for work in new}
                if chance.random() < 0.8:
                    backlog.offer(new, now)
            case "pop" if (work := backlog.pop()) is not None:
                assert live.pop(work.job_id) == work
                given.add(work.job_id)
                assert all(work.order < other.order for job_id, other in live.items() if job_id in backlog)
            case "read" if found is None and backlog.wants_sweep(now):
                skip = set(backlog.job_ids)
                limit = backlog.begin_sweep(now)
                ordered = sorted((w for w in live.values() if w.job_id not in skip), key=lambda w: w.order)
                found = tuple(ordered[:limit]), len(ordered) <= limit
            case "take" if found is not None:
                backlog.take_sweep(found[0], now, exhausted=found[1])
                found = None
            case "drop" if len(backlog):
                job_id = chance.choice(list(backlog.job_ids))
                backlog.drop(job_id)
                del live[job_id]
                given.add(job_id)
        assert len(backlog) <= 2 * capacity
        assert set(backlog.job_ids) <= live.keys()
    # Once nothing disturbs it any more, sweeps bring everything.
    backlog.end_sweep()
    for _ in range(10 * len(live) + 10):
        now += 10.0
        while (work := backlog.pop()) is not None:
            del live[work.job_id]
            given.add(work.job_id)
        limit = backlog.begin_sweep(now)
        ordered = sorted(live.values(), key=lambda work: work.order)
        backlog.take_sweep(tuple(ordered[:limit]), now, exhausted=len(ordered) <= limit)
    assert live == {}


def test_it_holds_four_thousand_jobs_unless_told_otherwise():
    assert CAPACITY == 4_000


def test_of_heavy_jobs_fewer_are_held_and_none_is_forgotten():
    heavy = [work._replace(payload="x" * 1_000) for work in works(100)]
    backlog = Backlog(1_000, lambda _job_id: False, capacity_bytes=20_000)
    backlog.offer(heavy, 0.0)
    assert 10 < len(backlog) <= 20
    assert not knows_all(backlog)
    served = []
    for now in range(1, 1_000):
        if backlog.wants_sweep(now):
            backlog.begin_sweep(now)
            left = [work for work in heavy if work.job_id not in (*served, *backlog.job_ids)]
            backlog.take_sweep(tuple(left[:10]), now, exhausted=len(left) <= 10)
            assert sum(work.weight for work in heavy if work.job_id in backlog) <= 40_000
        if (work := backlog.pop()) is not None:
            served.append(work.job_id)
    assert served == [work.job_id for work in heavy]
    assert backlog._bytes == 0


def test_those_that_leave_from_the_middle_leave_nothing_behind():
    """Where no slot comes free the first one stays, and those behind it may all be cancelled."""
    backlog = a_backlog(*works(1))
    for each in works(20_000, start=1):
        backlog.put(each, 0.0)
        backlog.drop(each.job_id)
        assert len(backlog._queue) < 1_100
    backlog.offer(works(3, start=20_001), 0.0)
    assert taken(backlog) == ["job-0", "job-20001", "job-20002", "job-20003"]
