"""The shells in which Ray runs the actors: they build the plain ones and pass calls on.

Messages arrive and leave as bytes (see `wire`). A shell's constructor never raises and never
connects: Ray does not restart an actor whose constructor raised.
"""

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Any

import uuid_utils

from hasty.actors.clerk import Clerk
from hasty.actors.dispatcher import Dispatcher, Draft
from hasty.actors.herald import Herald
from hasty.actors.registry import Registry
from hasty.actors.timekeeping import keep_time, set_clock
from hasty.actors.watchdog import watch
from hasty.clock import SystemClock
from hasty.cluster.channel import Listener
from hasty.cluster.clerk import Neighbours, Office, deployed, open_office
from hasty.cluster.named import channel, find, log_to_stderr, socket_of, start
from hasty.cluster.names import CLERK, DISPATCHER, REGISTRY
from hasty.cluster.processes import this_process
from hasty.cluster.refs import RayRef
from hasty.cluster.wire import pack, unpack
from hasty.cluster.workers import RayWorkers, described, mint_claim, plan_of
from hasty.errors import Unreachable
from hasty.messages import Health
from hasty.retry import until_answered
from hasty.settings import Settings
from hasty.store.mongo import MongoJobStore, MongoLedger
from hasty.store.mongo.connection import connect

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_DAY_S = 86_400.0

#: A deployment ends the Clerk and starts another, with other settings, within this.
_REPLACED_WITHIN_S = 10.0


def mint_job_id() -> str:
    """Make a job id: a UUIDv7, so that ids sort by the time they were made."""
    return str(uuid_utils.uuid7())


class RegistryHost:
    """The Registry on Ray."""

    def __init__(self, settings: Settings) -> None:
        """Start to watch the Dispatcher and the Clerk as soon as the loop turns."""
        log_to_stderr()
        jobs, clock = MongoJobStore(connect(settings.jobs_uri)), SystemClock()
        dispatcher = dispatcher_ref(settings)
        self._registry = Registry(jobs, dispatcher, clock, max_backlog=settings.max_backlog)
        self._listener = Listener(socket_of(settings, REGISTRY), {"admit": self.admit})
        self._duties = [
            asyncio.ensure_future(self._listener.open()),
            asyncio.ensure_future(keep_time(jobs, clock)),
            asyncio.ensure_future(watch(DISPATCHER, dispatcher, clock)),
            asyncio.ensure_future(watch(CLERK, clerk_ref(settings), clock)),
        ]

    async def admit(self, message: bytes) -> bytes:
        """See `Registry.admit`."""
        return pack(await self._registry.admit(unpack(message)))

    async def process(self) -> bytes:
        """See `Peer.process`."""
        return pack(this_process())

    async def health(self) -> bytes:
        """See `Registry.health`."""
        return pack(await self._registry.health())

    async def drain(self) -> None:
        """See `Registry.drain`."""
        await self._registry.drain()

    def __repr__(self) -> str:
        """Name it in Ray's dashboard and logs."""
        return REGISTRY


class DispatcherHost:
    """The Dispatcher on Ray."""

    def __init__(self, settings: Settings, holder: str) -> None:
        """Start to serve as soon as the loop turns: nobody need call first."""
        log_to_stderr()
        jobs, clock = MongoJobStore(connect(settings.jobs_uri)), SystemClock()
        self._dispatcher = Dispatcher(
            jobs,
            MongoLedger(connect(settings.ledger_uri)),
            RayWorkers(settings),
            clock,
            holder=holder,
            draft=Draft(plan_of(settings), described(settings)),
            keep_s=settings.retention_days * _DAY_S,
        )
        self._listener = Listener(
            socket_of(settings, DISPATCHER), {"enqueue": self.enqueue, "report": self.report}
        )
        self._duties = [
            asyncio.ensure_future(self._listener.open()),
            asyncio.ensure_future(keep_time(jobs, clock)),
            asyncio.ensure_future(self._serve(jobs, clock)),
            asyncio.ensure_future(watch(REGISTRY, registry_ref(settings), clock)),
        ]

    async def _serve(self, jobs: MongoJobStore, clock: SystemClock) -> None:
        """Serve once it is known what time it is: it says which jobs are due, and who waited too long."""
        await until_answered(functools.partial(set_clock, jobs, clock), clock.sleep)
        await self._dispatcher.serve()

    async def enqueue(self, message: bytes) -> None:
        """See `Dispatcher.enqueue`."""
        await self._dispatcher.enqueue(unpack(message))

    async def report(self, message: bytes) -> None:
        """See `Dispatcher.report`."""
        await self._dispatcher.report(unpack(message))

    async def cancel(self, message: bytes) -> bytes:
        """See `Dispatcher.cancel`."""
        return pack(await self._dispatcher.cancel(unpack(message)))

    async def scale(self, message: bytes) -> bytes:
        """See `Dispatcher.scale`."""
        return pack(await self._dispatcher.scale(unpack(message)))

    async def pools(self) -> bytes:
        """See `Dispatcher.pools`."""
        return pack(await self._dispatcher.pools())

    async def follow(self) -> None:
        """See `Dispatcher.follow`."""
        await self._dispatcher.follow()

    async def process(self) -> bytes:
        """See `Peer.process`."""
        return pack(this_process())

    async def health(self) -> bytes:
        """See `Dispatcher.health`."""
        return pack(await self._dispatcher.health())

    async def drain(self) -> None:
        """See `Dispatcher.drain`."""
        await self._dispatcher.drain()

    def __repr__(self) -> str:
        """Name it in Ray's dashboard and logs."""
        return DISPATCHER


