"""The shells in which Ray runs the actors: they build the plain ones and pass calls on.

Messages arrive and leave as bytes (see `wire`). A shell's constructor never raises and never
connects: Ray does not restart an actor whose constructor raised.
"""

import asyncio
import functools
import logging
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import uuid_utils

from hasty.actors.dispatcher import Dispatcher
from hasty.actors.registry import Registry
from hasty.actors.stages import InChild
from hasty.actors.timekeeping import keep_time
from hasty.actors.watchdog import watch
from hasty.actors.worker import Worker
from hasty.children import Children
from hasty.clock import SystemClock
from hasty.cluster.channel import Channel, Listener
from hasty.cluster.loading import load_or_leave
from hasty.cluster.names import DISPATCHER, NAMESPACE, REGISTRY, machine_folder, worker_names
from hasty.cluster.processes import kill, this_process
from hasty.cluster.refs import RayRef
from hasty.cluster.wire import pack, unpack
from hasty.flight import open_recorder
from hasty.handlers.loading import in_child
from hasty.messages import Process
from hasty.settings import Settings
from hasty.store.mongo import MongoJobStore, MongoLedger
from hasty.store.mongo.connection import connect

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_DAY_S = 86_400.0

#: Calls in flight at once. A call that waits inside Ray is invisible, so there is room for all.
_CALLS = 100_000

#: Every actor takes a little of a CPU, so that where none is free, the autoscaler sees a demand.
_CPU = 0.1


def mint_job_id() -> str:
    """Make a job id: a UUIDv7, so that ids sort by the time they were made."""
    return str(uuid_utils.uuid7())


def mint_claim() -> str:
    """Make an id for an intent to start a handler."""
    return uuid.uuid4().hex


