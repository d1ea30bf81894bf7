"""What the Herald answers to those who follow, whatever state it is in.

That it loses nothing is shown on real stores: see the contract.
"""

import asyncio
import dataclasses
import functools

import pytest

from hasty.actors import herald as herald_module
from hasty.actors.herald import TOLD_AT_ONCE, Herald
from hasty.actors.tail import Tail
from hasty.errors import StoreUnavailable, Unreachable, WrongVersion
from hasty.job import Progress, Status
from hasty.messages import Event, EventType, Follow
from hasty.store.memory import MemoryEventStore, MemoryJobStore
from hasty.testing import VirtualClock, run_virtually
from tests.unit.examples import NOW, a_job
from tests.unit.following import KEEP_S, World


def virtually(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        return run_virtually(test(*args, **kwargs))

    return run


async def a_world(**weather):
    world = World(**weather)
    await world.events.prepare(KEEP_S)
    world.start_herald()
    await asyncio.sleep(5)
    return world


def now():
    return asyncio.get_running_loop().time()


def events(first, last):
    return [Event(seq, EventType.QUEUED, NOW) for seq in range(first, last + 1)]


@virtually
async def test_before_it_has_begun_it_knows_nothing():
    world = World(refused=1.0)
    world.start_herald()
    await asyncio.sleep(60)
    with pytest.raises(Unreachable):
        await world.herald.since(Follow(None, 0))
    assert "MongoDB" in (await world.herald.health()).problem
    world.weather.calm()
    await asyncio.sleep(10)
    assert (await world.herald.health()).problem is None
    assert await world.herald.since(Follow(None, 0)) == ((), 0, False, False, False)


@virtually
async def test_another_release_is_refused():
    world = await a_world()
    with pytest.raises(WrongVersion):
        await world.herald.since(Follow(None, 0, version=1))


@virtually
async def test_who_begins_is_told_the_latest_and_who_goes_on_what_comes_next():
    world = await a_world()
    await world.come(3_000)
    await asyncio.sleep(5)
    herald = world.herald
    first = await herald.since(Follow(None, 60.0))
    assert [event.seq for event in first.events] == list(range(3_001 - TOLD_AT_ONCE, 3_001))
    assert first.last == 3_000
    then = await herald.since(Follow(500, 60.0))
    assert ([event.seq for event in then.events], then.last) == (list(range(501, 2_501)), 2_500)
    rest = await herald.since(Follow(2_500, 60.0))
    assert ([event.seq for event in rest.events], rest.last) == (list(range(2_501, 3_001)), 3_000)


@virtually
async def test_who_knows_all_waits_for_what_comes_and_no_longer_than_they_want():
    world = await a_world()
    began = now()
    assert await world.herald.since(Follow(0, 7.0)) == ((), 0, False, False, False)
    assert now() - began == pytest.approx(7.0)
    assert await world.herald.since(Follow(0, 600.0)) == ((), 0, False, False, False)
    assert now() - began == pytest.approx(37.0)
    waiting = asyncio.ensure_future(world.herald.since(Follow(0, 30.0)))
    await asyncio.sleep(5)
    await world.come(1)
    began = now()
    assert [event.job_id for event in (await waiting).events] == ["job-0"]
    assert now() - began < 0.3


@virtually
async def test_who_is_too_far_behind_is_told_so():
    world = await a_world()
    await world.come(3_000)
    await asyncio.sleep(5)
    world.start_herald()
    await asyncio.sleep(5)
    # It remembers what it was told when it began.
    answer = await world.herald.since(Follow(500, 0))
    assert (len(answer.events), answer.last, answer.missed) == (TOLD_AT_ONCE, 3_000, True)
    assert not (await world.herald.since(Follow(1_000, 0))).missed


@virtually
async def test_who_is_ahead_waits_for_it_and_is_told_of_another_log_after_that():
    world = await a_world()
    await world.come(1)
    await asyncio.sleep(1)
    began = now()
    answer = await world.herald.since(Follow(7, 10.0))
    assert (answer.last, answer.missed, now() - began) == (1, True, pytest.approx(10.0))
    waiting = asyncio.ensure_future(world.herald.since(Follow(7, 10.0)))
    await world.come(7)
    answer = await waiting
    assert ([event.seq for event in answer.events], answer.missed) == ([8], False)


@virtually
async def test_while_it_hears_nothing_it_says_so_at_once_and_nobody_is_taken_to_be_ahead():
    world = await a_world()
    await world.come(1)
    await asyncio.sleep(1)
    waiting = asyncio.ensure_future(world.herald.since(Follow(1, 30.0)))
    world.weather.chances = {"refused": 1.0}
    began = now()
    assert await waiting == ((), 1, False, True, False)
    assert now() - began < 6.0
    began = now()
    assert await world.herald.since(Follow(1, 30.0)) == ((), 1, False, True, False)
    assert await world.herald.since(Follow(9, 30.0)) == ((), 9, False, True, False)
    assert now() - began == pytest.approx(2.0, abs=0.1)
    world.weather.calm()
    await asyncio.sleep(5)
    assert not (await world.herald.since(Follow(1, 0))).deaf


@virtually
async def test_it_tells_everybody_that_hasty_stops():
    world = await a_world()
    waiting = asyncio.ensure_future(world.herald.since(Follow(0, 30.0)))
    await asyncio.sleep(1)
    world.herald.end()
    assert (await waiting).ending
    assert (await world.herald.since(Follow(0, 30.0))).ending


@virtually
async def test_what_was_kept_and_not_told_is_told_by_whoever_goes_on():
    """The store kept a batch and did not say so."""
    world = await a_world()
    add, added = world.events.add, []

    async def unsaid(events, token):
        await add(events, token)
        added.append(len(events))
        if len(added) == 1:
            raise StoreUnavailable

    world.events.add = unsaid
    await world.come(3)
    await asyncio.sleep(5)
    assert added == [3]
    answer = await world.herald.since(Follow(0, 30.0))
    assert ([event.seq for event in answer.events], answer.missed) == ([1, 2, 3], False)


@virtually
async def test_what_was_not_kept_is_told_again_as_it_was_and_not_as_it_is_by_then():
    world = await a_world()
    add, lost = world.events.add, []
    await world.come(1)
    job = (await world.jobs.get(["job-0"]))["job-0"]
    first, second = (dataclasses.replace(job, status=Status.RUNNING, attempt=n) for n in (1, 2))
    halfway = dataclasses.replace(first, progress=Progress(world.clock.now(), 0.5))
    world.jobs.log.note(world.clock.now(), job, first)
    await asyncio.sleep(1)

    async def refused_once(events, token):
        if not lost:
            lost.append(len(events))
            raise StoreUnavailable
        await add(events, token)

    world.events.add = refused_once
    world.jobs.log.note(world.clock.now(), first, halfway)
    world.jobs.log.note(world.clock.now(), first, second)
    await asyncio.sleep(5)
    assert lost == [2]
    told = (await world.herald.since(Follow(0, 1.0))).events
    assert [event.attempt for event in told] == [0, 1, 1, 2]


@virtually
async def test_what_it_knows_of_jobs_is_bounded(monkeypatch):
    monkeypatch.setattr(herald_module, "_ABOUT", 10)
    world = await a_world()
    await world.come(50)
    await asyncio.sleep(1)
    assert len(world.herald._about) == 10
    await world.happen(5)
    await asyncio.sleep(1)
    assert len(world.herald._about) <= 10
    # Those that are over are forgotten at once.
    assert not {f"job-{n}" for n in range(50, 55)} & world.herald._about.keys()


@virtually
async def test_what_a_batch_begins_with_does_not_make_it_forget_what_it_ends_with(monkeypatch):
    monkeypatch.setattr(herald_module, "_ABOUT", 3)
    world = await a_world()
    await world.come(3)
    await asyncio.sleep(1)
    # In one batch: others come, and then something happens to those that were there.
    await world.come(5)
    jobs = await world.jobs.get([f"job-{n}" for n in range(8)])
    for n in range(8):
        job = jobs[f"job-{n}"]
        world.jobs.log.note(world.clock.now(), job, dataclasses.replace(job, attempt=1))
    await asyncio.sleep(1)
    told = (await world.herald.since(Follow(3, 1.0))).events
    about = [(event.job_id, event.object_id, event.handler) for event in told]
    expected = [(f"job-{n}", f"o-{n % 3}", f"h-{n % 2}") for n in range(8)]
    assert about == expected[3:] + expected
    assert len(world.herald._about) == 3


@virtually
async def test_of_a_record_that_is_gone_an_event_says_nothing():
    clock = VirtualClock(asyncio.get_running_loop())
    jobs = MemoryJobStore(clock)
    store = MemoryEventStore(jobs, clock)
    await store.position()
    job = a_job()
    jobs.log.note(clock.now(), job, a_job(attempt=1))
    herald = Herald(store, clock, keep_s=KEEP_S)
    task = asyncio.ensure_future(herald.serve())
    await asyncio.sleep(1)
    (event,) = (await herald.since(Follow(0, 1.0))).events
    assert (event.object_id, event.handler, event.attempt) == ("", "", 1)
    task.cancel()


@virtually
async def test_time_never_goes_back_from_one_event_to_the_next():
    clock = VirtualClock(asyncio.get_running_loop())
    jobs = MemoryJobStore(clock)
    store = MemoryEventStore(jobs, clock)
    await store.position()
    for number, ms in enumerate((5, 3, 9, 1)):
        await asyncio.sleep(0.001)
        at = clock.now().replace(microsecond=ms * 1_000)
        jobs.log.note(at, None, a_job(f"job-{number}", object_id=str(number)))
    herald = Herald(store, clock, keep_s=KEEP_S)
    task = asyncio.ensure_future(herald.serve())
    await asyncio.sleep(1)
    told = (await herald.since(Follow(0, 1.0))).events
    assert [event.at.microsecond for event in told] == [5_000, 5_000, 9_000, 9_000]
    task.cancel()


@virtually
async def test_whatever_goes_wrong_with_it_it_goes_on(caplog):
    world = await a_world()
    page, failures = world.events.position, [StoreUnavailable(), ValueError("odd"), RuntimeError("odder")]

    async def failing():
        if failures:
            raise failures.pop()
        return await page()

    world.events.position = failing
    world.start_herald()
    await world.come(1)
    await asyncio.sleep(20)
    assert [e.seq for e in (await world.herald.since(Follow(0, 1.0))).events] == [1]
    assert failures == []


def test_a_tail_has_no_hole():
    tail = Tail(limit=4)
    assert not tail.reaches_back_to(0)
    tail.begin(3)
    assert tail.reaches_back_to(3)
    assert not tail.reaches_back_to(2)
    tail.extend(events(4, 6))
    assert tail.reaches_back_to(3)
    assert tail.after(4, 10) == events(5, 6)
    assert tail.after(3, 2) == events(4, 5)
    assert tail.after(6, 10) == []
    with pytest.raises(AssertionError):
        tail.extend(events(8, 9))


def test_a_tail_is_bounded():
    tail = Tail(limit=4)
    tail.begin(0)
    for seq in range(1, 100):
        tail.extend(events(seq, seq))
        assert len(tail._events) <= 8
        assert tail.latest(4) == events(max(1, seq - 3), seq)
        assert tail.after(max(0, seq - 4), 9) == events(max(1, seq - 3), seq)
    assert not tail.reaches_back_to(90)
