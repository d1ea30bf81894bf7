"""Whoever listens hears each event once, in its order; whoever watches hears of the end at once."""

import asyncio
import functools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hasty.actors.herald import TOLD_AT_ONCE
from hasty.api import hub as hub_module
from hasty.api.hub import Hub
from hasty.api.listener import QUEUED
from hasty.dispatch import Mark
from hasty.errors import Draining, EventsOff, Unreachable
from hasty.job import Progress
from hasty.messages import EventType, Follow, Followed, Progressed
from hasty.store.base import Wanted
from hasty.testing import VirtualClock, run_virtually
from tests.unit.examples import NOW, repeatable
from tests.unit.following import KEEP_S, Follower, World

ALL = Wanted()


def virtually(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        return run_virtually(test(*args, **kwargs))

    return run


async def a_world(**weather):
    """A world whose Herald has begun."""
    world = World(**weather)
    await world.events.prepare(KEEP_S)
    world.start_herald()
    await until(lambda: world.herald._problem is None)
    return world


async def told(world, count):
    """Have so many jobs come, run and end, and return when all of it is told."""
    already = len(world.events.all)
    await world.happen(count)
    await until(lambda: len(world.events.all) == already + 3 * count)


async def until(holds, within_s=3_600.0):
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  time is virtual
            await asyncio.sleep(0.05)


async def heard(listener, count, within_s=60.0):
    found = []
    async with asyncio.timeout(within_s):
        while len(found) < count:
            found += await listener.next(1.0)
    assert len(found) == count
    return found


def seqs(events):
    return [event.seq for event in events]


# Each event once -----------------------------------------------------------------------------


WEATHER = {"refused": 0.05, "unsaid": 0.05, "unreachable": 0.05, "unheard": 0.05}


@settings(repeatable, max_examples=120)
@given(seed=st.integers(0, 2**32), clear=st.booleans(), forgets=st.booleans())
@example(seed=1, clear=True, forgets=False)
def test_in_any_weather_each_event_is_heard_once_or_told_to_be_missing(seed, clear, forgets):
    run_virtually(_live_through(seed, {} if clear else WEATHER, forgets=forgets))


async def _live_through(seed, weather, *, forgets):
    # Waits between tries are drawn from there.
    random.seed(seed)
    world = World(seed, **weather)
    await world.events.prepare(KEEP_S)
    world.start_herald()
    followers = [
        Follower(world, wanted, slow=slow, leaves=leaves)
        for wanted, slow, leaves in (
            (ALL, 0.0, 0.0),
            (ALL, 0.5, 0.3),
            (ALL, 40.0, 0.1),
            (Wanted(object_id="o-1"), 0.1, 0.1),
            (Wanted(handler="h-1", object_id="o-2"), 20.0, 0.5),
            (Wanted(job_id="job-7"), 0.1, 0.2),
        )
    ]
    tasks = [asyncio.ensure_future(follower.follow()) for follower in followers]
    await until(lambda: all(follower.begun_at is not None for follower in followers))
    for _ in range(12):
        await asyncio.gather(*(world.happen() for _ in range(world.chance.randrange(6))))
        await _disturb(world, forgets=forgets)
        await asyncio.sleep(world.chance.random() * 10)
    world.weather.calm()
    world.start_herald()
    await _until_all_is_told(world, followers)
    for follower in followers:
        assert follower.missing() == []
        assert forgets or not follower.gaps()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _disturb(world, *, forgets):
    match world.chance.randrange(8):
        case 0:
            world.start_herald()
        case 1:
            world.process.after(world.chance.randrange(200), world.process.die)
        case 2:
            world.process.freeze()
            await asyncio.sleep(world.chance.random() * 5)
            world.process.thaw()
        case 3:
            world.process.die()
        case 4 if forgets:
            world.jobs.log.lose()
        case 5 if forgets:
            await asyncio.sleep(KEEP_S)
            world.events.expire()
    if world.process.dead and world.chance.random() < 0.8:
        await asyncio.sleep(world.chance.random() * 3)
        world.start_herald()


async def _until_all_is_told(world, followers):
    """Have something more happen, and wait until all have heard of everything."""
    await world.happen()
    ended = f"job-{next(world._numbers) - 1}"
    await until(lambda: any(e.job_id == ended and e.final for e in world.events.all.values()))
    last = max(world.events.all)
    await until(lambda: all(follower.place >= last for follower in followers))


@virtually
async def test_who_is_killed_and_comes_back_a_hundred_times_hears_each_event_once():
    world = await a_world(seed=4)
    follower = Follower(world, ALL, leaves=0.35)
    comings = 0
    listen = follower._listen

    async def counted(listener):
        nonlocal comings
        comings += 1
        await listen(listener)

    follower._listen = counted
    task = asyncio.ensure_future(follower.follow())
    await asyncio.sleep(1)
    while comings < 100:
        await world.happen(2)
    await until(lambda: follower.place >= max(world.events.all))
    task.cancel()
    assert seqs(follower.heard) == sorted(world.events.all)
    assert len(follower.heard) > 100


# Where a listener begins ---------------------------------------------------------------------


@virtually
async def test_without_a_number_all_is_heard_from_now_on_and_with_one_all_after_that():
    world = await a_world()
    hub = world.hubs[0]
    await told(world, 1)
    with await hub.listen(ALL, None) as from_now, await hub.listen(ALL, 1) as from_one:
        assert from_now.cursor == 3
        await world.happen()
        assert seqs(await heard(from_now, 3)) == [4, 5, 6]
        assert seqs(await heard(from_one, 5)) == [2, 3, 4, 5, 6]


@virtually
async def test_what_the_hub_does_not_remember_is_read_where_it_is_kept():
    world = await a_world()
    await world.come(3_000)
    await until(lambda: len(world.events.all) == 3_000)
    hub = world.hubs[0]
    with await hub.listen(ALL, 0) as listener:
        assert not hub.tail.reaches_back_to(999)
        assert hub.tail.reaches_back_to(3_000 - TOLD_AT_ONCE)
        assert seqs(await heard(listener, 3_000)) == list(range(1, 3_001))


@virtually
async def test_what_happens_while_what_was_before_is_read_comes_after_it_and_once():
    world = await a_world()
    await world.come(1_800)
    await until(lambda: len(world.events.all) == 1_800)
    hub = world.hubs[0]
    for begin in (0, 5_000):
        with await hub.listen(ALL, 0) as listener:
            found = await listener.next(1.0)
            already = len(world.events.all)
            await told(world, 1)
            await asyncio.sleep(1)
            assert (hub.tail.last, hub.tail.reaches_back_to(0)) == (already + 3, not begin)
            found += await heard(listener, already + 3 - len(found))
            assert seqs(found) == list(range(1, already + 4))
            assert await listener.next(1.0) == []
        # And where it is not remembered.
        hub.tail.begin(already + 3)


@virtually
async def test_of_jobs_of_which_much_is_told_all_is_heard():
    world = await a_world()
    await world.come(2)
    for number in range(1_500):
        notes = [Progressed(f"job-{n}", Progress(NOW, number / 1_500)) for n in range(2)]
        await world.jobs.mark([Mark("job-0", "w", 1, NOW), Mark("job-1", "w", 1, NOW)], 1)
        await world.jobs.note(notes)
    await until(lambda: len(world.events.all) == 3_004)
    hub = world.hubs[0]
    with await hub.listen(ALL, None):
        hub.tail.begin(3_004)
        listeners = [await hub.listen(Wanted(job_id=f"job-{n}"), 0) for n in (0, 1, 2)]
        found = await asyncio.gather(
            *(heard(each, count) for each, count in zip(listeners, (1_502, 1_502, 0), strict=True))
        )
        for number in (0, 1):
            expected = [e for e in sorted(world.events.all.values()) if e.job_id == f"job-{number}"]
            assert found[number] == expected
        assert [await each.next(1.0) for each in listeners] == [[], [], []]


@virtually
async def test_only_what_is_wanted_is_heard():
    world = await a_world()
    hub = world.hubs[0]
    wishes = [
        Wanted(object_id="o-1"),
        Wanted(handler="h-0"),
        Wanted(job_id="job-5"),
        Wanted(object_id="o-1", handler="h-1"),
        Wanted(object_id="nobody"),
    ]
    listeners = [await hub.listen(wanted, after) for wanted in wishes for after in (None, 0)]
    await world.happen(12)
    await asyncio.sleep(1)
    every = [world.events.all[seq] for seq in sorted(world.events.all)]
    for listener in listeners:
        wanted = [event for event in every if listener.wanted.includes(event)]
        assert await heard(listener, len(wanted)) == wanted
        assert await listener.next(1.0) == []
        # What is not wanted is behind it, too.
        assert listener.cursor == every[-1].seq


@virtually
async def test_from_a_number_that_was_never_given_one_is_told_of_a_gap_and_goes_on():
    world = await a_world()
    await told(world, 1)
    began = world.loop.time()
    with await world.hubs[0].listen(ALL, 999) as listener:
        (gap,) = await heard(listener, 1)
        assert (gap.seq, gap.type) == (3, EventType.GAP)
        assert 4.9 < world.loop.time() - began < 6.0
        await world.happen()
        assert seqs(await heard(listener, 3)) == [4, 5, 6]


@virtually
async def test_from_a_number_that_another_gateway_told_before_there_is_no_gap():
    world = await a_world()
    await world.happen()
    behind = world.hubs[0]
    with await behind.listen(ALL, None):
        frozen, world.herald = world.herald, None
        await asyncio.sleep(1)
        await world.happen()
        await until(lambda: max(world.events.all) == 6)
        with await behind.listen(ALL, 5) as listener:
            waiting = asyncio.ensure_future(heard(listener, 1))
            await asyncio.sleep(30)
            assert not waiting.done()
            world.herald = frozen
            assert seqs(await waiting) == [6]


@virtually
async def test_what_has_expired_is_told_as_one_gap():
    world = await a_world()
    await told(world, 3)
    await asyncio.sleep(KEEP_S)
    await told(world, 2)
    world.events.expire()
    assert min(world.events.events) == 10
    hub = Hub(world.clock, world, world.events)
    hub.tail._limit = 1
    for after, wanted, expected in (
        (2, ALL, [9, 10, 11, 12, 13, 14, 15]),
        (9, ALL, [10, 11, 12, 13, 14, 15]),
        (2, Wanted(job_id="job-4"), [9, 13, 14, 15]),
        (2, Wanted(object_id="nobody"), [9]),
    ):
        with await hub.listen(wanted, after) as listener:
            hub.tail.begin(15)
            found = await heard(listener, len(expected))
            assert seqs(found) == expected
            assert [e.seq for e in found if e.type is EventType.GAP] == [9] * (after < 9)
            assert await listener.next(1.0) == []


@virtually
async def test_when_all_has_expired_that_is_a_gap_up_to_now():
    world = await a_world()
    await told(world, 2)
    world.events.events.clear()
    hub = world.hubs[0]
    with await hub.listen(ALL, 1) as listener:
        hub.tail.begin(6)
        (gap,) = await heard(listener, 1)
        assert (gap.seq, gap.type) == (6, EventType.GAP)
        assert await listener.next(1.0) == []


@virtually
async def test_of_what_is_older_than_all_that_is_kept_nothing_is_told_where_it_does_not_matter():
    world = await a_world()
    await told(world, 2)
    del world.events.events[1]
    hub = world.hubs[0]
    with await hub.listen(Wanted(job_id="job-1"), 0) as listener:
        hub.tail.begin(6)
        listener.strict = False
        assert seqs(await heard(listener, 3)) == [4, 5, 6]


# Slow ones -----------------------------------------------------------------------------------


@virtually
async def test_one_who_is_slow_takes_no_memory_and_misses_nothing():
    world = await a_world()
    hub = world.hubs[0]
    with await hub.listen(ALL, None) as slow, await hub.listen(ALL, None) as quick:
        for _ in range(10):
            await world.come(200)
            await asyncio.sleep(1)
            assert len(slow._queue) <= QUEUED
            await heard(quick, 200)
        assert slow._behind
        assert not slow._queue
        assert seqs(await heard(slow, 2_000)) == list(range(1, 2_001))
        await world.happen()
        assert seqs(await heard(slow, 3)) == [2_001, 2_002, 2_003]
        assert not slow._behind


@virtually
async def test_waiting_may_be_cut_off_anywhere_and_nothing_is_lost():
    world = await a_world(seed=3)
    await world.come(2_700)
    await until(lambda: len(world.events.all) == 2_700)
    hub = world.hubs[0]
    found = []
    with await hub.listen(ALL, 0) as listener:
        hub.tail.begin(2_700)
        while len(found) < 2_703:
            asked = asyncio.ensure_future(listener.next(1.0))
            await asyncio.sleep(world.chance.random() * 0.2)
            if not asked.done():
                asked.cancel()
                await asyncio.wait({asked})
            if not asked.cancelled():
                found += asked.result()
            if len(found) == 2_700:
                await world.happen()
    assert seqs(found) == list(range(1, 2_704))


# The Herald ----------------------------------------------------------------------------------


@virtually
async def test_nobody_is_asked_while_nobody_listens():
    world = await a_world()
    asked = []
    since = world.since

    async def counted(message):
        asked.append(message)
        return await since(message)

    world.since = counted
    hub = Hub(world.clock, world, world.events)
    await asyncio.sleep(100)
    assert asked == []
    with await hub.listen(ALL, None):
        await asyncio.sleep(100)
        assert 8 < len(asked) < 14
    await asyncio.sleep(60)
    seen = len(asked)
    assert not hub.live
    await asyncio.sleep(600)
    assert len(asked) == seen
    with await hub.listen(ALL, None) as listener:
        assert asked[seen] == Follow(None, 10.0)
        await world.happen()
        assert seqs(await heard(listener, 3)) == [1, 2, 3]


@virtually
async def test_what_happened_while_nobody_listened_is_not_now():
    world = await a_world()
    hub = world.hubs[0]
    with await hub.listen(ALL, None):
        pass
    await asyncio.sleep(100)
    await told(world, 5)
    with await hub.listen(ALL, None) as listener:
        assert listener.cursor == 15
        await world.happen()
        assert seqs(await heard(listener, 3)) == [16, 17, 18]


@virtually
async def test_without_the_herald_nobody_can_begin_to_listen_and_who_does_goes_on_when_it_is_back():
    world = await a_world()
    hub = world.hubs[0]
    listener = await hub.listen(ALL, None)
    world.process.die()
    await asyncio.sleep(20)
    assert not hub.live
    with pytest.raises(Unreachable):
        await world.hubs[1].listen(ALL, None)
    await world.happen()
    world.start_herald()
    assert seqs(await heard(listener, 3)) == [1, 2, 3]
    assert hub.live
    assert await world.hubs[1].listen(ALL, None)


@virtually
async def test_a_herald_that_does_not_answer_is_asked_again():
    world = await a_world()
    hub = world.hubs[0]
    with await hub.listen(ALL, None) as listener:
        world.process.freeze()
        await asyncio.sleep(30)
        assert not hub.live
        await world.happen()
        world.process.thaw()
        assert seqs(await heard(listener, 3)) == [1, 2, 3]


class Scripted:
    """A Herald that says what it is told to, each when its time has come, and then nothing."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def since(self, message):
        self.asked.append(message)
        if not self.answers:
            await asyncio.Event().wait()
        await asyncio.sleep(1)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@virtually
async def test_an_error_that_nobody_foresaw_is_not_the_end(caplog):
    world = await a_world()
    await told(world, 1)
    one, two, three = sorted(world.events.all.values())
    herald = Scripted(Followed((one,), 1), ValueError("odd"), Followed((two, three), 3))
    hub = Hub(world.clock, herald, world.events)
    with await hub.listen(ALL, None) as listener:
        assert await heard(listener, 2) == [two, three]
    assert [message.after for message in herald.asked[:3]] == [None, 1, 1]
    assert "odd" in caplog.text


@virtually
async def test_a_herald_of_an_older_database_begins_anew_and_that_is_a_gap():
    world = await a_world()
    await told(world, 2)
    events = sorted(world.events.all.values())
    herald = Scripted(Followed((), 100), Followed(tuple(events), 6, missed=True))
    hub = Hub(world.clock, herald, world.events)
    with await hub.listen(ALL, None) as listener:
        found = await heard(listener, 1)
        assert [(event.seq, event.type) for event in found] == [(6, EventType.GAP)]


# Those who watch -----------------------------------------------------------------------------


@virtually
async def test_the_end_of_a_job_is_worth_a_look_at_once_and_nothing_else_is():
    world = await a_world()
    hub = world.hubs[0]
    with hub.watch("job-2") as watch:
        await watch.until_worth_a_look(60.0)
        assert hub.live
        waiting = asyncio.ensure_future(watch.until_worth_a_look(60.0))
        await world.happen(2)
        await asyncio.sleep(5)
        assert not waiting.done()
        await world.happen()
        ended = world.loop.time()
        await waiting
        assert world.loop.time() - ended < 0.3


@virtually
async def test_whoever_watches_waits_no_longer_than_they_want():
    world = await a_world()
    hub = world.hubs[0]
    with hub.watch("job-2") as watch:
        await watch.until_worth_a_look(60.0)
        began = world.loop.time()
        await watch.until_worth_a_look(7.0)
        assert world.loop.time() - began == pytest.approx(7.0)


@virtually
async def test_while_the_herald_is_away_it_is_worth_a_look_now_and_then():
    world = World()
    hub = world.hubs[0]
    with hub.watch("job-0") as watch:
        for _ in range(10):
            began = world.loop.time()
            await watch.until_worth_a_look(60.0)
            assert 1.0 < world.loop.time() - began < 3.0
        await world.events.prepare(KEEP_S)
        world.start_herald()
        began = world.loop.time()
        while not hub.live:
            await watch.until_worth_a_look(60.0)
        # At once, for what was before was not heard.
        assert world.loop.time() - began < 5.0
        waiting = asyncio.ensure_future(watch.until_worth_a_look(60.0))
        await asyncio.sleep(20)
        assert not waiting.done()
        world.process.die()
        began = world.loop.time()
        await waiting
        assert world.loop.time() - began < 15.0


@virtually
async def test_a_deaf_herald_is_no_better_than_none():
    world = await a_world()
    hub = world.hubs[0]
    with hub.watch("job-0") as watch:
        await watch.until_worth_a_look(60.0)
        waiting = asyncio.ensure_future(watch.until_worth_a_look(60.0))
        await asyncio.sleep(1)
        world.weather.chances = {"refused": 1.0}
        began = world.loop.time()
        await waiting
        assert world.loop.time() - began < 6.0
        assert not hub.live
        await watch.until_worth_a_look(60.0)
        assert world.loop.time() - began < 10.0
        world.weather.calm()
        await asyncio.sleep(10)
        assert hub.live


@virtually
async def test_after_a_gap_every_job_is_worth_a_look():
    world = await a_world()
    hub = world.hubs[0]
    with hub.watch("job-0") as watch:
        await watch.until_worth_a_look(60.0)
        await world.jobs.insert([])
        world.jobs.log.note(world.clock.now(), None, next(iter(await _a_lost_job(world))))
        world.jobs.log.lose()
        began = world.loop.time()
        await watch.until_worth_a_look(60.0)
        assert world.loop.time() - began < 10.0


async def _a_lost_job(world):
    await world.happen()
    return world.jobs.jobs.values()


@virtually
async def test_without_events_there_is_nothing_to_listen_to_and_who_watches_looks_now_and_then():
    hub = Hub(VirtualClock(asyncio.get_running_loop()))
    with pytest.raises(EventsOff):
        await hub.listen(ALL, None)
    with hub.watch("job") as watch:
        began = asyncio.get_running_loop().time()
        await watch.until_worth_a_look(60.0)
        assert 1.0 < asyncio.get_running_loop().time() - began < 3.0
    assert not hub.busy


# The end -------------------------------------------------------------------------------------


@virtually
async def test_when_hasty_stops_everybody_is_sent_away_at_once():
    world = await a_world()
    hub = world.hubs[0]
    with await hub.listen(ALL, None) as listener, hub.watch("job") as watch:
        await watch.until_worth_a_look(60.0)
        listening = asyncio.ensure_future(listener.next(60.0))
        watching = asyncio.ensure_future(watch.until_worth_a_look(60.0))
        await asyncio.sleep(5)
        world.herald.end()
        began = world.loop.time()
        with pytest.raises(Draining):
            await listening
        await watching
        assert world.loop.time() - began < 0.3
        assert hub.ending


@virtually
async def test_a_gateway_that_stops_sends_its_own_away_for_good():
    world = await a_world()
    hub, other = world.hubs
    with await hub.listen(ALL, None) as listener, await other.listen(ALL, None) as elsewhere:
        listening = asyncio.ensure_future(listener.next(60.0))
        await asyncio.sleep(1)
        hub.end()
        with pytest.raises(Draining):
            await listening
        await world.happen()
        assert seqs(await heard(elsewhere, 3)) == [1, 2, 3]
        with pytest.raises(Draining):
            await listener.next(60.0)


@virtually
async def test_whoever_leaves_leaves_nothing_behind():
    world = await a_world()
    hub = world.hubs[0]
    for wanted in (ALL, Wanted(job_id="j"), Wanted(object_id="o"), Wanted(handler="h")):
        one, other = await hub.listen(wanted, None), await hub.listen(wanted, 0)
        one.close()
        assert hub.busy
        other.close()
        other.close()
        assert not hub.busy
    with hub.watch("j"), hub.watch("j"):
        assert hub.busy
    assert not hub.busy
    assert hub_module._REMEMBERED == 5_000