class ClerkHost:
    """The Clerk on Ray, and its Herald, whom others ask."""

    def __init__(self, settings: Settings) -> None:
        """Begin with the duties as soon as the loop turns, and it is known what was deployed last."""
        log_to_stderr()
        self._office: Office | None = None
        self._listener = Listener(socket_of(settings, CLERK), {"since": self.since})
        jobs, clock = MongoJobStore(connect(settings.jobs_uri)), SystemClock()
        self._duties = [
            asyncio.ensure_future(self._listener.open()),
            asyncio.ensure_future(keep_time(jobs, clock)),
            asyncio.ensure_future(self._serve(settings, jobs, clock)),
        ]

    async def _serve(self, settings: Settings, jobs: MongoJobStore, clock: SystemClock) -> None:
        """Serve once it is known what time it is.

        Whatever goes wrong before there is an office is tried again.
        """
        await until_answered(functools.partial(set_clock, jobs, clock), clock.sleep)
        await Clerk(clock, {"office": functools.partial(self._open, settings, clock)}).serve()

    async def _open(self, settings: Settings, clock: SystemClock) -> None:
        wanted = await deployed(settings, clock)
        neighbours = Neighbours(registry_ref(settings), dispatcher_ref(settings), mint_job_id)
        self._office = open_office(wanted, clock, neighbours)
        await self._office.clerk.serve()

    async def since(self, message: bytes) -> bytes:
        """See `Herald.since`."""
        return pack(await self._herald().since(unpack(message)))

    def _herald(self) -> Herald:
        if self._office is None or self._office.herald is None:
            raise Unreachable("nobody here tells of events")
        return self._office.herald

    async def process(self) -> bytes:
        """See `Peer.process`."""
        return pack(this_process())

    async def health(self) -> bytes:
        """See `Clerk.health`."""
        if self._office is None:
            return pack(Health("clerk", "has not begun"))
        return pack(await self._office.clerk.health())

    async def drain(self) -> None:
        """Tell whoever follows events that hasty stops."""
        if self._office is not None and self._office.herald is not None:
            self._office.herald.end()

    def __repr__(self) -> str:
        """Name it in Ray's dashboard and logs."""
        return CLERK


class _Clerk:
    """Finds the Clerk. Where there is none, it is created, but not at once: perhaps it is being replaced."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._missed_from: float | None = None

    def __call__(self) -> "ActorHandle[Any]":
        try:
            found = find(CLERK)
        except ValueError:
            now = time.monotonic()
            self._missed_from = now if self._missed_from is None else self._missed_from
            if now < self._missed_from + _REPLACED_WITHIN_S:
                raise
            found = start_clerk(self._settings)
        self._missed_from = None
        return found


def registry_ref(settings: Settings) -> RayRef:
    """Return the Registry; calling it creates it if it does not exist."""
    return RayRef(lambda: start_registry(settings), channel(settings, REGISTRY))


def dispatcher_ref(settings: Settings) -> RayRef:
    """Return the Dispatcher; calling it creates it if it does not exist."""
    return RayRef(lambda: start_dispatcher(settings), channel(settings, DISPATCHER))


def clerk_ref(settings: Settings) -> RayRef:
    """Return the Clerk; calling it creates it if it is missing for a while."""
    return RayRef(_Clerk(settings), channel(settings, CLERK))


def start_clerk(settings: Settings) -> "ActorHandle[Any]":
    """Return the Clerk, creating it unless it exists."""
    return start(ClerkHost, CLERK, settings)


def start_registry(settings: Settings) -> "ActorHandle[Any]":
    """Return the Registry, creating it unless it exists."""
    return start(RegistryHost, REGISTRY, settings)


def start_dispatcher(settings: Settings) -> "ActorHandle[Any]":
    """Return the Dispatcher, creating it unless it exists.

    Its holder's name is the instance's, or one made for this incarnation: Ray's restarts keep it.
    """
    holder = settings.instance or mint_claim()
    return start(DispatcherHost, DISPATCHER, settings, holder)
