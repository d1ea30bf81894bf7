"""The Timetable: each firing has its job once, at whichever step who dies or freezes."""

import asyncio
import dataclasses
import itertools
import logging
from datetime import timedelta

import pytest

from hasty.actors.registry import Registry
from hasty.actors.timetable import Timetable
from hasty.dispatch import Settle
from hasty.errors import InvalidRequest, StoreUnavailable, UnknownHandler, Unreachable
from hasty.job import Outcome, Status, Window
from hasty.messages import Accepted, Admitted, Attached, Full, KeyReused, OnConflict, Reason, Refused, Unknown
from hasty.schedule import Cron, Fired, FiringOutcome, Interval, Missed, Schedule
from hasty.store.memory import MemoryJobStore, MemoryScheduleStore
from hasty.testing import VirtualClock, run_virtually
from tests.unit.examples import VIRTUAL_BEGINNING, a_request, a_work, virtually
from tests.unit.system import Failing, Silent


def at(seconds):
    return VIRTUAL_BEGINNING + timedelta(seconds=seconds)


def a_schedule(name="tick", every_s=10, **changes):
    fields = {
        "name": name,
        "uid": f"uid-of-{name}",
        "timing": Interval(round(every_s * 1000), VIRTUAL_BEGINNING),
        "job": {"object_id": f"object-of-{name}"},
        "created_at": VIRTUAL_BEGINNING,
        "fingerprint": "f",
    }
    return Schedule(**(fields | changes)).begun()


def compose(schedule, job_id):
    on_conflict = OnConflict(schedule.job.get("on_conflict", "reject"))
    return a_request(
        job_id,
        object_id=schedule.job["object_id"],
        window=Window(schedule.job.get("window_s", 0.0)),
        on_conflict=on_conflict,
    )


class Instant(MemoryJobStore):
    """A store in which every job has ended as soon as it is there: none stands in another's way."""

    async def insert(self, jobs):
        new = await super().insert(jobs)
        now = self._clock.now()
        ends = [Settle(job_id, Outcome(Status.FINISHED, now)) for job_id in new]
        await self.settle(ends, 1, now + timedelta(days=7))
        return new


class NoDispatcher:
    async def enqueue(self, _message):
        raise Unreachable


class Heard:
    """Whoever admits; what it was asked, and what it said."""

    def __init__(self, registry):
        self._registry = registry
        self.requests, self.answers = [], []

    async def admit(self, message):
        self.requests += message.requests
        answered = await self._registry.admit(message)
        self.answers += answered.answers
        return answered


class Says:
    """A Registry that gives these answers to all it is asked, one for each call, and then accepts."""

    def __init__(self, *answers):
        self._answers = list(answers)

    async def admit(self, message):
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        return Admitted(tuple(answer or Accepted(a_work(r.job_id)) for r in message.requests))


class Far:
    """Something at the other end of a wire: each call takes a while to get there, and so does its answer."""

    def __init__(self, thing):
        self._thing = thing

    def __getattr__(self, name):
        method = getattr(self._thing, name)

        async def call(*args):
            await asyncio.sleep(0.02)
            answer = await method(*args)
            await asyncio.sleep(0.02)
            return answer

        return call


