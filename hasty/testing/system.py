"""A whole hasty in one process, on virtual time: real actors, stores in memory, a network between them."""

import asyncio
import contextvars
import functools
import itertools
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hasty.actors.dispatcher import Dispatcher, Draft
from hasty.actors.registry import Registry
from hasty.actors.stages import Play, Raised
from hasty.actors.watchdog import watch
from hasty.actors.worker import Worker
from hasty.api.gateway import Gateway
from hasty.api.order import Order
from hasty.clock import epoch_ms
from hasty.dispatch import CAPACITY
from hasty.errors import ChildDied, Unreachable
from hasty.flight import SIZE, FlightRecorder
from hasty.handlers import SLEEP, Handler, Handlers, JobContext, Term
from hasty.job import Job, Json, Work
from hasty.messages import Accepted, Attached, PoolState, Process, Refused
from hasty.pools import DEFAULT_POOL, Plan, PoolPlan, worker_names
from hasty.store.memory import MemoryJobStore, MemoryLedger
from hasty.testing.clock import VirtualClock
from hasty.testing.journal import Journal
from hasty.testing.loop import VirtualLoop
from hasty.testing.network import Link, Network, Place
from hasty.testing.stores import RemoteStore

REGISTRY, DISPATCHER, GATEWAY = _OTHERS = "registry", "dispatcher", "gateway"

