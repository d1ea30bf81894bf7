"""Who does not answer is killed, by name of the process, and once."""

import asyncio
import functools

from hasty.actors.watchdog import watch
from hasty.errors import Unreachable
from hasty.messages import Process
from hasty.testing import VirtualClock, run_virtually

FIRST, SECOND = Process("node", 1, 1), Process("node", 2, 2)


class Actor:
    """A peer that answers, or does not, as told."""

    def __init__(self):
        self.answers = FIRST
        self.killed = []
        self.restarted = 0

    async def process(self):
        if self.answers is None:
            await asyncio.Event().wait()
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers

    async def kill(self, process):
        self.killed.append(process)

    async def restart(self):
        self.restarted += 1


def virtually(test):
    @functools.wraps(test)
    def run():
        async def scenario():
            actor = Actor()
            duty = asyncio.ensure_future(watch("it", actor, VirtualClock(asyncio.get_running_loop())))
            await test(actor)
            duty.cancel()

        run_virtually(scenario())

    # Or pytest would see the argument of the test.
    del run.__wrapped__
    return run


@virtually
async def test_one_that_answers_is_left_alone(actor):
    await asyncio.sleep(100)
    assert actor.killed == []


@virtually
async def test_one_that_stops_to_answer_is_killed_once_within_7_s(actor):
    await asyncio.sleep(5)
    actor.answers = None
    await asyncio.sleep(7.5)
    assert actor.killed == [FIRST]
    await asyncio.sleep(60)
    assert actor.killed == [FIRST]


@virtually
async def test_its_successor_is_watched_in_its_turn(actor):
    await asyncio.sleep(5)
    actor.answers = None
    await asyncio.sleep(10)
    actor.answers = SECOND
    await asyncio.sleep(10)
    actor.answers = None
    await asyncio.sleep(10)
    assert actor.killed == [FIRST, SECOND]


@virtually
async def test_one_that_was_never_heard_is_still_being_started(actor):
    actor.answers = None
    await asyncio.sleep(55)
    assert (actor.killed, actor.restarted) == ([], 0)


@virtually
async def test_one_that_is_not_heard_for_a_minute_is_restarted_by_its_name(actor):
    """It froze before its watchdog could learn which process it is."""
    actor.answers = None
    await asyncio.sleep(65)
    assert (actor.killed, actor.restarted) == ([], 1)


@virtually
async def test_one_that_is_dead_needs_no_killing(actor):
    await asyncio.sleep(5)
    actor.answers = Unreachable("process was not answered")
    await asyncio.sleep(60)
    assert actor.killed == []


@virtually
async def test_watching_survives_whatever_is_answered(actor):
    actor.answers = RuntimeError("a bug")
    await asyncio.sleep(10)
    actor.answers = FIRST
    await asyncio.sleep(10)
    actor.answers = None
    await asyncio.sleep(10)
    assert actor.killed == [FIRST]
