"""A whole hasty in one virtual loop, its actors calling each other directly, and a client of its HTTP."""

import asyncio
import itertools
from contextlib import asynccontextmanager

import httpx

from hasty.actors.dispatcher import Dispatcher, Draft
from hasty.actors.herald import Herald
from hasty.actors.registry import Registry
from hasty.actors.stages import InLoop
from hasty.actors.worker import Worker
from hasty.api.app import build_app
from hasty.api.gateway import Gateway
from hasty.api.hub import Hub
from hasty.api.readers import Readers
from hasty.api.scheduling import Scheduling
from hasty.errors import StoreUnavailable
from hasty.flight import SIZE, FlightRecorder
from hasty.handlers import SLEEP, Handler, Handlers, sleeper
from hasty.job import Window
from hasty.messages import Process
from hasty.pools import DEFAULT_POOL, PoolPlan, worker_names
from hasty.store import base
from hasty.store.memory import (
    MemoryAttempts,
    MemoryEventStore,
    MemoryJobReader,
    MemoryJobStore,
    MemoryLedger,
    MemoryOutbox,
    MemoryScheduleStore,
)
from hasty.testing import VirtualClock

DAY_S = 86_400.0

(WORKER,) = worker_names(DEFAULT_POOL, 0, 1)


class JobStore(MemoryJobStore):
    """The reference store, which can be away."""

    away = False

    def __getattribute__(self, name):
        if not name.startswith("_") and hasattr(base.JobStore, name) and self.away:
            return self._refuse
        return super().__getattribute__(name)

    async def _refuse(self, *_arguments):
        raise StoreUnavailable("MongoDB gave no clear answer (NetworkTimeout)")


class Pool:
    """One worker, which is always there. See `hasty.actors.refs.Workers`."""

    def __init__(self, bear):
        self.members = {}
        self._bear, self._generation = bear, 1

    def follow(self, plan):
        self._generation = plan.generation

    def worker(self, name):
        return self.members[name]

    async def revive(self, _name):
        return None

    async def kill(self, _process):
        return None

    async def restart(self, _name):
        return None

    async def dismiss(self, name):
        """Another takes its name, if one ever had it."""
        if name in self.members:
            self.members[name] = self._bear(self._generation)


class Silent:
    """An actor that never answers."""

    def __getattr__(self, _method):
        return self._wait

    async def _wait(self, *_arguments):
        await asyncio.Event().wait()


class Failing:
    """An actor whose every method raises."""

    def __init__(self, error):
        self._error = error

    def __getattr__(self, _method):
        return self._raise

    async def _raise(self, *_arguments):
        # A new one each time: an error that is kept keeps everything alive that it passed through.
        raise type(self._error)(*self._error.args)


class Whoever:
    """The part that the system has under this name at the moment it is called."""

    def __init__(self, system, name):
        self._system, self._name = system, name

    def __getattr__(self, method):
        return getattr(getattr(self._system, self._name), method)


class System:
    """Build the parts; `serve` gives life to the Dispatcher. Parts may be replaced before `client`.

    `function` takes the place of the built-in sleep; `more` are further handlers.
    """

    def __init__(self, *, window_s=300.0, timeout_s=46.0, sleep_s=20.0, function=None, more=()):
        clock = VirtualClock(asyncio.get_running_loop())
        numbers = itertools.count(1)
        self.window_s = window_s
        self.handlers = Handlers(
            Handler(
                name=SLEEP,
                function=function or sleeper(sleep_s, sleep_s),
                timeout_s=timeout_s,
                window=Window(window_s),
            ),
            *more,
        )
        self.mint = lambda: f"job-{next(numbers)}"
        self.jobs = JobStore(clock)
        self.registry = Registry(self.jobs, Whoever(self, "dispatcher"), clock)
        self.pool, self.ledger = Pool(self._bear), MemoryLedger(clock)
        self.dispatcher = Dispatcher(
            self.jobs,
            self.ledger,
            self.pool,
            clock,
            holder="one",
            draft=Draft({DEFAULT_POOL: PoolPlan(1, 1, 100)}),
            keep_s=7 * DAY_S,
        )
        self.events = MemoryEventStore(self.jobs, clock)
        self.herald = Herald(self.events, clock, keep_s=DAY_S)
        self._clock, self._claims = clock, itertools.count(1)
        self.worker = self.pool.members[WORKER] = self._bear(generation=1)
        self._duties = []

    def _bear(self, generation):
        return Worker(
            WORKER,
            process=Process("node", 1, 1),
            recorder=FlightRecorder(bytearray(SIZE)),
            child=InLoop(FlightRecorder(bytearray(SIZE))),
            ledger=self.ledger,
            dispatcher=Whoever(self, "dispatcher"),
            handlers=self.handlers,
            clock=self._clock,
            slots=100,
            generation=generation,
            mint=lambda: f"claim-{next(self._claims)}",
        )

    async def serve(self):
        """Return when jobs are being sent to the worker."""
        self._duties += [asyncio.ensure_future(each.serve()) for each in (self.dispatcher, self.herald)]
        while (await self.dispatcher.health()).problem:  # noqa: ASYNC110  time is virtual
            await asyncio.sleep(0.1)

    def gateway(self) -> Gateway:
        return Gateway(
            registry=self.registry,
            dispatcher=self.dispatcher,
            jobs=self.jobs,
            handlers=self.handlers,
            mint=self.mint,
        )

    def readers(self) -> Readers:
        lists, attempts = MemoryJobReader(self.jobs), MemoryAttempts(self.ledger)
        return Readers(lists, attempts, self.jobs, self.handlers)

    def hub(self) -> Hub:
        return Hub(self._clock, Whoever(self, "herald"), self.events)

    def app(self, gate=None):
        """Return a new Gateway's application, with a gate before it or none."""
        gateway = self.gateway()
        return build_app(
            gateway,
            self.window_s,
            gate,
            readers=self.readers(),
            hub=self.hub(),
            scheduling=Scheduling(
                MemoryScheduleStore(), self.jobs, self._clock, check=gateway.check, mint=self.mint
            ),
            outbox=MemoryOutbox(self.jobs),
        )

    def client(self, gate=None) -> httpx.AsyncClient:
        """Return a client of a new Gateway."""
        transport = httpx.ASGITransport(self.app(gate), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://hasty")


@asynccontextmanager
async def running(**settings):
    """A system at work, and its client."""
    system = System(**settings)
    await system.serve()
    async with system.client() as client:
        yield system, client
        # What the last answer set off is not cut short.
        await asyncio.sleep(1)