class World:
    """Schedules, a real Registry, and Timetables that die."""

    def __init__(self, registry=None, jobs=Instant):
        self.loop = asyncio.get_running_loop()
        self.clock = VirtualClock(self.loop)
        self.schedules = MemoryScheduleStore()
        self.jobs = jobs(self.clock)
        self.registry = Heard(registry or Registry(self.jobs, NoDispatcher(), self.clock))
        self._ids = itertools.count(1)
        #: The parts of a Timetable that is not at the same place.
        self.far = {"schedules": Far(self.schedules), "registry": Far(self.registry)}

    def timetable(self, **changes):
        parts = {
            "schedules": self.schedules,
            "registry": self.registry,
            "clock": self.clock,
            "compose": compose,
            "mint": lambda: f"job-{next(self._ids)}",
        }
        return Timetable(**(parts | changes))

    def serve(self, **changes):
        """Let one serve in a process of its own; return that."""
        process = self.loop.process("timetable")
        timetable = process.context.run(lambda: self.timetable(**changes))
        self.loop.create_task(timetable.serve(), context=process.context.copy())
        return process

    async def add(self, *schedules):
        for schedule in schedules:
            assert await self.schedules.create(schedule) is schedule

    def find(self, name="tick"):
        return self.schedules.schedules[name]

    def firings(self, name="tick"):
        """Return the seconds for which a schedule has jobs. Each firing was asked for under one id only."""
        asked = {}
        for request in self.registry.requests:
            assert asked.setdefault(request.idempotency_key, request.job_id) == request.job_id
            assert request.fingerprint == request.idempotency_key
        keys = [job.idempotency_key for job in self.jobs.jobs.values()]
        assert len(set(keys)) == len(keys)
        begin = f"schedule:{name}:uid-of-{name}:"
        beginning_ms = round(VIRTUAL_BEGINNING.timestamp() * 1000)
        return sorted((int(k.removeprefix(begin)) - beginning_ms) / 1000 for k in keys if k.startswith(begin))


# In good weather -------------------------------------------------------------------------------


@virtually
async def test_each_firing_has_its_job_soon_after_it_is_due():
    world = World()
    await world.add(a_schedule(every_s=10), a_schedule("minutely", timing=Cron("* * * * *")))
    world.serve()
    await asyncio.sleep(9.9)
    assert world.registry.requests == []
    await asyncio.sleep(0.5)
    (request,) = world.registry.requests
    assert request.object_id == "object-of-tick"
    assert world.find().last == Fired(at(10), FiringOutcome.ACCEPTED, request.job_id)
    assert (world.find().pending, world.find().next_at) == (None, at(20))
    assert timedelta(0) <= world.jobs.jobs[request.job_id].accepted_at - at(10) <= timedelta(seconds=0.25)
    await asyncio.sleep(55)
    assert world.firings() == [10, 20, 30, 40, 50, 60]
    assert world.firings("minutely") == [60]


@virtually
async def test_many_schedules_that_are_due_at_once_have_their_jobs_at_once():
    world = World()
    await world.add(*(a_schedule(f"s{n}", every_s=5) for n in range(450)))
    world.serve()
    await asyncio.sleep(5.5)
    assert all(world.firings(f"s{n}") == [5] for n in range(0, 450, 50))
    assert len(world.jobs.jobs) == 450


@virtually
async def test_what_is_paused_or_deleted_fires_no_more():
    world = World()
    await world.add(a_schedule("kept"), a_schedule("paused"), a_schedule("deleted"))
    world.serve()
    await asyncio.sleep(15)
    await world.schedules.advance([world.find("paused").stopped()])
    await world.schedules.delete("deleted")
    await asyncio.sleep(20)
    assert [world.firings(name) for name in ("kept", "paused", "deleted")] == [[10, 20, 30], [10], [10]]
    await world.schedules.advance([world.find("paused").resumed(world.clock.now())])
    await asyncio.sleep(10)
    assert world.firings("paused") == [10, 40]


@virtually
async def test_a_schedule_that_comes_after_another_of_its_name_has_firings_of_its_own():
    world = World()
    await world.add(a_schedule())
    world.serve()
    await asyncio.sleep(10.5)
    await world.schedules.delete("tick")
    await world.add(a_schedule(uid="another"))
    await asyncio.sleep(0.5)
    (one, other) = [request.idempotency_key for request in world.registry.requests]
    assert one.replace("uid-of-tick", "another") == other


