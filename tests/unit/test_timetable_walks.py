"""Schedules under faults: walks from a seed, in which everything happens to Timetables and their messages."""

import asyncio
import contextlib
import itertools
import os
import random
from datetime import timedelta

import pytest

from hasty.actors.registry import Registry
from hasty.actors.timetable import Timetable
from hasty.api.schedule_schemas import NewSchedule
from hasty.api.scheduling import Scheduling
from hasty.clock import epoch_ms
from hasty.errors import ScheduleExists, TryAgainLater, UnknownSchedule
from hasty.handlers import Handler
from hasty.job import Window
from hasty.messages import Process
from hasty.schedule import GRACE, Fired, FiringOutcome
from hasty.store.memory import MemoryScheduleStore
from hasty.testing import Journal, Network, Place, VirtualClock, Weather, run_virtually
from hasty.testing.network import Link
from hasty.testing.stores import RemoteStore
from tests.unit.test_timetable import Heard, Instant, NoDispatcher, compose

#: In a usual run; HASTY_WALKS asks for more.
WALKS = int(os.environ.get("HASTY_WALKS", "60"))

#: How long faults go on, and how long it takes at most until all is well again.
STORMY_S, CALM_S = 150, 30

NAMES = ["a", "b", "c", "d"]

WEATHERS = [
    Weather(latency_s=0.05),
    Weather(latency_s=0.05, slow=0.2, slow_s=3, repeated=0.2, request_lost=0.1, reply_lost=0.1),
    Weather(latency_s=0.05, store_silent=0.2, store_refuses=0.1, store_late=0.2, reply_lost=0.2),
    Weather(latency_s=0.05, store_away=True),
    Weather(latency_s=0.05, request_lost=1.0, silence=0.9),
]


