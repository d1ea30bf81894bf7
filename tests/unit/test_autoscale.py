"""How many workers a pool should have."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasty.autoscale import Autoscaler, Load
from tests.unit.examples import repeatable


def a_load(workers=4, **changes) -> Load:
    """All slots are taken, and nothing waits."""
    fields = {
        "workers": workers,
        "present": workers,
        "slots": 10,
        "running": 10 * workers,
        "queued": 0,
        "oldest_wait_s": 0.0,
    }
    return Load(**(fields | changes))


def pressed(workers=4, queued=15, **changes) -> Load:
    return a_load(workers, queued=queued, **({"oldest_wait_s": 1.5} | changes))


def calm(workers=4, running=0, **changes) -> Load:
    return a_load(workers, running=running, **changes)


def looked(scaler, load, times) -> list[int]:
    """Look at the same load at each of these times. Nobody follows what is wanted."""
    return [scaler.wanted(load, float(now)) for now in times]


# It grows


def test_the_second_look_at_jobs_that_waited_too_long_grows_the_pool_to_the_demand():
    assert looked(Autoscaler(1, 100), pressed(), range(2)) == [4, 6]


def test_looks_that_follow_one_another_at_once_are_one_look():
    assert looked(Autoscaler(1, 100), pressed(), [0.0, 0.01, 0.02]) == [4, 4, 4]


def test_a_look_between_them_at_which_nothing_waited_too_long_begins_anew():
    scaler = Autoscaler(1, 100)
    loads = [pressed(), pressed(oldest_wait_s=0.9), pressed(), pressed()]
    assert [scaler.wanted(load, float(now)) for now, load in enumerate(loads)] == [4, 4, 4, 6]


def test_it_at_most_doubles():
    assert looked(Autoscaler(1, 100), pressed(queued=1_000), range(2)) == [4, 8]
    assert looked(Autoscaler(1, 100), pressed(queued=1_000, present=9), range(2)) == [4, 8]


def test_it_grows_from_nothing():
    """By one at least, though nobody knows the slots of workers that were never there."""
    assert looked(Autoscaler(0, 100), pressed(0, slots=0), range(2)) == [0, 1]


def test_it_stops_at_the_maximum():
    assert looked(Autoscaler(1, 5), pressed(), range(2)) == [4, 5]
    assert looked(Autoscaler(1, 5), pressed(5), range(100)) == [5] * 100


def test_more_workers_than_jobs_could_fill_are_of_no_use():
    """Jobs wait in spite of free slots: whatever holds them up, it is not the size."""
    assert looked(Autoscaler(1, 100), pressed(running=20, queued=5), range(100)) == [4] * 100


def test_a_pool_that_is_busy_stays_as_it_is_as_long_as_nothing_waits():
    assert looked(Autoscaler(1, 100), a_load(), range(300)) == [4] * 300


# It waits for what it ordered


def test_workers_that_are_being_started_are_not_ordered_twice():
    scaler = Autoscaler(1, 100)
    assert looked(scaler, pressed(queued=1_000), range(2)) == [4, 8]
    assert looked(scaler, pressed(8, queued=1_000, present=7), range(2, 32)) == [8] * 30
    assert looked(scaler, pressed(8, queued=1_000), range(32, 34)) == [8, 16]


def test_jobs_get_a_moment_to_reach_the_workers_that_came():
    scaler = Autoscaler(1, 100)
    looked(scaler, pressed(), range(2))
    looked(scaler, pressed(6, present=4), range(2, 8))
    assert scaler.wanted(pressed(6), 8.0) == 6


def test_a_wait_for_fewer_workers_says_nothing_of_more_though_they_come_at_once():
    scaler = Autoscaler(1, 100)
    looked(scaler, pressed(queued=1_000), range(2))
    assert looked(scaler, pressed(8, queued=1_000), range(2, 4)) == [8, 16]


def test_patience_with_workers_that_do_not_come_ends():
    scaler = Autoscaler(1, 100)
    looked(scaler, pressed(queued=1_000), range(2))
    absent = pressed(8, queued=1_000, present=4)
    assert looked(scaler, absent, range(2, 34)) == [8] * 31 + [9]


def test_where_no_node_has_room_orders_do_not_run_away():
    """One in half a minute, and none beyond the demand."""
    scaler, workers, sizes = Autoscaler(1, 1_000), 4, []
    for now in range(1_800):
        workers = scaler.wanted(pressed(workers, present=4, running=40, queued=60), float(now))
        sizes.append(workers)
    assert sizes[60] <= 10
    assert max(sizes) == sizes[-1] == 10


def test_one_who_was_just_started_does_not_repeat_what_was_ordered_before():
    scaler = Autoscaler(1, 100)
    assert looked(scaler, pressed(8, present=4, queued=1_000), range(30)) == [8] * 30


def test_a_worker_that_is_being_replaced_does_not_hold_up_the_others():
    scaler = Autoscaler(1, 100)
    scaler.wanted(pressed(), 0.0)
    assert looked(scaler, pressed(present=3), range(1, 3)) == [6, 6]
    assert looked(scaler, pressed(3, present=2), range(3, 5)) == [3, 4]


def test_an_order_that_was_not_carried_out_is_repeated():
    assert looked(Autoscaler(1, 100), pressed(), range(5)) == [4, 6, 6, 6, 6]
    assert looked(Autoscaler(1, 100), calm(), range(63)) == [4] * 60 + [3] * 3


# It shrinks


@pytest.mark.parametrize(("running", "wanted"), [(21, 3), (22, 4)])
def test_a_minute_in_which_fewer_would_have_done_with_room_to_spare_takes_one_away(running, wanted):
    assert looked(Autoscaler(1, 100), calm(running=running), range(61)) == [4] * 60 + [wanted]


def test_jobs_that_wait_count_as_much_as_those_that_run():
    assert looked(Autoscaler(1, 100), calm(running=20, queued=2), range(61)) == [4] * 61


def test_one_moment_of_demand_begins_the_minute_anew():
    scaler = Autoscaler(1, 100)
    looked(scaler, calm(), range(50))
    scaler.wanted(calm(running=22), 50.0)
    assert looked(scaler, calm(), range(51, 112)) == [4] * 60 + [3]


@pytest.mark.parametrize(("oldest_wait_s", "wanted"), [(0.05, 3), (0.5, 4)])
def test_it_does_not_shrink_while_a_job_waits_unless_that_is_on_its_way(oldest_wait_s, wanted):
    load = calm(queued=1, oldest_wait_s=oldest_wait_s)
    assert looked(Autoscaler(1, 100), load, range(61))[-1] == wanted


def test_each_further_step_takes_a_minute_of_its_own():
    scaler = Autoscaler(1, 100)
    looked(scaler, calm(), range(61))
    assert looked(scaler, calm(3), range(61, 122)) == [3] * 60 + [2]


def test_it_stops_at_the_minimum():
    assert looked(Autoscaler(4, 100), calm(), range(200)) == [4] * 200
    assert looked(Autoscaler(0, 100), calm(1), range(61))[-1] == 0


def test_a_large_pool_shrinks_by_a_tenth():
    assert looked(Autoscaler(1, 100), calm(29), range(61))[-1] == 27
    assert looked(Autoscaler(1, 100), calm(30), range(61))[-1] == 27
    assert looked(Autoscaler(48, 100), calm(50), range(61))[-1] == 48


def test_growth_begins_the_minute_anew():
    scaler = Autoscaler(1, 100)
    looked(scaler, calm(), range(59))
    looked(scaler, pressed(), range(59, 61))
    assert looked(scaler, calm(6), range(61, 122)) == [6] * 60 + [5]


def test_a_size_that_somebody_else_changed_begins_the_minute_anew():
    """That three would have done says nothing of one."""
    scaler = Autoscaler(1, 100)
    looked(scaler, calm(), range(59))
    assert looked(scaler, calm(2), range(59, 120)) == [2] * 60 + [1]


def test_a_minute_that_nobody_saw_is_no_calm_minute():
    scaler = Autoscaler(1, 100)
    looked(scaler, calm(), range(31))
    assert looked(scaler, calm(), range(90, 151)) == [4] * 60 + [3]


def test_who_looks_seldom_never_sees_it_shrink_but_sees_it_grow():
    assert looked(Autoscaler(1, 100), calm(), range(0, 600, 6)) == [4] * 100
    assert looked(Autoscaler(1, 100), pressed(), [0, 60]) == [4, 6]


def test_looks_may_be_irregular():
    chance = random.Random(1)
    times = list(itertools.accumulate(chance.uniform(0.0, 4.0) for _ in range(60)))
    wanted = looked(Autoscaler(1, 100), calm(), times)
    assert wanted == [3 if now - times[0] >= 60.0 else 4 for now in times]


# It stays within bounds


@pytest.mark.parametrize("load", [a_load, pressed, calm])
@pytest.mark.parametrize(("workers", "wanted"), [(1, 3), (0, 3), (9, 8), (50, 8)])
def test_a_size_outside_the_bounds_is_brought_into_them_at_once(workers, wanted, load):
    assert Autoscaler(3, 8).wanted(load(workers), 0.0) == wanted


counts = st.integers(0, 60)
waits_s = st.sampled_from([0.0, 0.05, 0.5, 1.0, 1.01, 30.0]) | st.floats(0.0, 1e6)
loads = st.builds(Load, counts, counts, st.integers(0, 20), counts, counts, waits_s)
#: From looks at the same moment to ones between which nobody knows what happened.
pauses_s = st.sampled_from([0.0, 0.5, 1.0, 4.9, 31.0, 61.0])


@given(counts, counts, st.lists(st.tuples(loads, st.integers(1, 70), pauses_s), max_size=8))
@repeatable
def test_whatever_it_sees_it_stays_in_bounds_and_within_reason(one, other, looks):
    minimum, maximum = sorted((one, other))
    scaler, now = Autoscaler(minimum, maximum), 0.0
    for load, pause_s in ((load, pause_s) for load, times, pause_s in looks for _ in range(times)):
        now += pause_s
        wanted = scaler.wanted(load, now)
        assert minimum <= wanted <= maximum
        if wanted > max(load.workers, minimum):
            assert (wanted - 1) * max(1, load.slots) < load.running + load.queued
            assert wanted <= max(2 * load.workers, load.workers + 1)


#: The same pool in the same second, with the jobs of one load and those of a greater one.
pairs = st.tuples(loads, counts, counts, st.sampled_from([0.0, 0.05, 1.0, 30.0]), st.integers(1, 30))


@given(st.lists(pairs, min_size=1, max_size=8))
@repeatable
def test_more_load_never_wants_fewer(pairs):
    one, other, now = Autoscaler(2, 50), Autoscaler(2, 50), 0.0
    for less, running, queued, wait_s, looks in pairs:
        more = less._replace(
            running=less.running + running,
            queued=less.queued + queued,
            oldest_wait_s=less.oldest_wait_s + wait_s,
        )
        for _ in range(3 * looks):
            now += 1.0
            assert one.wanted(less, now) <= other.wanted(more, now)


# It follows a load


class Simulation:
    """A pool that follows what is wanted: jobs arrive, wait for a slot, and leave after a while."""

    STEP_S, SERVICE_S, SLOTS, START_S = 0.25, 4.0, 4, 8.0

    def __init__(self, scaler, rate, *, workers=1, room=1_000, seed=1) -> None:
        self.scaler, self.rate, self.room = scaler, rate, room
        self.chance = random.Random(seed)
        self.now = 0.0
        self.arrives_at = 0.0
        self.ready_at = [0.0] * workers
        self.ends: list[float] = []
        self.queue: list[float] = []
        self.sizes: list[int] = []
        self.waits_s: list[float] = []

    def run(self, seconds: float) -> list[int]:
        """Return the sizes of the pool, one a second."""
        seen = len(self.sizes)
        for _ in range(int(seconds / self.STEP_S)):
            self._step()
            if self.now % 1.0 == 0.0:
                self._scale()
        return self.sizes[seen:]

    @property
    def _present(self) -> int:
        return min(self.room, sum(ready <= self.now for ready in self.ready_at))

    def _step(self) -> None:
        self.now += self.STEP_S
        while self.arrives_at <= self.now:
            self.queue.append(self.arrives_at)
            self.arrives_at += self.chance.expovariate(self.rate(self.now))
        self.ends = [end for end in self.ends if end > self.now]
        free = max(0, self._present * self.SLOTS - len(self.ends))
        started, self.queue = self.queue[:free], self.queue[free:]
        self.waits_s += [self.now - arrived for arrived in started]
        self.ends += [self.now + self.chance.uniform(0.5, 1.5) * self.SERVICE_S for _ in started]

    def _scale(self) -> None:
        workers, waited_s = len(self.ready_at), self.now - self.queue[0] if self.queue else 0.0
        load = Load(workers, self._present, self.SLOTS, len(self.ends), len(self.queue), waited_s)
        wanted = self.scaler.wanted(load, self.now)
        self.ready_at = self.ready_at[:wanted] + [self.now + self.START_S] * (wanted - workers)
        self.sizes.append(wanted)


def changes(sizes) -> int:
    return sum(a != b for a, b in itertools.pairwise(sizes))


def turns(sizes) -> int:
    """How often it grew after it had shrunk, or the other way round."""
    steps = [b > a for a, b in itertools.pairwise(sizes) if a != b]
    return changes(steps)


def test_a_constant_load_finds_its_size_and_keeps_it():
    """Eight workers' worth of jobs, from a pool of one."""
    pool = Simulation(Autoscaler(1, 50), lambda _: 8.0)
    pool.run(1_200)
    settled = pool.run(1_800)
    assert 8 < min(settled) <= max(settled) <= 16
    assert changes(settled) <= 2
    assert max(pool.waits_s[-10_000:]) < 2.0


