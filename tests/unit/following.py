"""Jobs to which things happen, a Herald that dies, and Gateways' hubs: in a virtual loop, in any weather."""

import asyncio
import itertools
import random

from hasty.actors.herald import Herald
from hasty.api.hub import Hub
from hasty.dispatch import Mark, Settle
from hasty.errors import StoreUnavailable, Unreachable
from hasty.job import Outcome, Status
from hasty.messages import EventType
from hasty.store.memory import MemoryEventStore, MemoryJobStore
from hasty.testing import VirtualClock
from tests.unit.examples import NOW, a_job

KEEP_S = 120.0


class Weather:
    """What may go wrong, each with its chance. As it is made here: nothing."""

    def __init__(self, chance, **chances):
        self.chance = chance
        self.chances = chances

    def happens(self, name):
        return self.chance.random() < self.chances.get(name, 0.0)

    def calm(self):
        self.chances = {}

    async def pass_(self, longest_s=0.05):
        await asyncio.sleep(self.chance.random() * longest_s)


class Remote:
    """A store that may not answer, before or after it did what it was asked."""

    def __init__(self, store, weather):
        self._store, self._weather = store, weather

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name == "reader":
            return lambda token: RemoteReader(method(token), self._weather)
        return lambda *args: self.ask(method, *args)

    async def ask(self, method, *args):
        return await ask(self._weather, method, *args)


class RemoteReader:
    def __init__(self, reader, weather):
        self._reader, self._weather = reader, weather

    async def read(self, within_s):
        return await ask(self._weather, self._reader.read, within_s)

    async def close(self):
        await self._reader.close()


async def ask(weather, method, *args):
    await weather.pass_()
    if weather.happens("refused"):
        raise StoreUnavailable
    answer = await method(*args)
    if weather.happens("unsaid"):
        raise StoreUnavailable
    await weather.pass_()
    return answer


class World:
    """Jobs, their events, one Herald at a time, and two hubs."""

    def __init__(self, seed=0, **weather):
        self.loop = asyncio.get_running_loop()
        self.clock = VirtualClock(self.loop)
        self.chance = random.Random(seed)
        self.weather = Weather(self.chance, **weather)
        self.jobs = MemoryJobStore(self.clock)
        self.events = History(self.jobs, self.clock)
        self.hubs = [Hub(self.clock, self, Remote(self.events, self.weather)) for _ in range(2)]
        self._numbers = itertools.count()
        self.herald = None
        self.process = None

    def start_herald(self):
        """Let another take the place of the one there is, which dies where it stands."""
        if self.process is not None:
            self.process.die()
        self.process = self.loop.process("herald")
        self.herald = Herald(Remote(self.events, self.weather), self.clock, keep_s=KEEP_S)
        self.process.context.run(self.loop.create_task, self.herald.serve())

    async def since(self, message):
        """Ask the Herald, as a hub does."""
        herald, process = self.herald, self.process
        if herald is None or process.dead or self.weather.happens("unreachable"):
            raise Unreachable
        await self.weather.pass_()
        # Whoever asks a process that dies is not answered, and hears of that.
        asked = process.context.run(self.loop.create_task, herald.since(message))
        while not asked.done():
            await asyncio.wait({asked}, timeout=0.1)
            if process.dead:
                raise Unreachable
        await self.weather.pass_()
        if self.weather.happens("unheard"):
            raise Unreachable
        return asked.result()

    async def come(self, count):
        """Have so many jobs come at once."""
        await self.jobs.insert([self._job(number) for number in itertools.islice(self._numbers, count)])

    def _job(self, number):
        return a_job(f"job-{number}", object_id=f"o-{number % 3}", run=number, handler=f"h-{number % 2}")

    async def happen(self, count=1):
        """Have so many jobs come, run and end, one after the other."""
        for number in itertools.islice(self._numbers, count):
            job_id = f"job-{number}"
            await self.jobs.insert([self._job(number)])
            await self.weather.pass_(0.1)
            await self.jobs.mark([Mark(job_id, "w", 1, NOW)], 1)
            await self.weather.pass_(0.5)
            await self.jobs.settle([Settle(job_id, outcome())], 1, NOW)


def outcome():
    return Outcome(Status.FINISHED, NOW, {"n": 1}, None, 1, NOW, "w")


class History(MemoryEventStore):
    """Events, and all that ever were."""

    def __init__(self, jobs, clock):
        super().__init__(jobs, clock)
        self.all = {}

    async def add(self, events, token):
        await super().add(events, token)
        for event in events:
            # A gap may take the number of one that was forgotten.
            self.all.setdefault(event.seq, event)


class Follower:
    """A client that follows what it wants, leaves now and then, and comes back, perhaps elsewhere."""

    def __init__(self, world, wanted, *, slow=0.0, leaves=0.0):
        self.world, self.wanted, self.slow, self.leaves = world, wanted, slow, leaves
        self.heard = []
        self.begun_at = self.place = None

    async def follow(self):
        while True:
            hub = self.world.chance.choice(self.world.hubs)
            try:
                listener = await hub.listen(self.wanted, self.place)
            except Unreachable:
                continue
            with listener:
                if self.place is None:
                    self.begun_at = self.place = listener.cursor
                await self._listen(listener)

    async def _listen(self, listener):
        while self.world.chance.random() >= self.leaves:
            events = await listener.next(1.0)
            if not events:
                self.place = listener.cursor
            elif self.world.chance.random() < self.leaves:
                # Killed in the middle of it.
                self._take(events[: len(events) // 2])
                return
            self._take(events)
            await asyncio.sleep(self.world.chance.random() * self.slow)

    def _take(self, events):
        self.heard += events
        if events:
            self.place = events[-1].seq

    def missing(self):
        """Return what it should have heard, and was not told to be missing either."""
        history = sorted(self.world.events.all.values())
        expected = [e for e in history if e.seq > self.begun_at and self.wanted.includes(e)]
        numbers = [event.seq for event in self.heard]
        assert numbers == sorted(set(numbers)), "twice, or out of order"
        told = {event.seq: event for event in expected}
        for event in self.heard:
            assert event.type is EventType.GAP or told[event.seq] == event
        return [e for e in expected if e.seq <= self.place and not self._accounts_for(e)]

    def _accounts_for(self, event):
        next_ = next((heard for heard in self.heard if heard.seq >= event.seq), None)
        return next_ is not None and (next_.seq == event.seq or next_.type is EventType.GAP)

    def gaps(self):
        return [event for event in self.heard if event.type is EventType.GAP]