# What becomes of a firing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome", "job_id", "code"),
    [
        (Accepted(a_work("job-7")), FiringOutcome.ACCEPTED, "job-7", None),
        (Attached("job-7"), FiringOutcome.ATTACHED, "job-7", None),
        (Refused(Reason.WINDOW, "job-7", 30.0), FiringOutcome.REFUSED, "job-7", "rerun_window"),
        (Refused(Reason.UNFINISHED, "job-7", 5.0), FiringOutcome.REFUSED, "job-7", "unfinished"),
        (KeyReused("job-7"), FiringOutcome.REFUSED, "job-7", "idempotency_key_reused"),
    ],
)
@virtually
async def test_a_clear_answer_is_noted_and_not_asked_for_again(answer, outcome, job_id, code):
    world = World(Says(answer))
    await world.add(a_schedule())
    world.serve()
    await asyncio.sleep(19)
    last = world.find().last
    assert (last.at, last.outcome, last.job_id) == (at(10), outcome, job_id)
    assert (last.error and last.error["code"]) == code
    assert len(world.registry.requests) == 1


@pytest.mark.parametrize("on_conflict", OnConflict)
@virtually
async def test_the_objects_window_holds_for_firings_as_their_job_says(on_conflict):
    world = World(jobs=MemoryJobStore)
    await world.add(a_schedule(job={"object_id": "x", "window_s": 300.0, "on_conflict": on_conflict}))
    world.serve()
    await asyncio.sleep(25)
    outcome = {"reject": "refused", "attach": "attached", "replace": "accepted", "after": "accepted"}
    assert world.find().last.outcome == outcome[on_conflict]
    assert world.find().last.at == at(20)
    assert (len(world.jobs.jobs) == 2) == (on_conflict in {OnConflict.REPLACE, OnConflict.AFTER})


@virtually
async def test_firings_to_come_after_the_last_job_coalesce():
    world = World(jobs=MemoryJobStore)
    await world.add(a_schedule(job={"object_id": "x", "window_s": 300.0, "on_conflict": "after"}))
    world.serve()
    await asyncio.sleep(95)
    assert len(world.jobs.jobs) == 2
    assert world.find().last == Fired(at(90), FiringOutcome.ATTACHED, world.registry.requests[1].job_id)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnknownHandler("there is none"), {"code": "unknown_handler", "message": "there is none"}),
        (
            InvalidRequest(complaints=(("payload.n", "is less than 0"),)),
            {"code": "invalid_request", "message": "payload.n: is less than 0"},
        ),
        (
            InvalidRequest("it is \ud800 " + "x" * 2_000),
            {"code": "invalid_request", "message": "it is ? " + "x" * 992},
        ),
        # What a user's own validator may raise.
        (ZeroDivisionError("oops"), {"code": "internal", "message": "ZeroDivisionError('oops')"}),
    ],
)
@virtually
async def test_a_job_that_cannot_be_had_any_more_is_refused_and_the_schedule_goes_on(error, told):
    world = World()

    def composed(schedule, job_id):
        if schedule.name == "bad" and world.clock.now() < at(15):
            raise error
        return compose(schedule, job_id)

    await world.add(a_schedule("bad"), a_schedule("good"))
    world.serve(compose=composed)
    await asyncio.sleep(15)
    assert world.find("bad").last == Fired(at(10), FiringOutcome.REFUSED, None, told)
    assert world.find("good").last.outcome == "accepted"
    await asyncio.sleep(10)
    # Once it can be had again.
    assert world.firings("bad") == [20]


@pytest.mark.parametrize(
    "unclear",
    [Unknown("who knows"), Full(1.0), Unreachable(), StoreUnavailable(), ValueError("no answer at all")],
)
@virtually
async def test_an_unclear_answer_is_asked_for_until_it_is_clear_under_the_same_id(unclear):
    world = World(Says(*[unclear] * 7))
    await world.add(a_schedule())
    world.serve()
    await asyncio.sleep(50)
    first = [request.idempotency_key for request in world.registry.requests][:8]
    assert len(set(first)) == 1
    assert {request.job_id for request in world.registry.requests[:8]} == {"job-1"}
    assert world.find().last.at in {at(40), at(50)}


