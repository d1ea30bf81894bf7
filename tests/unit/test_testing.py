"""Virtual time, as users' tests get it."""

import asyncio
import contextlib
import contextvars
import subprocess
import sys
import time

import pytest

from hasty.handlers import Handler, Handlers
from hasty.handlers.catalogue import Retrying
from hasty.job import Status, Window
from hasty.testing import System, VirtualClock, VirtualLoop, run_virtually
from tests.unit.examples import VIRTUAL_BEGINNING, after, virtually


def test_a_scenario_returns_what_it_returns_and_may_leave_nothing_behind():
    async def scenario():
        return 7

    assert run_virtually(scenario()) == 7


def test_a_scenario_that_raises_raises():
    async def scenario():
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_virtually(scenario())


def test_what_a_scenario_leaves_behind_is_stopped():
    stopped = []

    async def forever(name):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(name)

    async def scenario():
        left = [asyncio.ensure_future(forever(name)) for name in "ab"]
        await asyncio.sleep(1)
        return left

    left = run_virtually(scenario())
    assert sorted(stopped) == ["a", "b"]
    assert all(task.cancelled() for task in left)


def test_a_hundred_days_pass_at_once_and_in_order():
    told = []

    async def wait(seconds):
        await asyncio.sleep(seconds)
        told.append((seconds, asyncio.get_running_loop().time()))

    async def scenario():
        await asyncio.gather(*(wait(seconds) for seconds in (8_640_000, 1, 86_400)))

    began = time.monotonic()
    run_virtually(scenario())
    assert told == [(1, 1.0), (86_400, 86_400.0), (8_640_000, 8_640_000.0)]
    assert time.monotonic() - began < 10


@virtually
async def test_the_clock_shows_the_time_of_the_loop():
    clock = VirtualClock(asyncio.get_running_loop())
    assert (clock.now(), clock.monotonic()) == (VIRTUAL_BEGINNING, 0.0)
    await clock.sleep(1.5006)
    assert clock.monotonic() == pytest.approx(1.5006)
    assert (clock.now() - VIRTUAL_BEGINNING).total_seconds() == 1.5
    assert clock.follow(after(99)).total_seconds() == 0


def test_waiting_for_what_can_never_happen_is_an_error():
    async def scenario():
        await asyncio.Event().wait()

    loop = VirtualLoop()
    task = loop.create_task(scenario())
    with pytest.raises(RuntimeError, match="nothing is left that could ever happen"):
        loop.run_until_complete(task)
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


class Diary:
    """A process at work: it writes down each second, and whether it could clean up."""

    def __init__(self, loop):
        self.process = loop.process("diary")
        self.seconds = []
        self.cleaned_up = False
        self.task = loop.create_task(self.write(), context=self.process.context)

    async def write(self):
        try:
            while True:
                self.seconds.append(asyncio.get_running_loop().time())
                # In a task of its own, in a context of its own: it belongs to the process all the same.
                await asyncio.create_task(asyncio.sleep(1), context=contextvars.Context())
        finally:
            self.cleaned_up = True


@virtually
async def test_a_frozen_process_makes_no_step_and_then_goes_on_where_it_was():
    diary = Diary(asyncio.get_running_loop())
    await asyncio.sleep(1.5)
    diary.process.freeze()
    await asyncio.sleep(10)
    assert diary.seconds == [0, 1]
    diary.process.thaw()
    await asyncio.sleep(1.2)
    assert diary.seconds == [0, 1, 11.5, 12.5]


@virtually
async def test_a_dead_process_does_not_even_clean_up():
    diary = Diary(asyncio.get_running_loop())
    await asyncio.sleep(1.5)
    diary.process.die()
    diary.task.cancel()
    diary.process.thaw()
    await asyncio.sleep(10)
    assert diary.seconds == [0, 1]
    assert not diary.cleaned_up
    assert not diary.task.done()


def test_what_a_dead_process_left_is_ended_with_the_scenario():
    async def scenario():
        diary = Diary(asyncio.get_running_loop())
        await asyncio.sleep(1.5)
        diary.process.die()
        return diary

    assert run_virtually(scenario()).task.cancelled()


@virtually
async def test_a_trap_springs_before_the_step_that_follows_so_many():
    loop = asyncio.get_running_loop()
    process, made = loop.process("counter"), []

    async def count():
        for n in range(10):
            made.append(n)
            await asyncio.sleep(0)

    process.after(3, process.die)
    counting = loop.create_task(count(), context=process.context)
    await asyncio.sleep(1)
    assert made == [0, 1, 2]
    assert not counting.done()