#: The holder of the Dispatcher's office, unless another is named.
HOLDER = "one"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The classes a system is made of. A test may put in others."""

    registry: type[Registry] = Registry
    dispatcher: type[Dispatcher] = Dispatcher
    worker: type[Worker] = Worker
    gateway: type[Gateway] = Gateway
    jobs: type[MemoryJobStore] = MemoryJobStore
    ledger: type[MemoryLedger] = MemoryLedger


class System:
    """The actors, each in a process that can be frozen or killed, and the stores, which outlive them.

    What may go wrong with messages is the `weather` of `network` (between the actors and the
    stores) and of `internet` (between clients and the Gateway). Nothing does until it is said so.
    """

    def __init__(
        self,
        handlers: Handlers,
        *,
        seed: int = 0,
        workers: int = 2,
        slots: int = 100,
        capacity: int = CAPACITY,
        keep_s: float = 7 * 86_400.0,
        parts: Parts | None = None,
    ) -> None:
        """Must be called in a VirtualLoop. `seed` decides all chance, that of the actors as well."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        # The actors' own jitter draws from the global source.
        random.seed(seed)
        self.loop = loop
        self.chance = random.Random(seed)  # noqa: S311  not for secrets
        self.journal = Journal(loop.time)
        self.network = Network(loop, self.chance, self.journal)
        self.internet = Network(loop, self.chance, self.journal)
        # A connection breaks with the Gateway behind it; nobody makes the request again.
        self.internet.weather.replayed = 0.0
        self.handlers = handlers
        #: How large the default pool is, and what was deployed last.
        self.size = PoolPlan(workers, workers, slots)
        self.parts = parts or Parts()
        self.jobs = self.parts.jobs(VirtualClock(loop))
        self.ledger = self.parts.ledger(VirtualClock(loop))
        self._capacity, self._keep_s = capacity, keep_s
        #: Who bears a name: usually one, two while a partition lasts.
        self.places: dict[str, list[Place]] = {}
        self._incarnations = itertools.count(1)
        self._ids = itertools.count(1)
        #: The deployment under which each worker was started.
        self._generations: dict[str, int] = {}
        #: Workers that were ended for good: only who wants them again starts them.
        self.ended: set[str] = set()
        #: What is left of the workers' flight recorders.
        self._records: dict[str, bytearray] = {}
        self._client = Place("client", loop.process("client"), Process("node", 0, 0))

    # Life and death --------------------------------------------------------------------------

    @property
    def workers(self) -> tuple[str, ...]:
        """The workers that there should be at the start, and those that were started since."""
        first = worker_names(DEFAULT_POOL, 0, self.size.min_workers)
        return tuple(dict.fromkeys((*first, *(name for name in self.places if name not in _OTHERS))))

    @property
    def names(self) -> tuple[str, ...]:
        """Every actor that there should be."""
        return (*_OTHERS, *worker_names(DEFAULT_POOL, 0, self.size.min_workers))

    def start(
        self, name: str, *, ahead_s: float = 0.0, holder: str = HOLDER, generation: int | None = None
    ) -> Place:
        """Start one more incarnation of an actor, whose clock is `ahead_s` off.

        A worker that is started again keeps what it was started with, unless a `generation` is given.
        """
        number = next(self._incarnations)
        process = self.loop.process(f"{name}#{number}")
        place = Place(name, process, Process("node", number, number))
        place.generation = self._generations.get(name, 1) if generation is None else generation
        self._generations[name] = place.generation
        clock = VirtualClock(self.loop, ahead_s=ahead_s)
        build = functools.partial(self._build, place, clock, holder)
        place.actor = process.context.run(build)
        self.places.setdefault(name, []).append(place)
        self.journal.note("started", place)
        return place

    def start_all(self) -> None:
        """Start every actor that has no incarnation, but for those that were ended for good."""
        for name in self.names:
            self._start_again(name)

    def kill(self, place: Place, *, for_good: bool = False) -> None:
        """End an incarnation in the middle of whatever it does; `for_good`: no other comes in its place."""
        if place not in self.places.get(place.name, ()) and place.process.dead:
            return
        self.journal.note("killed", place)
        self._records[place.name] = bytearray(place.record)
        place.process.die()
        self.remove(place)
        calls, place.calls = place.calls, []
        for call in calls:
            call.orphan(for_good=for_good)

    def remove(self, place: Place) -> None:
        """Take its name from an incarnation: whoever calls the name does not reach it any more."""
        if place in self.places.get(place.name, ()):
            self.places[place.name].remove(place)

    def execute(self, identity: Process) -> None:
        """Kill exactly this process, as a watchdog does; another is started for it soon."""
        for place in [place for places in self.places.values() for place in places]:
            # An order to kill does not reach what is cut off either.
            if place.identity == identity and not place.cut:
                self.kill(place)
                self.network.later(self._start_again, place.name, within_s=3.0)

    def _start_again(self, name: str) -> None:
        # One that was ended for good is not restarted, also if that was under way.
        if not self.places.get(name) and name not in self.ended:
            self.start(name)

    def kill_all(self) -> None:
        """Switch the machine off. The stores remain."""
        for place in [place for places in self.places.values() for place in places]:
            self.kill(place)

    def find(self, name: str) -> Place | None:
        """Return an incarnation of this name; of several, any."""
        places = self.places.get(name)
        return self.chance.choice(places) if places else None

    # What clients do -------------------------------------------------------------------------

    async def submit(self, object_id: str, handler: str = SLEEP, payload: Json = None) -> Work | Refused:
        """Ask for a job. Raises what `Gateway.submit` raises, and Unreachable."""
        answer: Work | Refused = await self._gateway().submit(object_id, handler, payload)
        return answer

    async def order(self, order: Order) -> Accepted | Attached | Refused:
        """Ask for a job, in every way there is. Raises what `Gateway.order` raises, and Unreachable."""
        answer: Accepted | Attached | Refused = await self._gateway().order(order)
        return answer

    async def get(self, job_id: str) -> Job | None:
        """Return a job as clients see it. Raises what `Gateway.get` raises, and Unreachable."""
        answer: Job | None = await self._gateway().get(job_id)
        return answer

    async def cancel(self, job_id: str, reason: str = "") -> tuple[Job, bool]:
        """End a job. Raises what `Gateway.cancel` raises, and Unreachable."""
        answer: tuple[Job, bool] = await self._gateway().cancel(job_id, reason)
        return answer

    async def scale(self, workers: int | None) -> PoolState:
        """Resize the default pool. Raises what `Gateway.scale` raises, and Unreachable."""
        answer: PoolState = await self._gateway().scale(DEFAULT_POOL, workers)
        return answer

    async def deploy(self) -> None:
        """Roll the workers, as a deployment of new handlers does; return when that has begun.

        Raises what `Dispatcher.follow` raises, and Unreachable.
        """
        await self.jobs.deploy({DEFAULT_POOL: self.size}, "")
        await Link(self.internet, self._client, DISPATCHER, _Bearer(self, DISPATCHER)).follow()

    async def ready(self) -> None:
        """Return when the Gateway says that all is well."""
        while await self._gateway().ready():  # noqa: ASYNC110  time is virtual
            await asyncio.sleep(0.1)

    def _gateway(self) -> Any:
        return Link(self.internet, self._client, GATEWAY, _Bearer(self, GATEWAY))

    # Wiring ----------------------------------------------------------------------------------

    def _build(self, place: Place, clock: VirtualClock, holder: str) -> Any:
        match place.name:
            case "registry":
                self._begin(watch(DISPATCHER, _Peer(self, place, DISPATCHER), clock))
                return self.parts.registry(self._store(self.jobs, place), self.link(place, DISPATCHER), clock)
            case "dispatcher":
                return self._dispatcher(place, clock, holder)
            case "gateway":
                return self._gateway_at(place)
            case _:
                return self._worker(place, clock)

    def _dispatcher(self, place: Place, clock: VirtualClock, holder: str) -> Dispatcher:
        jobs, ledger = self._store(self.jobs, place), self._store(self.ledger, place)
        dispatcher = self.parts.dispatcher(
            jobs,
            ledger,
            _Workers(self, place),
            clock,
            holder=holder,
            draft=Draft({DEFAULT_POOL: self.size}),
            keep_s=self._keep_s,
            capacity=self._capacity,
        )
        self._begin(dispatcher.serve())
        self._begin(watch(REGISTRY, _Peer(self, place, REGISTRY), clock))
        return dispatcher

    def _gateway_at(self, place: Place) -> Gateway:
        return self.parts.gateway(
            registry=self.link(place, REGISTRY),
            dispatcher=self.link(place, DISPATCHER),
            jobs=self._store(self.jobs, place),
            handlers=self.handlers,
            mint=self.mint_job_id,
        )

    def _worker(self, place: Place, clock: VirtualClock) -> Worker:
        # What a predecessor left on record is what was there when it died.
        memory = self._records.setdefault(place.name, bytearray(SIZE))
        place.record = bytearray(memory)
        recorder = FlightRecorder(place.record)
        worker: Worker = self.parts.worker(
            place.name,
            process=place.identity,
            recorder=recorder,
            child=SimulatedChild(),
            ledger=self._store(self.ledger, place),
            dispatcher=self.link(place, DISPATCHER),
            handlers=self.handlers,
            clock=clock,
            slots=self.size.slots,
            generation=place.generation,
            mint=lambda: f"claim-{next(self._ids)}",
        )
        return worker

    def link(self, caller: Place, callee: str) -> Any:
        """Return how one incarnation calls whoever bears a name."""
        return Link(self.network, caller, callee, _Bearer(self, callee))

    def _store(self, store: Any, caller: Place) -> Any:
        return RemoteStore(store, self.network, caller)

    def _begin(self, duty: Coroutine[Any, Any, None]) -> None:
        self.loop.create_task(duty)

    def mint_job_id(self) -> str:
        """Make a job id: a UUID of version 7 by virtual time, and a number in place of chance."""
        ms = f"{epoch_ms(VirtualClock(self.loop).now()):012x}"
        return f"{ms[:8]}-{ms[8:]}-7000-8000-{next(self._ids):012d}"