class Watched(MemoryScheduleStore):
    """Notes each change that had effect, and when."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock
        self.changes = []

    async def create(self, schedule):
        stored = await super().create(schedule)
        if stored is schedule:
            self.changes.append((self._clock.now(), None, schedule))
        return stored

    def _advance(self, schedule):
        before = self.schedules.get(schedule.name)
        taken = super()._advance(schedule)
        if taken:
            self.changes.append((self._clock.now(), before, schedule))
        return taken


class Walk:
    """Two Timetables, a Registry, users, and bad weather."""

    def __init__(self, seed):
        random.seed(seed)
        self.chance = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.clock = VirtualClock(self.loop)
        self.schedules = Watched(self.clock)
        self.jobs = Instant(self.clock)
        self.heard = Heard(Registry(self.jobs, NoDispatcher(), self.clock))
        self.network = Network(self.loop, self.chance, Journal(self.loop.time))
        self.registry = self._place("registry", self.heard)
        self.timetables = []
        self._ids = itertools.count(1)
        users = self._place("users", None)
        self.users = Scheduling(
            RemoteStore(self.schedules, self.network, users),
            self.jobs,
            self.clock,
            check=a_handler,
            mint=lambda: f"uid-{next(self._ids)}.",
        )
        #: What users were told: schedules as they were paused, and when others were deleted, by their uids.
        self.paused, self.deleted = [], {}

    def _place(self, name, actor):
        number = len(NAMES)
        return Place(name, self.loop.process(name), Process("node", number, number), actor)

    def start(self):
        """Start one more Timetable."""
        place = self._place("timetable", None)
        timetable = Timetable(
            RemoteStore(self.schedules, self.network, place),
            Link(self.network, place, "registry", lambda: self.registry),
            self.clock,
            compose=compose,
            mint=lambda: f"job-{next(self._ids)}",
        )
        self.loop.create_task(timetable.serve(), context=place.process.context.copy())
        self.timetables.append(place.process)

    async def storm(self):
        """Let everything happen."""
        users = asyncio.ensure_future(self._use())
        while self.loop.time() < STORMY_S:
            await asyncio.sleep(self.chance.random() * 3)
            self.network.weather = self.chance.choice([WEATHERS[0], *WEATHERS])
            self._harm(self.chance.choice(self.timetables))
            living = [process for process in self.timetables if not process.dead]
            if sum(not process.frozen for process in living) < 1 or len(living) < self.chance.randint(0, 3):
                self.start()
        users.cancel()

    def _harm(self, process):
        harm = self.chance.choice([process.die, process.freeze, process.thaw, process.thaw])
        if not process.dead:
            process.after(self.chance.randint(0, 20), harm)

    async def _use(self):
        while True:
            await asyncio.sleep(self.chance.random() * 8)
            act = self.chance.choice([self._create, self._create, self._pause, self._resume, self._delete])
            with contextlib.suppress(TryAgainLater, ScheduleExists, UnknownSchedule):
                await act(self.chance.choice(NAMES))

    async def _create(self, name):
        every_s = self.chance.choice([1, 2.5, 7, 30])
        missed = self.chance.choice(["skip", "once"])
        await self.users.create(
            NewSchedule(name=name, interval=every_s, missed=missed, job={"object_id": f"object-of-{name}"})
        )

    async def _pause(self, name):
        self.paused.append(await self.users.pause(name))

    async def _resume(self, name):
        await self.users.resume(name)

    async def _delete(self, name):
        before = self.schedules.schedules.get(name)
        await self.users.delete(name)
        if before is not None:
            self.deleted.setdefault(before.uid, self.clock.now())

    async def calm(self):
        """Let all be well, for long enough."""
        self.network.weather = WEATHERS[0]
        for process in self.timetables:
            process.after(0, process.thaw)
            process.thaw()
        self.start()
        await asyncio.sleep(CALM_S)


def a_handler(order):
    """Return one that takes anything."""
    return Handler(name=order.handler, function=a_handler, timeout_s=46.0, window=Window(0.0))


# What must be true afterwards ------------------------------------------------------------------


def histories(walk):
    """Return the changes of each schedule, in their order."""
    found = {}
    for when, before, after in walk.schedules.changes:
        found.setdefault(after.uid, []).append((when, before, after))
    return found


def check_each_firing_has_one_job_at_most(walk):
    ids = {}
    for request in walk.heard.requests:
        assert ids.setdefault(request.idempotency_key, request.job_id) == request.job_id
    keys = [job.idempotency_key for job in walk.jobs.jobs.values()]
    assert len(set(keys)) == len(keys)


def check_each_step(history):
    """Each change follows from the one before: no firing is left out, and none comes again."""
    (_, _, now), *changes = history
    decided = None
    for when, before, after in changes:
        assert before == now
        assert after.version == before.version + 1
        if before.pending is None and after.pending is not None:
            one = after.pending.at
        elif before.next_at != after.next_at and after.paused == before.paused:
            one = after.last.at
            assert after.last.outcome is FiringOutcome.MISSED
        else:
            one = None
        if one is not None:
            assert before.next_at <= when
            assert decided is None or decided < one
            # All that stand for one another are later than the grace.
            if one != before.next_at or after.pending is None:
                assert one < when - GRACE
            assert after.next_at == after.timing.after(one)
            decided = one
        now = after


def check_each_outcome_is_true(walk, history):
    """What was begun and has ended is as it says."""
    states = [state for _, _, state in history]
    for state, following in itertools.pairwise(states):
        if state.pending is not None and following.pending is None:
            at, job_id = state.pending
            assert following.last == Fired(at, FiringOutcome.ACCEPTED, job_id)
            assert job_id in walk.jobs.jobs


def check_nothing_is_left_over(walk):
    """All that was due has been carried out."""
    now = walk.clock.now()
    for schedule in walk.schedules.schedules.values():
        assert schedule.paused or schedule.due_at > now - timedelta(seconds=3), schedule


def check_what_is_silenced_is_silent(walk, history):
    """Whoever was told that it is paused or deleted sees no firing that is due later."""
    uid = history[0][2].uid
    for paused in (paused for paused in walk.paused if paused.uid == uid):
        later = [state for _, _, state in history if state.version > paused.version]
        until_resumed = itertools.takewhile(lambda state: state.paused, later)
        assert all(state.pending in {None, paused.pending} for state in until_resumed)
    since = walk.deleted.get(uid)
    asked = [int(r.idempotency_key.split(":")[3]) for r in walk.heard.requests if uid in r.idempotency_key]
    assert since is None or all(due <= epoch_ms(since) for due in asked)


async def walk_of(seed):
    walk = Walk(seed)
    walk.start()
    await walk.storm()
    await walk.calm()
    check_each_firing_has_one_job_at_most(walk)
    for history in histories(walk).values():
        check_each_step(history)
        check_each_outcome_is_true(walk, history)
        check_what_is_silenced_is_silent(walk, history)
    check_nothing_is_left_over(walk)
    return len(walk.jobs.jobs)


@pytest.mark.parametrize("seed", range(WALKS))
def test_whatever_happens_each_firing_has_its_job_once(seed):
    assert run_virtually(walk_of(seed)) > 0