class RegistryHost:
    """The Registry on Ray."""

    def __init__(self, settings: Settings) -> None:
        """Start to watch the Dispatcher as soon as the loop turns."""
        _log_to_stderr()
        jobs, clock = MongoJobStore(connect(settings.jobs_uri)), SystemClock()
        dispatcher = dispatcher_ref(settings)
        self._registry = Registry(jobs, dispatcher, clock)
        self._listener = Listener(_socket(settings, REGISTRY), {"admit": self.admit})
        self._duties = [
            asyncio.ensure_future(self._listener.open()),
            asyncio.ensure_future(keep_time(jobs, clock)),
            asyncio.ensure_future(watch(DISPATCHER, dispatcher, clock)),
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
        _log_to_stderr()
        jobs, clock = MongoJobStore(connect(settings.jobs_uri)), SystemClock()
        self._dispatcher = Dispatcher(
            jobs,
            MongoLedger(connect(settings.ledger_uri)),
            RayPool(settings),
            clock,
            holder=holder,
            keep_s=settings.retention_days * _DAY_S,
        )
        self._listener = Listener(
            _socket(settings, DISPATCHER), {"enqueue": self.enqueue, "report": self.report}
        )
        self._duties = [
            asyncio.ensure_future(self._listener.open()),
            asyncio.ensure_future(keep_time(jobs, clock)),
            asyncio.ensure_future(self._dispatcher.serve()),
            asyncio.ensure_future(watch(REGISTRY, registry_ref(settings), clock)),
        ]

    async def enqueue(self, message: bytes) -> None:
        """See `Dispatcher.enqueue`."""
        await self._dispatcher.enqueue(unpack(message))

    async def report(self, message: bytes) -> None:
        """See `Dispatcher.report`."""
        await self._dispatcher.report(unpack(message))

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


class WorkerHost:
    """A Worker on Ray."""

    def __init__(self, name: str, settings: Settings) -> None:
        """Build the worker; it connects when it is first asked."""
        _log_to_stderr()
        self._name = name
        ledger, clock = MongoLedger(connect(settings.ledger_uri)), SystemClock()
        self._listener = Listener(_socket(settings, name), {"run": self.run})
        self._duties = [
            asyncio.ensure_future(self._listener.open()),
            asyncio.ensure_future(keep_time(ledger, clock)),
        ]
        prepare = functools.partial(in_child, settings.without_secrets())
        self._worker = Worker(
            name,
            process=this_process(),
            recorder=open_recorder(machine_folder(settings) / f"{name}.flight"),
            child=InChild(Children(settings.sync_slots or os.cpu_count() or 1, prepare)),
            ledger=ledger,
            dispatcher=RayRef(functools.partial(find, DISPATCHER), _channel(settings, DISPATCHER)),
            handlers=load_or_leave(name, settings),
            clock=clock,
            slots=settings.slots,
            mint=mint_claim,
        )

    async def attend(self, message: bytes) -> bytes:
        """See `Worker.attend`."""
        return pack(await self._worker.attend(unpack(message)))

    async def run(self, message: bytes) -> None:
        """See `Worker.run`."""
        await self._worker.run(unpack(message))

    def __repr__(self) -> str:
        """Name it in Ray's dashboard and logs."""
        return self._name


class RayPool:
    """The workers of one pool, as detached actors. See `hasty.actors.refs.Pool`."""

    def __init__(self, settings: Settings) -> None:
        """Look after as many workers as the settings say."""
        self._settings = settings
        self._refs = {
            name: RayRef(functools.partial(start_worker, name, settings), _channel(settings, name))
            for name in worker_names(settings.workers)
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The workers there should be."""
        return tuple(self._refs)

    def worker(self, name: str) -> RayRef:
        """Return the worker; calling it creates it if it does not exist."""
        return self._refs[name]

    async def revive(self, name: str) -> None:
        """Do nothing: a ref that failed looks its worker up again, and creates what is missing."""

    async def kill(self, process: Process) -> None:
        """See `Pool`."""
        await kill(process)

    async def restart(self, name: str) -> None:
        """See `Pool`."""
        await self._refs[name].restart()


def registry_ref(settings: Settings) -> RayRef:
    """Return the Registry; calling it creates it if it does not exist."""
    return RayRef(functools.partial(start_registry, settings), _channel(settings, REGISTRY))


def dispatcher_ref(settings: Settings) -> RayRef:
    """Return the Dispatcher; calling it creates it if it does not exist."""
    return RayRef(functools.partial(start_dispatcher, settings), _channel(settings, DISPATCHER))


def _channel(settings: Settings, name: str) -> Channel:
    return Channel(_socket(settings, name))


def _socket(settings: Settings, name: str) -> Path:
    return machine_folder(settings) / f"{name}.sock"


def find(name: str) -> "ActorHandle[Any]":
    """Return the actor of this name; ValueError if there is none."""
    return ray.get_actor(name, namespace=NAMESPACE)


def start_registry(settings: Settings) -> "ActorHandle[Any]":
    """Return the Registry, creating it unless it exists."""
    return _start(RegistryHost, REGISTRY, settings)


def start_dispatcher(settings: Settings) -> "ActorHandle[Any]":
    """Return the Dispatcher, creating it unless it exists.

    Its holder's name is the instance's, or one made for this incarnation: Ray's restarts keep it.
    """
    holder = settings.instance or mint_claim()
    return _start(DispatcherHost, DISPATCHER, settings, holder)


def start_worker(name: str, settings: Settings) -> "ActorHandle[Any]":
    """Return the worker of this name, creating it unless it exists."""
    return _start(WorkerHost, name, name, settings)


def _start(host: type, name: str, *arguments: Any) -> "ActorHandle[Any]":
    """Return the named actor. Ray restarts it for ever and replays what was not answered."""
    handle: ActorHandle[Any] = (
        _remote(host)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=_CALLS,
            num_cpus=_CPU,
            enable_task_events=False,
        )
        .remote(*arguments)
    )
    return handle


@functools.cache
def _remote(host: type) -> Any:
    """Hand the class to Ray once: it exports it with each call."""
    return ray.remote(host)


def _log_to_stderr() -> None:
    """Send hasty's events to the actor's log file."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("hasty").setLevel(logging.INFO)
