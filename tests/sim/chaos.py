"""Schedules: from a seed, what clients do and what goes wrong, and when."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from hasty.actors.dispatcher import Dispatcher
from hasty.actors.reign import Reign
from hasty.actors.rounds import Rounds
from hasty.api.order import Order
from hasty.dispatch import CAPACITY
from hasty.errors import ChildDied, StoreUnavailable, TryAgainLater, UnknownJob
from hasty.handlers import SLEEP, Handler, Handlers, JobContext
from hasty.handlers.catalogue import Retrying
from hasty.job import Json, Status, Window
from hasty.messages import Accepted, Attached, OnConflict
from hasty.pools import DEFAULT_POOL, PoolPlan
from hasty.testing import Parts, Place, System, VirtualClock, Weather, run_virtually
from hasty.testing.process import OWNER
from hasty.testing.system import IN_CHILD
from tests.sim.observer import IMPATIENT, QUEUE_TIMEOUT_S, RETRIED, RETRIES, WINDOW_S, Observer

TIMEOUT_S = 6.0

DAY_S = 86_400.0

#: What may befall, by the names of the methods; what is named twice does so twice as often.
FAULTS = (
    *("crash", "crash", "freeze", "freeze_for_good", "zombie", "twin", "outage", "storm", "redeploy"),
    *("resize", "resize", "roll", "roll"),
)

#: A handler of which only a finished job shuts the window.
OPENING = "opening"

#: So many of the jobs are cancelled.
CANCELLED = 0.15

#: So many of the requests have a key, want to start later, or do not care for the window.
KEYED, DELAYED, FORCED = 0.4, 0.1, 0.05

#: What is wanted where a job stands in the way, as often as it is named.
CONFLICTS = (*[OnConflict.REJECT] * 3, OnConflict.ATTACH, *[OnConflict.REPLACE, OnConflict.AFTER] * 2)

#: Of so many requests one is deadly, unless the test says otherwise.
DEADLY = 19

#: Once nothing goes wrong any more, everything has ended within this.
SETTLED_WITHIN_S = 90.0

#: A client waits so long for its answer.
PATIENCE_S = 20.0

#: Events shown of a schedule that failed.
SHOWN = 60


class QuickRounds(Rounds):
    """Prunes the ledger so often that it happens."""

    async def prune(self) -> None:
        while True:
            await self._clock.sleep(7.0)
            with contextlib.suppress(StoreUnavailable):
                await self.prune_once()


def reigning(reign: type[Reign] = Reign, rounds: type[Rounds] = QuickRounds) -> type[Dispatcher]:
    """Return a Dispatcher that reigns like this, and makes such rounds.

    Nothing may stay patched while something is waited for: who dies there never puts it back.
    """

    class Reigning(reign):
        def __init__(self, *about: Any, **others: Any) -> None:
            with mock.patch("hasty.actors.reign.Rounds", rounds):
                super().__init__(*about, **others)

    return type("Reigned", (Dispatcher,), {"reign": Reigning})


QuickPruner = reigning()


class World(System):
    """A system under observation, and the hand of fate."""

    def __init__(
        self,
        seed: int,
        parts: Parts | None = None,
        faults: Sequence[str] = FAULTS,
        conflicts: Sequence[OnConflict] = CONFLICTS,
        **weather: float,
    ) -> None:
        self.observer: Observer
        super().__init__(
            Handlers(*self._handlers()),
            seed=seed,
            parts=parts or Parts(dispatcher=QuickPruner),
        )
        chance = self.chance
        workers = chance.choice((1, 2, 3))
        # Some pools grow and shrink by themselves.
        self.size = PoolPlan(workers, workers + chance.choice((0, 0, 2)), chance.choice((2, 4, 8)))
        self._capacity = chance.choice((2, 5, CAPACITY))
        # Never shorter than a message can be late: what is forgotten by then starts anew.
        self._keep_s = chance.choice((60.0, 7 * DAY_S))
        self.jobs.beginning = VirtualClock(self.loop).now()
        self.observer = Observer(self)
        self._numbers = itertools.count(1)
        #: What goes wrong in any case.
        self._given_weather = weather
        self._fated = True
        #: Every so many requests are for a job whose code takes its process down, each time.
        self.deadly_every = DEADLY
        self.conflicts = conflicts
        self.faults = faults
        self.frozen_for_good: list[Place] = []
        self.start_all()

    def _handlers(self) -> list[Handler]:
        """The same function under different rules."""
        limits: dict[str, Any] = {"function": self.work, "timeout_s": TIMEOUT_S, "window": Window(WINDOW_S)}
        after = (Status.FINISHED,)
        return [
            Handler(name=SLEEP, **limits),
            Handler(name=RETRIED, retry=Retrying(RETRIES, 0.5, 3.0, (ValueError,)), **limits),
            Handler(name=IMPATIENT, queue_timeout_s=QUEUE_TIMEOUT_S, **limits),
            Handler(name=OPENING, **limits | {"window": Window(WINDOW_S, from_end=True, after=after)}),
        ]

    def start(self, name: str, **options: Any) -> Place:
        """Start an incarnation, its clock a little off: two Registries at most a second apart."""
        off_s = 0.5 if name == "registry" else 1.0
        return super().start(name, ahead_s=self.chance.uniform(-off_s, off_s), **options)

    # Clients ---------------------------------------------------------------------------------

    async def work(self, context: JobContext, payload: Json) -> Json:
        """The handler: quick, slow, or over its timeout; sometimes it fails, or will not be stopped."""
        self.observer.handler_started(context, OWNER.get())
        if payload["deadly"]:
            await self._die(context)
        if context.handler == RETRIED and self.chance.random() < 0.4:
            raise ValueError("on purpose")
        match self.chance.randrange(12):
            case 0:
                raise ValueError("on purpose")
            case 1:
                await self._stubborn()
            case _:
                await asyncio.sleep(self.chance.choice((0.0, 0.0, 0.5, 3.0, 30.0)))
        return {"attempt": context.attempt}

    async def _die(self, context: JobContext) -> None:
        """Take the process down, in the middle of a step: what is on record then stays there."""
        await asyncio.sleep(self.chance.choice((0.0, 0.5)))
        if IN_CHILD.get():
            raise ChildDied("exited with 1", exit_code=1)
        process = OWNER.get()
        self.journal.note("deadly", context.job_id, "in", process)
        self.observer.troubled.add(process)
        process.die()
        for place in [p for places in self.places.values() for p in places if p.process is process]:
            self.kill(place)
            self.network.later(self._start_again, place.name, within_s=3.0)
        await asyncio.Event().wait()

    async def _stubborn(self) -> None:
        try:
            await asyncio.sleep(30.0)
        except asyncio.CancelledError:
            await asyncio.sleep(5.0)

    def wish(self, number: int, object_id: str) -> Order:
        """Think of a job to ask for: mostly a plain one."""
        deadly = self.deadly_every > 0 and number % self.deadly_every == 0
        handler = self.chance.choice((SLEEP, SLEEP, RETRIED, IMPATIENT, OPENING))
        force = self.chance.random() < FORCED
        return Order(
            object_id,
            handler,
            {"request": number, "deadly": deadly, "force": force},
            delay_s=self.chance.uniform(0, 15) if self.chance.random() < DELAYED else None,
            on_conflict=self.chance.choice(self.conflicts),
            force=force,
            key=f"key-{number}" if self.chance.random() < KEYED else None,
        )

    async def post(self, object_id: str, **wanted: Any) -> str | None:
        """Ask for a job as a client does; return its id if it was accepted.

        Who has a key asks again, also after an answer: it got lost, or a proxy repeats the request.
        """
        number = next(self._numbers)
        order = self.wish(number, object_id)._replace(**wanted)
        self.observer.asking(number, object_id)
        job_id = await self._ask(number, order)
        while order.key is not None and self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.uniform(0, 5) * self.chance.choice((0.0, 1.0)))
            job_id = await self._ask(number, order) or job_id
        return job_id

    async def _ask(self, number: int, order: Order) -> str | None:
        try:
            answer: Any = await asyncio.wait_for(self.order(order), PATIENCE_S)
        except Exception as error:  # noqa: BLE001  the observer is told
            answer = error
        self.observer.told(number, answer, keyed=order.key is not None)
        if isinstance(answer, Accepted):
            return answer.work.job_id
        return answer.job_id if isinstance(answer, Attached) else None

    async def look(self, job_id: str) -> None:
        """Read a job as a client does."""
        try:
            job = await asyncio.wait_for(self.get(job_id), PATIENCE_S)
        except Exception as error:  # noqa: BLE001  the observer is told
            number = next(self._numbers)
            self.observer.asking(number, job_id)
            self.observer.told(number, error)
        else:
            self.observer.read(job_id, job)

    async def cancel_job(self, job_id: str) -> None:
        """Cancel a job as a client does, again and again until there is an answer."""
        for _ in range(20):
            try:
                _, by_cancel = await asyncio.wait_for(self.cancel(job_id, "on purpose"), PATIENCE_S)
            except UnknownJob:
                return self.observer.read(job_id, None)
            except (TryAgainLater, TimeoutError):
                await asyncio.sleep(self.chance.uniform(0, 2))
            else:
                return self.observer.cancelled(job_id, by_cancel)
        return None

    async def client(self, objects: int, posts: int) -> None:
        """Come back to few objects, so that windows and runs are tried."""
        for _ in range(posts):
            job_id = await self.post(f"object-{self.chance.randrange(objects)}")
            await asyncio.sleep(self.chance.uniform(0, 8) * self.chance.choice((0.1, 1.0)))
            if job_id is not None and self.chance.random() < CANCELLED:
                await self.cancel_job(job_id)
            elif job_id is not None:
                await self.look(job_id)

    async def crowd(self) -> None:
        """Many at once, two for each object: more than slots and memory hold."""
        await asyncio.sleep(self.chance.uniform(0, 20))
        await asyncio.gather(*(self.post(f"crowd-{n // 2}") for n in range(self.chance.randrange(30))))

    # Faults ----------------------------------------------------------------------------------

    def any_place(self, *names: str) -> Place | None:
        return self.find(self.chance.choice(names or self.names))

    def soon(self, place: Place, act: Callable[[Place], None]) -> None:
        """Do it between two steps of that process: now, or after as many as chance has it."""
        place.process.after(int(self.chance.expovariate(1 / 8)), lambda: act(place) if self._fated else None)

    async def crash(self) -> None:
        """Kill one; Ray brings it back, or (some workers) the Dispatcher must."""
        place = self.any_place()
        if place is not None:
            self.soon(place, self._crash)

    def _crash(self, place: Place) -> None:
        self.observer.troubled.add(place.process)
        self.kill(place)
        if place.name not in self.workers or self.chance.random() < 0.7:
            self.network.later(self._replace, place.name, within_s=3.0)

    def _replace(self, name: str) -> None:
        if self._fated:
            self._start_again(name)

    async def freeze(self) -> None:
        """Stop one, and let it go on later."""
        place = self.any_place()
        if place is not None:
            self.soon(place, self._freeze)

    def _freeze(self, place: Place) -> None:
        self.observer.troubled.add(place.process)
        self.journal.note("frozen", place)
        place.process.freeze()
        self.network.later(self._thaw, place, within_s=20.0)

    async def freeze_for_good(self) -> None:
        """Stop one that never goes on by itself: whoever watches it must replace it.

        One at a time: two that watch each other cannot help each other.
        """
        place = self.any_place("registry", "dispatcher", *self.workers)
        if place is not None and self._none_is_frozen():
            self.observer.troubled.add(place.process)
            self.journal.note("frozen for good", place)
            place.process.freeze()
            self.frozen_for_good.append(place)

    def _thaw(self, place: Place) -> None:
        self.journal.note("thawed", place)
        place.process.thaw()

    async def zombie(self) -> None:
        """Replace one that is alive: frozen or cut off, it comes back beside its successor, for a while."""
        place = self.any_place("registry", "dispatcher", *self.workers, *self.workers)
        if place is None:
            return
        if self.chance.random() < 0.4:
            self.journal.note("cut off", place)
            place.cut = True
        else:
            self.soon(place, self._freeze)
            await asyncio.sleep(self.chance.uniform(0, 3))
        self.observer.troubled.add(place.process)
        self.remove(place)
        await asyncio.sleep(self.chance.uniform(0, 12))
        self._replace(place.name)
        await asyncio.sleep(self.chance.uniform(0, 12))
        self.journal.note("back again", place)
        place.cut = False
        place.process.thaw()
        await asyncio.sleep(self.chance.uniform(0, 5))
        self.kill(place)

    async def twin(self) -> None:
        """A second Registry or Dispatcher beside the first: some callers reach the one, some the other."""
        twins = self.chance.choice((("registry", "gateway"), ("dispatcher",)))
        for name in twins:
            self.start(name, holder=self.chance.choice(("one", "two")))
        await asyncio.sleep(self.chance.uniform(1, 20))
        for name in twins:
            places = self.places.get(name, [])
            if len(places) > 1:
                self.kill(self.chance.choice(places))

    async def outage(self) -> None:
        """MongoDB is away."""
        self.journal.note("stores away")
        self.network.weather.store_away = True
        await asyncio.sleep(self.chance.uniform(0.5, 8))
        self._stores_back()

    def _stores_back(self) -> None:
        self.network.weather.store_away = False
        self.observer.away_until = self.loop.time()
        self.journal.note("stores back")

    async def storm(self) -> None:
        """MongoDB is away, and while it is, one is replaced: what it asked for comes again when it thaws."""
        await asyncio.gather(self.outage(), self.zombie())

    async def redeploy(self) -> None:
        """Replace Registry, Dispatcher and Gateway on purpose, as a release does; the workers go on."""
        for name in ("gateway", "registry", "dispatcher"):
            place = self.find(name)
            if place is not None:
                self.kill(place)
                await asyncio.sleep(self.chance.uniform(0, 2))
                self._replace(name)

    async def resize(self) -> None:
        """Somebody wants another number of workers, and soon another one."""
        for _ in range(self.chance.randrange(1, 3)):
            with contextlib.suppress(TryAgainLater, TimeoutError):
                workers = self.chance.choice((1, 2, 3, 4, None))
                await asyncio.wait_for(self.scale(workers), PATIENCE_S)
            await asyncio.sleep(self.chance.uniform(0, 6))

    async def roll(self) -> None:
        """New code comes: each worker gives way to one that has it."""
        with contextlib.suppress(TryAgainLater, TimeoutError):
            await asyncio.wait_for(self.deploy(), PATIENCE_S)

    async def forget(self) -> None:
        """What is past its time goes, at any time."""
        while self._fated:
            await asyncio.sleep(self.chance.uniform(0, 20))
            gone = self.jobs.expire()
            if gone:
                self.journal.note("expired", gone)

    async def fate(self) -> None:
        """Up to eight faults, one after the other or at once."""
        faults = []
        for _ in range(self.chance.randrange(8)):
            await asyncio.sleep(self.chance.uniform(0, 8))
            fault = getattr(self, self.chance.choice(self.faults))
            faults.append(asyncio.ensure_future(fault()))
        if faults:
            await asyncio.wait(faults)

    def draw_weather(self) -> None:
        """Half of the schedules lose no message, so that what else is lost has another cause."""
        if self._given_weather or self.chance.random() < 0.5:
            self._draw_losses()

    def _draw_losses(self) -> None:
        self.observer.good_weather = False
        kinds = ("request_lost", "reply_lost", "repeated", "store_refuses", "store_silent", "store_late")
        for kind in kinds:
            if self.chance.random() < 0.5:
                setattr(self.network.weather, kind, self.chance.choice((0.01, 0.05, 0.2)))
        self.network.weather.slow = self.chance.choice((0.0, 0.02))
        self.network.weather.replayed = self.chance.choice((0.5, 1.0))
        self.internet.weather.request_lost = self.internet.weather.reply_lost = 0.02
        for kind, likelihood in self._given_weather.items():
            setattr(self.network.weather, kind, likelihood)

    async def night(self) -> None:
        """The machine is off for a day: what ended before it is past its time in the morning."""
        self.journal.note("night")
        for places in self.places.values():
            self.observer.troubled |= {place.process for place in places}
        self.kill_all()
        self._fated = False
        await asyncio.sleep(DAY_S - self.chance.uniform(0, 2 * WINDOW_S))
        self._fated = True
        # In the morning somebody starts it again, and that is a deployment.
        plan = await self.jobs.deploy({DEFAULT_POOL: self.size}, "")
        self.ended.clear()
        for name in self.names:
            if not self.places.get(name):
                self.start(name, generation=plan.generation)
        self._forgetting = asyncio.ensure_future(self.forget())

    # The end ---------------------------------------------------------------------------------

    async def settle_down(self) -> None:
        """End all faults and wait until everything has ended, and is forgotten by those who did it."""
        self.journal.note("faults end")
        self._fated = False
        self.network.weather, self.internet.weather = Weather(), Weather(replayed=0.0)
        for places in list(self.places.values()):
            for place in places[1:]:
                self.kill(place)
            for place in places:
                if place not in self.frozen_for_good:
                    place.process.thaw()
        self.start_all()
        await self._until("P7 what is frozen is not replaced", self._none_is_frozen)
        await self._until("P4 jobs are left that never end", lambda: not self._live())
        await self._until("P6 a slot was never given back", self._idle)
        await self._until("P10 a redeploy or a resize is never done", self._staffed)
        # A message that comes late may have brought one more job meanwhile.
        await self._until("P4 it does not come to rest", lambda: not self._live() and self._idle())

    def _none_is_frozen(self) -> bool:
        left = [place for place in self.frozen_for_good if place in self.places.get(place.name, ())]
        return not any(place.process.frozen and not place.process.dead for place in left)

    def _live(self) -> list[str]:
        return [job.job_id for job in self.jobs.jobs.values() if job.live]

    def _idle(self) -> bool:
        # There may be none for a moment: one that never answered is killed after a minute.
        places = self.places["dispatcher"]
        reign = places[0].actor._reign if places else None
        return reign is not None and not reign.running and not reign.queued

    def _staffed(self) -> bool:
        """Whether each pool has the workers it should have, of the latest deployment, and no others."""
        places = self.places["dispatcher"]
        reign = places[0].actor._reign if places else None
        pools = reign.pools() if reign is not None else ()
        left = [self._staff_left(reign, pool.name) for pool in pools]
        return bool(pools) and not any(left) and all(p.present == p.workers and not p.outdated for p in pools)

    @staticmethod
    def _staff_left(reign: Reign, pool: str) -> bool:
        return reign._staff[pool].extent > reign._staff[pool].size

    async def _until(self, promise: str, holds: Callable[[], bool]) -> None:
        until = self.loop.time() + SETTLED_WITHIN_S
        while not holds():
            if self.loop.time() > until:
                self.observer.expect(False, f"{promise}:", self._live())
                return
            await asyncio.sleep(0.5)


async def schedule(world: World) -> None:
    """Clients and faults, then quiet; sometimes a night in between."""
    for day in range(2 if world.chance.random() < 0.1 else 1):
        if day:
            await asyncio.sleep(world.chance.uniform(0, 60))
            await world.night()
        world.draw_weather()
        clients = [world.client(objects=12, posts=6) for _ in range(6)]
        await asyncio.gather(*clients, world.crowd(), world.fate())
    await world.settle_down()
    world.observer.at_the_end()


def play(seed: int, parts: Parts | None = None, faults: Sequence[str] = FAULTS, **weather: float) -> World:
    """Run one schedule; what broke is in the world's observer."""

    async def whole() -> World:
        world = World(seed, parts, faults, **weather)
        worlds.append(world)
        await schedule(world)
        return world

    worlds: list[World] = []
    try:
        return run_virtually(whole())
    except BaseException as error:
        error.add_note(story(seed, worlds[0]) if worlds else "")
        raise


def run(seed: int, parts: Parts | None = None) -> World:
    """Run one schedule; raises Broken, with its last events."""
    world = play(seed, parts)
    if world.observer.broken:
        broken = world.observer.broken[0]
        broken.add_note(story(seed, world))
        raise broken
    return world


def story(seed: int, world: World) -> str:
    """Tell how a schedule went, up to what broke, and how to see it again."""
    lines = world.journal.lines()
    end = next((n for n, line in enumerate(lines, 1) if "BROKEN" in line), len(lines))
    return "\n".join((*lines[max(0, end - SHOWN) : end], f"replay with: make sim N=1 SEED={seed}"))
