"""Edges of small things, each wrong once."""

import asyncio
from datetime import timedelta

import pytest

import hasty.actors.registry
import hasty.api.app
import hasty.errors
from hasty.actors.care import Care
from hasty.actors.registry import Registry
from hasty.batching import Batcher
from hasty.clock import to_milliseconds
from hasty.errors import CannotStart, HastyError
from hasty.job import Window
from hasty.messages import Attendance, Process
from hasty.rerun import decide
from hasty.settings import Settings
from hasty.store.memory import MemoryJobStore, MemoryLedger
from hasty.testing import VirtualClock, run_virtually
from tests.unit.examples import NOW, a_request, virtually
from tests.unit.system import Silent


def test_a_scenario_may_leave_nothing_behind():
    async def scenario():
        return 7

    assert run_virtually(scenario()) == 7


@pytest.mark.parametrize("days", ["inf", "1e12"])
def test_a_retention_that_no_calendar_holds_is_refused(days):
    with pytest.raises(CannotStart):
        Settings.load({"HASTY_RETENTION_DAYS": days})


def test_an_endless_sleep_is_refused():
    with pytest.raises(CannotStart):
        Settings.load({"HASTY_SLEEP_MAX_S": "inf"})


def test_a_window_ends_at_a_time_that_is_the_same_after_storage():
    job = decide(None, a_request(window=Window(1 / 3)), NOW)
    assert job.opens_at == to_milliseconds(job.opens_at)


def test_the_tree_has_every_error():
    def below(error):
        return {error}.union(*(below(child) for child in error.__subclasses__()))

    # Other tests make errors of their own.
    ours = {error.__name__ for error in below(HastyError) if error.__module__.startswith("hasty.")}
    assert ours - set(vars(hasty.errors)) == set()


@pytest.mark.parametrize("results", [None, [1]])
@virtually
async def test_results_that_do_not_match_reach_the_callers_as_an_error(results):
    async def write(_items):
        return results

    batcher = Batcher(write)
    callers = [asyncio.ensure_future(batcher.submit(item)) for item in "ab"]
    done, _ = await asyncio.wait(callers, timeout=60)
    assert len(done) == 2
    assert {type(caller.exception()) for caller in callers} != {type(None)}


@virtually
async def test_a_clock_that_is_behind_is_not_called_ahead():
    loop = asyncio.get_running_loop()

    class Behind(VirtualClock):
        def follow(self, reference):
            return timedelta(seconds=3)  # MongoDB's time minus this machine's

    registry = Registry(MemoryJobStore(VirtualClock(loop)), Silent(), Behind(loop))
    assert "-3.0 s off" in (await registry.health()).problem


class Prompt:
    """A worker that answers when it is let."""

    def __init__(self):
        self.gate = asyncio.Event()

    def worker(self, _name):
        return self

    async def attend(self, _message):
        await self.gate.wait()
        return Attendance("w", 1, 1, Process("node", 1, 1), unfit=False)


@virtually
async def test_who_looks_after_a_worker_ends_also_when_the_answer_comes_at_that_moment():
    """Otherwise an office that is over would never end, and nobody could take the next."""
    clock, workers = VirtualClock(asyncio.get_running_loop()), Prompt()
    limits = {"tell": lambda _event: None, "prove_office": None, "epoch": 1}
    care = Care(workers, MemoryLedger(clock), clock, **limits)
    duty = asyncio.ensure_future(care.look_after("w"))
    await asyncio.sleep(0.5)
    workers.gate.set()
    # By now the answer is there, and the duty has not seen it.
    await asyncio.sleep(0)
    duty.cancel()
    await asyncio.wait([duty], timeout=10)
    assert duty.cancelled()


@pytest.mark.timeout(120)
def test_a_year_passes_at_once():
    async def scenario():
        await asyncio.sleep(31_536_000)
        return asyncio.get_running_loop().time()

    assert run_virtually(scenario()) == 31_536_000.0
