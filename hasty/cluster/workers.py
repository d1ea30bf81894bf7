"""Workers on Ray: the shell in which one runs, and how a Dispatcher reaches, starts and ends them."""

import asyncio
import functools
import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from hasty.actors.perform import RESULT_LIMIT
from hasty.actors.stages import InChild
from hasty.actors.timekeeping import keep_time
from hasty.actors.worker import Worker
from hasty.children import Children
from hasty.clock import SystemClock
from hasty.cluster.channel import Listener
from hasty.cluster.loading import load_or_leave
from hasty.cluster.named import channel, end, find, log_to_stderr, socket_of, start
from hasty.cluster.names import DISPATCHER, machine_folder
from hasty.cluster.processes import kill, this_process
from hasty.cluster.refs import RayRef
from hasty.cluster.wire import pack, unpack
from hasty.flight import open_recorder
from hasty.handlers.inside import ROOM, in_child
from hasty.messages import Process
from hasty.pools import Plan, PoolPlan, PoolSettings, pool_of
from hasty.settings import SECRETS, Settings
from hasty.store.mongo import MongoLedger
from hasty.store.mongo.connection import connect

if TYPE_CHECKING:
    from ray.actor import ActorHandle


def mint_claim() -> str:
    """Make an id for an intent to start a handler."""
    return uuid.uuid4().hex


class WorkerHost:
    """A Worker on Ray."""

    def __init__(self, name: str, settings: Settings, generation: int) -> None:
        """Build the worker; it connects when it is first asked."""
        log_to_stderr()
        self._name = name
        pool = settings.all_pools.get(pool_of(name), PoolSettings())
        ledger, clock = MongoLedger(connect(settings.ledger_uri)), SystemClock()
        self._listener = Listener(socket_of(settings, name), {"run": self.run})
        self._duties = [
            asyncio.ensure_future(self._listener.open()),
            asyncio.ensure_future(keep_time(ledger, clock)),
        ]
        prepare = functools.partial(in_child, settings.without_secrets())
        children = Children(pool.sync_slots or os.cpu_count() or 1, prepare, result_limit=RESULT_LIMIT + ROOM)
        self._worker = Worker(
            name,
            process=this_process(),
            recorder=open_recorder(machine_folder(settings) / f"{name}.flight"),
            child=InChild(children),
            ledger=ledger,
            dispatcher=RayRef(functools.partial(find, DISPATCHER), channel(settings, DISPATCHER)),
            handlers=load_or_leave(name, settings),
            clock=clock,
            slots=pool.slots or settings.slots,
            generation=generation,
            mint=mint_claim,
        )

    async def attend(self, message: bytes) -> bytes:
        """See `Worker.attend`."""
        return pack(await self._worker.attend(unpack(message)))

    async def run(self, message: bytes) -> None:
        """See `Worker.run`."""
        await self._worker.run(unpack(message))

    async def stop(self, message: bytes) -> None:
        """See `Worker.stop`."""
        await self._worker.stop(unpack(message))

    def __repr__(self) -> str:
        """Name it in Ray's dashboard and logs."""
        return self._name


class RayWorkers:
    """The workers as detached actors. See `hasty.actors.refs.Workers`."""

    def __init__(self, settings: Settings) -> None:
        """Start workers by these settings until there is a plan."""
        self._own = settings
        self._settings = settings
        self._generation = 0
        self._refs: dict[str, RayRef] = {}

    def follow(self, plan: Plan) -> None:
        """See `Workers`."""
        self._settings = undescribed(plan.settings, self._own)
        self._generation = plan.generation

    def worker(self, name: str) -> RayRef:
        """Return the worker; calling it creates it if it does not exist."""
        if name not in self._refs:
            self._refs[name] = RayRef(functools.partial(self._start, name), channel(self._own, name))
        return self._refs[name]

    def _start(self, name: str) -> "ActorHandle[Any]":
        return start_worker(name, self._settings, self._generation)

    async def revive(self, name: str) -> None:
        """Do nothing: a ref that failed looks its worker up again, and creates what is missing."""

    async def kill(self, process: Process) -> None:
        """See `Workers`."""
        await kill(process)

    async def restart(self, name: str) -> None:
        """See `Workers`."""
        await self.worker(name).restart()

    async def dismiss(self, name: str) -> None:
        """See `Workers`."""
        await end(name)
        self._refs.pop(name, None)


def start_worker(name: str, settings: Settings, generation: int) -> "ActorHandle[Any]":
    """Return the worker of this name, creating it unless it exists.

    Ray starts it where its pool's resources are; until then it is a demand that an autoscaler sees.
    """
    # One whose pool was taken out of the settings is only there to be asked what it has.
    pool = settings.all_pools.get(pool_of(name), PoolSettings())
    return start(WorkerHost, name, name, settings, generation, resources=_resources(pool))


def _resources(pool: PoolSettings) -> dict[str, Any]:
    """Return what Ray is to set aside, as its options say it."""
    wanted = {
        "num_cpus": pool.num_cpus,
        "num_gpus": pool.num_gpus,
        "memory": pool.memory,
        "resources": dict(pool.resources),
        "label_selector": dict(pool.labels),
        "runtime_env": dict(pool.runtime_env),
    }
    return {option: value for option, value in wanted.items() if value}


def plan_of(settings: Settings) -> dict[str, PoolPlan]:
    """Return how large the settings want each pool to be."""
    return {
        name: PoolPlan(pool.min_workers or 1, pool.max_workers or 1, pool.slots or settings.slots)
        for name, pool in settings.all_pools.items()
    }


def described(settings: Settings) -> str:
    """Return the settings as a plan keeps them: all but the addresses of the databases."""
    return json.dumps(settings.without_secrets().to_environment())


def undescribed(kept: str, own: Settings) -> Settings:
    """Return the settings that a plan keeps; what it does not keep is as in `own`."""
    secrets = {name: getattr(own, name) for name in SECRETS}
    return Settings.load(json.loads(kept) if kept else {}, secrets)