def test_a_step_up_is_followed_within_minutes():
    """Four doublings, each of which waits for its workers, and then the queue that grew meanwhile."""
    pool = Simulation(Autoscaler(1, 50), lambda now: 1.0 if now < 600 else 16.0)
    before = pool.run(600)[-1]
    after = pool.run(60)[-1]
    assert before <= 4
    assert after >= 16
    pool.run(120)
    assert not any(wait_s > 1.0 for wait_s in pool.waits_s[-500:])


def test_a_step_down_is_followed_slowly():
    pool = Simulation(Autoscaler(1, 50), lambda now: 16.0 if now < 600 else 1.0)
    before = pool.run(600)[-1]
    sizes = pool.run(1_800)
    assert before >= 16
    assert sizes[60] >= before - 3
    assert sizes[-1] <= 4
    assert sizes == sorted(sizes, reverse=True)


def test_a_hundred_become_ten_in_half_an_hour():
    scaler, workers = Autoscaler(1, 100), 100
    for now in range(1_800):
        workers = scaler.wanted(calm(workers), float(now))
    assert workers <= 10


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("rate", [2.0, 2.4, 2.8, 3.2, 3.6, 3.8, 4.0])
def test_noise_near_a_threshold_does_not_make_it_flap(rate, seed):
    """From half to all of four workers, for an hour, in which it is asked 3600 times."""
    sizes = Simulation(Autoscaler(1, 50), lambda _: rate, workers=4, seed=seed).run(3_600)
    assert changes(sizes) <= 6
    assert turns(sizes) <= 2


def test_a_wave_every_minute_is_met_by_a_pool_that_did_not_shrink():
    pool = Simulation(Autoscaler(1, 50), lambda now: 12.0 if now % 60 < 20 else 0.5)
    pool.run(600)
    assert turns(pool.run(1_800)) <= 1


def test_where_the_cluster_is_full_orders_stay_within_the_demand():
    pool = Simulation(Autoscaler(1, 50), lambda _: 2.5, room=2)
    sizes = pool.run(600)
    assert sizes[119] <= 7
    assert max(sizes) <= 25
