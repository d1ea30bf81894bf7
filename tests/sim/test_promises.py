"""The promises under faults: thousands of schedules, each from a seed that replays it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hasty.testing import run_virtually
from tests.sim.broken import VARIANTS
from tests.sim.chaos import World, play
from tests.sim.hunt import failures

#: Schedules in a usual run. `make sim N=...` runs many more.
SCHEDULES = int(os.environ.get("HASTY_SIM_SCHEDULES", "2000"))

#: A variant that breaks a promise is found out within so many.
FOUND_WITHIN = 300

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1200)
def test_the_promises_hold_under_faults():
    assert [failure for failure in failures(1, SCHEDULES) if failure] == []


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_promise_is_noticed(name):
    promise, parts, under = VARIANTS[name]
    for seed in range(1, FOUND_WITHIN + 1):
        broken = play(seed, parts, **under).observer.broken
        if any(str(what).startswith(promise) for what in broken):
            return
    pytest.fail(f"{FOUND_WITHIN} schedules did not notice that {name} breaks {promise}")


def test_a_seed_replays_its_schedule_in_another_process():
    """Also where strings have other hashes, so that sets have another order."""
    tell = (
        "import logging; logging.disable(50); from tests.sim.chaos import play\n"
        "for seed in (7, 10, 31): print(*play(seed).journal.lines(), sep='\\n')"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", tell],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    ]
    assert told[0].count("\n") > 1_000
    assert told[0] == told[1]


def test_without_faults_each_job_is_started_once_and_nothing_waits():
    async def scenario() -> World:
        world = World(seed=1)
        world.deadly_every = 0
        await world.ready()
        answers = await asyncio.gather(*(world.post(f"object-{n}", delay_s=None) for n in range(50)))
        assert None not in answers
        await world.settle_down()
        world.observer.at_the_end()
        return world

    world = run_virtually(scenario())
    assert world.observer.broken == []
    # Once each, and once more for each failure that was to be retried; never, if that took too long.
    pages = world.ledger.pages.values()
    gave_up = [page for page in pages if page.final.error and page.final.error["type"] == "QueueTimeout"]
    assert len(world.observer.starts) == 50 - len(gave_up) + sum(page.retries for page in pages)
