"""Couriers that die, freeze, come back and run twice, over a store that fails: each end is told."""

import asyncio
import random

import pytest

from hasty.actors.courier import Courier
from hasty.messages import Process as Identity
from hasty.outgoing.sender import Reply
from hasty.store.base import DeliveryState
from hasty.testing import VirtualClock
from hasty.testing.journal import Journal
from hasty.testing.network import Network, Place
from hasty.testing.stores import RemoteStore
from tests.unit.examples import virtually
from tests.unit.telling import OK, SECRET, TIMEOUT_S, World

#: Until what a dead one had is told by another: its claim must be over.
CLAIMED_S = 5 + TIMEOUT_S + 15


class Faulty(World):
    """The same, with Couriers in processes of their own, and networks between all of them."""

    def __init__(self, seed=0, **receiver):
        super().__init__(**receiver)
        random.seed(seed)
        self.chance = random.Random(seed)
        journal = Journal(self.loop.time)
        self.network = Network(self.loop, self.chance, journal)
        self.internet = Network(self.loop, self.chance, journal)
        self.places = []

    def begin(self):
        """Start one more Courier; return where it lives."""
        number = len(self.places)
        process = self.loop.process(f"courier#{number}")
        place = Place("courier", process, Identity("node", number, number))
        process.context.run(self._serve, place)
        self.places.append(place)
        return place

    def _serve(self, place):
        courier = Courier(
            RemoteStore(self.outbox, self.network, place),
            self.post,
            VirtualClock(self.loop),
            secret=SECRET,
            timeout_s=TIMEOUT_S,
            look_every_s=2.0,
            mint=lambda: f"claim-{next(self.numbers)}",
            chance=self.chance.random,
        )
        self.loop.create_task(courier.serve())

    async def post(self, url, headers, body):
        """Carry a message there and its reply back; either may be lost, and the sender then waits in vain."""
        reply = self.loop.create_future()
        weather, happens = self.internet.weather, self.internet.happens

        def arrive():
            told = self.receiver.take(url, headers, body, self.loop.time())
            if not happens(weather.reply_lost):
                self.internet.later(deliver, told, within_s=self.receiver.takes_s)

        def deliver(told):
            if not reply.done():
                reply.set_result(told)

        if not happens(weather.request_lost):
            self.internet.later(arrive)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await reply
        except TimeoutError:
            return Reply(error="no answer")

    async def until_told(self, names, within_s):
        """Return when each is told and known to be."""
        async with asyncio.timeout(within_s):
            while {await self.state(name) for name in names} != {DeliveryState.DELIVERED}:  # noqa: ASYNC110
                await asyncio.sleep(2)


async def told_although(interfere, step):
    """Have a few jobs told, but for what happens to the first Courier at a step; say when that was."""
    world = Faulty(step)
    when = []
    first = world.begin()

    def trap():
        when.append(world.loop.time())
        world.loop.call_soon(interfere, world, first)

    first.process.after(step, trap)
    names = await world.end(3)
    await asyncio.sleep(2.5)
    names += await world.end(1, "http://other.example/")
    await world.until_told(names, 4 * CLAIMED_S)
    await asyncio.sleep(2 * CLAIMED_S)
    assert set(world.receiver.heard) == set(names)
    return when[0], world


def kill(world, place):
    place.process.die()
    world.begin()


def freeze_for_long(world, place):
    """Until another has told it all, or is about to."""
    place.process.freeze()
    world.begin()
    world.loop.call_later(CLAIMED_S + 1, place.process.thaw)


def freeze_for_a_moment(world, place):
    place.process.freeze()
    world.begin()
    world.loop.call_later(3, place.process.thaw)


def freeze_alone(world, place):
    """Nobody else is there: what it had claimed is claimed by itself again."""
    place.process.freeze()
    world.loop.call_later(2 * CLAIMED_S, place.process.thaw)


def double(world, _place):
    world.begin()
    world.begin()


@pytest.mark.parametrize(
    ("interfere", "most"),
    # One that dies may have sent it already, and so may one that stands still for longer than its claim.
    [(kill, 2), (freeze_for_long, 2), (freeze_for_a_moment, 1), (freeze_alone, 1), (double, 1)],
)
def test_each_end_is_told_at_whichever_step_a_courier_is_interfered_with(interfere, most):
    repeated = 0

    @virtually
    async def scenario(step):
        nonlocal repeated
        when, world = await told_although(interfere, step)
        heard = world.receiver.heard
        assert max(heard.values()) <= most, (step, world.receiver.calls)
        repeated += max(heard.values()) > 1
        return when

    steps = 0
    # Until all is told anyway.
    while scenario(steps) < 5:
        steps += 1
    assert steps > 40
    # Where it can happen it does, or this would show nothing.
    assert (repeated > 0) is (most > 1)


ROUGH = {"store_refuses": 0.2, "store_silent": 0.1, "store_late": 0.1}


@pytest.mark.parametrize("seed", range(12))
def test_where_nobody_dies_each_end_is_told_once_however_the_store_fails(seed):
    @virtually
    async def scenario():
        world = Faulty(seed)
        vars(world.network.weather).update(ROUGH)
        for _ in range(1 + seed % 3):
            world.begin()
        names = []
        for _ in range(10):
            names += await world.end(
                world.chance.randrange(4), f"http://h{world.chance.randrange(3)}.example/"
            )
            await asyncio.sleep(world.chance.random() * 3)
        await world.until_told(names, 20 * CLAIMED_S)
        await asyncio.sleep(3 * CLAIMED_S)
        assert world.receiver.heard == dict.fromkeys(names, 1)

    scenario()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_each_end_is_told(seed):
    """Couriers die, freeze and thaw; store, network and receiver come and go."""

    @virtually
    async def scenario():
        world = Faulty(seed, takes_s=3.0)
        vars(world.network.weather).update(ROUGH)
        vars(world.internet.weather).update(request_lost=0.2, reply_lost=0.2)
        world.receiver.answer = lambda _now, _url: world.chance.choice([OK, OK, Reply(500), Reply(503)])
        world.begin()
        names = []
        for _ in range(40):
            names += await world.end(
                world.chance.randrange(3), f"http://h{world.chance.randrange(4)}.example/"
            )
            disturb(world)
            await asyncio.sleep(world.chance.random() * 10)
        calm(world)
        await world.until_told(names, 3 * 3_600)
        await asyncio.sleep(600)
        assert set(world.receiver.heard) == set(names)
        assert {await world.state(name) for name in names} == {DeliveryState.DELIVERED}

    scenario()


def disturb(world):
    """Have something happen to the Couriers or the store; there are never more than three alive."""
    alive = [place for place in world.places if not place.process.dead]
    place = world.chance.choice(alive)
    match world.chance.randrange(8):
        case 0:
            place.process.die()
        case 1:
            place.process.freeze()
        case 2 | 3:
            place.process.thaw()
        case 4:
            world.network.weather.store_away = not world.network.weather.store_away
        case _:
            pass
    if len(alive) < 3 and (place.process.dead or world.chance.random() < 0.3):
        world.begin()


def calm(world):
    """Nothing happens any more, and whoever is not dead lives."""
    for place in world.places:
        if not place.process.dead:
            place.process.thaw()
    quiet = dict.fromkeys((*ROUGH, "store_away", "request_lost", "reply_lost"), 0)
    for network in (world.network, world.internet):
        vars(network.weather).update(quiet)
    world.receiver.answer = lambda _now, _url: OK
