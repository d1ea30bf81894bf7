"""What the simulation found, each as a scenario of its own: seeds change their meaning, these do not."""

import asyncio

import pytest

from hasty.handlers import SLEEP, Handler, Handlers
from hasty.job import Window
from hasty.testing import System, run_virtually


def a_system(function, **options) -> System:
    limits = {"timeout_s": 46.0, "window": Window(300.0)}
    system = System(Handlers(Handler(name=SLEEP, function=function, **limits)), **options)
    system.start_all()
    return system


def test_a_worker_that_thaws_does_not_take_its_jobs_from_its_successor():
    """It declined them, under the token that the successor had taken them over with."""
    starts = []

    async def work(context, _payload):
        starts.append((context.object_id, context.attempt))
        await asyncio.sleep({"short": 0.5, "long": 30}.get(context.object_id, 10 * context.attempt))

    async def scenario():
        system = a_system(work)
        await system.ready()
        # The long one keeps this worker busier than the other: there a job would go that was let go of.
        job, _, _ = [await system.submit(name) for name in ("object", "short", "long")]
        await asyncio.sleep(1)
        frozen = system.find(system.ledger.pages[job.job_id].open.worker)
        frozen.process.freeze()
        system.remove(frozen)
        await asyncio.sleep(4)
        frozen.process.thaw()
        await asyncio.sleep(30)

    run_virtually(scenario())
    assert sorted(starts) == [("long", 1), ("long", 2), ("object", 1), ("object", 2), ("short", 1)]


@pytest.mark.parametrize("seed", range(10))
def test_a_dispatcher_that_thaws_does_not_take_its_own_silence_for_its_workers(seed):
    """It had asked before it froze, the answer came too late for it, and it had heard nothing for long."""
    starts = []

    async def work(context, _payload):
        starts.append(context.attempt)
        await asyncio.sleep(40)

    async def scenario():
        system = a_system(work, seed=seed, slots=1)
        await system.ready()
        await system.submit("object")
        await asyncio.sleep(1)
        system.network.weather.latency_s = 1.0
        await asyncio.sleep(5)
        dispatcher = system.find("dispatcher").process
        dispatcher.freeze()
        await asyncio.sleep(15)
        # Hardly anything arrives in time for a moment.
        system.network.weather.slow, system.network.weather.slow_s = 1.0, 6.0
        dispatcher.thaw()
        await asyncio.sleep(3)
        system.network.weather.slow = 0.0
        await asyncio.sleep(30)

    run_virtually(scenario())
    assert starts == [1]


def test_an_end_that_is_shown_late_is_still_kept_for_its_time():
    """The machine was off between record and settlement, for longer than records are kept."""
    day = 86_400.0

    async def work(_context, _payload):
        await asyncio.sleep(5)

    async def scenario():
        system = a_system(work, keep_s=day)
        await system.ready()
        job = await system.submit("object")
        await asyncio.sleep(1)
        # It runs and is recorded, but nobody is there to hear of it.
        system.kill(system.find("dispatcher"))
        await asyncio.sleep(10)
        assert system.ledger.pages[job.job_id].final is not None
        system.kill_all()
        await asyncio.sleep(3 * day)
        system.start_all()
        await system.ready()
        await asyncio.sleep(60)
        assert (await system.get(job.job_id)).status == "finished"
        system.jobs.expire()
        assert await system.get(job.job_id) is not None

    run_virtually(scenario())