@virtually
async def test_a_registry_that_says_nothing_is_asked_again():
    world = World(Silent())
    await world.add(a_schedule())
    world.serve()
    await asyncio.sleep(41)
    assert [request.job_id for request in world.registry.requests] == ["job-1"] * 4
    assert world.find().pending.at == at(10)


@virtually
async def test_one_unclear_answer_holds_up_no_other_schedule():
    class Picky(Says):
        async def admit(self, message):
            answered = await super().admit(message)
            stuck = [request.object_id == "object-of-stuck" for request in message.requests]
            return Admitted(
                tuple(
                    Unknown("still") if no else yes for no, yes in zip(stuck, answered.answers, strict=True)
                )
            )

    world = World(Picky())
    await world.add(a_schedule("stuck"), *(a_schedule(f"s{n}") for n in range(150)))
    world.serve()
    await asyncio.sleep(20.5)
    assert all(world.find(f"s{n}").last.at == at(20) for n in range(150))
    assert world.find("stuck").last is None


@virtually
async def test_a_schedule_that_cannot_be_read_here_holds_up_no_other_and_is_told_once(caplog):
    """Such as one of a time zone that this machine does not have."""
    caplog.set_level(logging.INFO, "hasty")
    world = World()
    nowhere = dataclasses.replace(a_schedule("nowhere"), timing=Cron("* * * * *", "Not/There"))
    await world.add(a_schedule(), nowhere)
    world.serve()
    await asyncio.sleep(25)
    assert world.firings() == [10, 20]
    (told,) = [record.fields for record in caplog.records if record.event == "ScheduleBroke"]
    assert told["schedule"] == "nowhere"
    assert "Not/There" in told["why"]
    assert world.find("nowhere") is nowhere


@virtually
async def test_an_error_that_nobody_foresaw_ends_nothing(caplog):
    world = World()
    good, world.registry._registry = world.registry._registry, Failing(ZeroDivisionError("oops"))
    await world.add(a_schedule())
    world.serve()
    await asyncio.sleep(16)
    assert [record.fields for record in caplog.records] == [{"why": "ZeroDivisionError('oops')"}] * 2
    world.registry._registry = good
    await asyncio.sleep(10)
    assert world.firings() == [10, 20]


# Missed firings --------------------------------------------------------------------------------


@virtually
async def test_nobody_who_is_back_within_a_minute_has_missed_anything():
    world = World()
    await world.add(a_schedule())
    process = world.serve()
    await asyncio.sleep(15)
    process.die()
    await asyncio.sleep(62)
    world.serve(**world.far)
    await asyncio.sleep(5)
    assert world.firings() == [10, 20, 30, 40, 50, 60, 70, 80]


@pytest.mark.parametrize("missed", Missed)
@virtually
async def test_what_is_later_is_skipped_or_has_one_job_for_all(missed):
    world = World()
    await world.add(a_schedule(missed=missed))
    await asyncio.sleep(3_595)
    world.serve(**world.far)
    await asyncio.sleep(4)
    in_time = [3540, 3550, 3560, 3570, 3580, 3590]
    assert world.firings() == ([3530, *in_time] if missed is Missed.ONCE else in_time)


@virtually
async def test_a_year_is_missed_in_no_time():
    world = World()
    await world.add(
        *(a_schedule(f"s{n}", timing=Cron(f"{n} * * * *"), missed=Missed.ONCE) for n in range(60))
    )
    await asyncio.sleep(365 * 86_400 + 30 * 60)
    world.serve()
    await asyncio.sleep(5)
    # The last that was more than a minute ago, and one that was not.
    assert len(world.jobs.jobs) == 62
    assert {len(world.firings(f"s{n}")) for n in range(60)} == {1, 2}


# Who dies, freezes, or hears nothing -----------------------------------------------------------

#: Firings of the schedule below, in the time for which it is watched.
FIRINGS, WATCHED_S = [3, 6, 9, 12], 14

#: More than any Timetable makes steps in that time.
MOST_STEPS = 2_000