#: Whether the code that runs is in a child of its worker.
IN_CHILD: contextvars.ContextVar[bool] = contextvars.ContextVar("hasty.testing.in_child", default=False)


class SimulatedChild:
    """A place for handlers whose death is told by raising ChildDied. See `hasty.actors.stages.Stage`."""

    def play(self, handler: Handler, work: Work, attempt: int, _claim: str, term: Term) -> Play:
        """Run it at once: there is always a child free."""
        inside = contextvars.copy_context()
        inside.run(IN_CHILD.set, True)
        performed = self._perform(handler, JobContext.of(work, attempt, term), work.payload)
        task = asyncio.get_running_loop().create_task(performed, context=inside)
        return Play(task, lambda grace_s: self._stop(task, grace_s))

    def _stop(self, task: "asyncio.Task[Json | Raised]", grace_s: float) -> None:
        """Ask it to end, and kill it after its grace."""
        task.cancel()
        asyncio.get_running_loop().call_later(grace_s, task.cancel)

    async def _perform(self, handler: Handler, context: JobContext, payload: Json) -> Json | Raised:
        try:
            if handler.is_async:
                return await handler.call(context, payload)
            return handler.call_sync(context, payload)
        except ChildDied:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  it is a user's code
            return Raised(type(error).__name__, str(error), handler.retry.follows(error))


class _Bearer:
    """Finds who bears a name, and stays with that one: of two, two callers may reach one each."""

    def __init__(self, system: System, name: str) -> None:
        self._system, self._name = system, name
        self._found: Place | None = None

    def __call__(self) -> Place | None:
        if self._found not in self._system.places.get(self._name, ()):
            self._found = self._system.find(self._name)
        return self._found


class _Workers:
    """The workers as a Dispatcher reaches them. See `hasty.actors.refs.Workers`."""

    def __init__(self, system: System, place: Place) -> None:
        self._system, self._place = system, place
        self._links: dict[str, Any] = {}
        self._generation = 0

    def follow(self, plan: Plan) -> None:
        self._generation = plan.generation

    def worker(self, name: str) -> Any:
        if name not in self._links:
            self._links[name] = self._system.link(self._place, name)
        return self._links[name]

    async def revive(self, name: str) -> None:
        if not self._place.cut and not self._system.places.get(name):
            self._system.ended.discard(name)
            self._system.start(name, generation=self._generation)

    async def kill(self, process: Process) -> None:
        if not self._place.cut:
            self._system.network.later(self._system.execute, process)

    async def restart(self, name: str) -> None:
        for place in self._system.places.get(name, ()):
            await self.kill(place.identity)

    async def dismiss(self, name: str) -> None:
        if self._place.cut:
            raise Unreachable
        self._system.ended.add(name)
        for place in tuple(self._system.places.get(name, ())):
            self._system.kill(place, for_good=True)


class _Peer:
    """An actor as its watchdog sees it. See `hasty.actors.refs.Peer`."""

    def __init__(self, system: System, watcher: Place, name: str) -> None:
        self._system, self._watcher, self._name = system, watcher, name
        self._link = system.link(watcher, name)

    async def process(self) -> Process:
        identity: Process = await self._link.identify()
        return identity

    async def kill(self, process: Process) -> None:
        if not self._watcher.cut:
            self._system.network.later(self._system.execute, process)

    async def restart(self) -> None:
        for place in self._system.places.get(self._name, ()):
            await self.kill(place.identity)