@virtually
async def test_a_cancellation_that_is_swallowed_does_not_keep_the_loop():
    async def stubborn():
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1_000)

    left = asyncio.get_running_loop().create_task(stubborn())
    await asyncio.sleep(1)
    assert not left.done()


@virtually
async def test_a_clock_may_be_off():
    clock = VirtualClock(asyncio.get_running_loop(), ahead_s=-0.75)
    await clock.sleep(1)
    assert (clock.now() - VIRTUAL_BEGINNING).total_seconds() == 0.25
    assert clock.monotonic() == 1


@virtually
async def test_a_whole_hasty_runs_a_job_that_its_user_wrote():
    async def double(_context, payload):
        return 2 * payload

    system = System(Handlers(Handler(name="double", function=double, timeout_s=46, window=Window(300))))
    system.start_all()
    await system.ready()
    job = await system.submit("object", "double", 21)
    refused = await system.submit("object", "double", 22)
    await asyncio.sleep(1)
    assert (await system.get(job.job_id)).result == 42
    assert refused.job_id == job.job_id


@virtually
async def test_a_whole_hasty_tries_again_and_waits_as_long_as_it_must():
    started = []

    async def works_the_third_time(context, _payload):
        started.append(asyncio.get_running_loop().time())
        if context.attempt < 3:
            raise ConnectionError("busy")
        return "done"

    limits = {"timeout_s": 46, "window": Window(300), "retry": Retrying(2, 100.0, 100.0)}
    system = System(Handlers(Handler(name="tries", function=works_the_third_time, **limits)))
    system.start_all()
    await system.ready()
    job = await system.submit("object", "tries")
    await asyncio.sleep(1)
    shown = await system.get(job.job_id)
    assert (shown.status, shown.attempt, shown.error["type"]) == (Status.SCHEDULED, 1, "ConnectionError")
    run_at = shown.run_at
    await asyncio.sleep(210)
    shown = await system.get(job.job_id)
    assert (shown.status, shown.attempt, shown.result, shown.error) == (Status.FINISHED, 3, "done", None)
    assert len(started) == 3
    assert started[1] >= (run_at - VIRTUAL_BEGINNING).total_seconds()


@virtually
async def test_a_whole_hasty_cancels_grows_and_is_redeployed():
    async def sleeps(_context, _payload):
        await asyncio.sleep(40)

    system = System(Handlers(Handler(name="sleeps", function=sleeps, timeout_s=46, window=Window(300))))
    system.start_all()
    await system.ready()
    one, other = [await system.submit(name, "sleeps") for name in ("one", "other")]
    await asyncio.sleep(1)
    shown, by_cancel = await system.cancel(one.job_id, "no longer needed")
    assert (shown.status, by_cancel) == (Status.CANCELLED, True)

    state = await system.scale(4)
    assert (state.workers, state.pinned) == (4, True)
    await asyncio.sleep(5)
    first = workers_of(system)
    assert len(first) == 4
    # A deployment says anew how many there should be.
    await system.deploy()
    await asyncio.sleep(60)
    assert len(workers_of(system)) == 2
    assert not workers_of(system) & first
    shown = await system.get(other.job_id)
    # Nobody lost an attempt over it.
    assert (shown.status, shown.attempt) == (Status.FINISHED, 1)


def workers_of(system):
    return {place for name in system.workers for place in system.places[name]}


@virtually
async def test_what_has_ended_is_forgotten_in_its_time():
    async def quick(_context, _payload):
        return None

    system = System(Handlers(Handler(name="q", function=quick, timeout_s=46, window=Window(300))), keep_s=1)
    system.start_all()
    await system.ready()
    job = await system.submit("object", "q")
    await asyncio.sleep(1)
    assert system.jobs.expire() == []
    system.kill_all()
    await asyncio.sleep(86_400 + 300)
    assert system.jobs.expire() == [job.job_id]


def test_it_takes_neither_ray_nor_mongodb_nor_pytest():
    look = "import hasty.testing, sys; print({'ray', 'pymongo', 'pytest'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.timeout(120)
def test_a_process_that_dies_while_the_loop_ends_does_not_keep_it_from_ending():
    async def takes_its_process_down(process):
        try:
            await asyncio.Event().wait()
        finally:
            process.die()
            await asyncio.sleep(1)

    async def scenario():
        loop = asyncio.get_running_loop()
        process = loop.process("doomed")
        task = loop.create_task(takes_its_process_down(process), context=process.context.copy())
        await asyncio.sleep(1)
        return task

    assert run_virtually(scenario()).done()