def each_step(scenario):
    """Play a scenario with a trap at each step of a Timetable's life; return how many there were."""
    for steps in range(MOST_STEPS):
        if not run_virtually(scenario(steps)):
            return steps
    pytest.fail("it makes too many steps")


async def watched(spring, steps):
    """Spring a trap on a Timetable after so many steps; return whether it was sprung."""
    world = World()
    await world.add(a_schedule(every_s=3))
    process = world.serve(**world.far)
    sprung = []

    def trap():
        sprung.append(world.loop.time())
        spring(world, process)

    process.after(steps, trap)
    await asyncio.sleep(WATCHED_S)
    assert world.firings() == FIRINGS, f"after {steps} steps, at {sprung}"
    assert world.find().last.at == at(FIRINGS[-1])
    assert world.find().last.outcome == FiringOutcome.ACCEPTED
    return sprung and sprung[0] < WATCHED_S - 1.5


def test_each_firing_has_its_job_once_at_whichever_step_a_timetable_dies():
    def die(world, process):
        process.die()
        world.loop.call_later(1.0, lambda: world.serve(**world.far))

    assert each_step(lambda steps: watched(die, steps)) > 200


def test_each_firing_has_its_job_once_at_whichever_step_a_timetable_freezes():
    """Another takes over, and the first one thaws and goes on: from then on there are two."""

    def freeze(world, process):
        process.freeze()
        world.loop.call_later(0.5, lambda: world.serve(**world.far))
        world.loop.call_later(1.0, process.thaw)

    assert each_step(lambda steps: watched(freeze, steps)) > 200


def test_each_firing_has_its_job_once_with_two_timetables_at_any_step_of_each_other():
    async def scenario(hundredths):
        world = World()
        await world.add(a_schedule(every_s=3))
        world.serve(**world.far)
        await asyncio.sleep(hundredths / 200)
        world.serve(**world.far)
        await asyncio.sleep(WATCHED_S)
        assert world.firings() == FIRINGS
        return hundredths < 150

    assert each_step(scenario) == 150


class Unlucky:
    """A store, or a Registry, whose n-th call fails: before it is carried out, or after."""

    def __init__(self, thing, turns, error, *, before):
        self._thing, self._turns, self._error, self._before = thing, turns, error, before

    def __getattr__(self, name):
        method = getattr(self._thing, name)

        async def call(*args):
            self._turns[0] -= 1
            unlucky = self._turns[0] == 0
            if unlucky and self._before:
                raise self._error
            answer = await method(*args)
            if unlucky:
                raise self._error
            return answer

        return call


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("error", [StoreUnavailable, Unreachable])
def test_each_firing_has_its_job_once_whichever_call_fails(error, before):
    async def scenario(turn):
        world = World()
        await world.add(a_schedule(every_s=3))
        turns = [turn + 1]
        world.serve(
            schedules=Unlucky(world.schedules, turns, error(), before=before),
            registry=Unlucky(world.registry, turns, error(), before=before),
        )
        await asyncio.sleep(WATCHED_S)
        assert world.firings() == FIRINGS, turn
        return turns[0] <= 0

    assert each_step(scenario) > 60


@pytest.mark.parametrize("call", ["pause", "delete"])
def test_nothing_that_is_due_later_than_a_pause_or_delete_has_a_job(call):
    """At whichever moment it comes. What was begun before has its job, or the first firing is none."""

    async def scenario(hundredths):
        world = World()
        await world.add(a_schedule(every_s=3))
        world.serve(**world.far)
        world.serve(**world.far)
        await asyncio.sleep(2.5 + hundredths / 100)
        while call == "pause":
            if await world.schedules.advance([world.find().stopped()]):
                break
        if call == "delete":
            assert await world.schedules.delete("tick")
        done = world.loop.time()
        await asyncio.sleep(WATCHED_S)
        firings = world.firings()
        assert set(firings) <= {second for second in FIRINGS if second <= done}
        # One that was seen to be due some time before.
        assert firings or done < 3 + 0.25 + 0.2
        return hundredths < 100

    assert each_step(scenario) == 100
