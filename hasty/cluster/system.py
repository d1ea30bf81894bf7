"""Putting hasty onto a running Ray cluster, and draining it."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import ray
from ray import serve
from ray.serve.context import _get_global_client as get_serve_client

from hasty.cluster.hosts import start_clerk, start_dispatcher, start_registry
from hasty.cluster.ingress import application
from hasty.cluster.named import end, find
from hasty.cluster.names import APPLICATION, CLERK, DISPATCHER, NAMESPACE, REGISTRY
from hasty.cluster.refs import RayRef
from hasty.cluster.workers import described, plan_of, start_worker
from hasty.errors import CannotStart, TryAgainLater
from hasty.pools import Plan, worker_names
from hasty.retry import until_answered
from hasty.settings import Settings
from hasty.store.mongo import MongoJobStore
from hasty.store.mongo.connection import connect as connect_to_mongo

Answer = TypeVar("Answer")

#: How often a drain looks whether jobs still run.
_LOOK_S = 0.2

#: How long to wait for each answer of what may be dead.
_ANSWER_S = 2.0

#: What was just decided is known everywhere after this.
_MOMENT_S = 0.2

#: An idle connection of a client is kept open so long.
_KEEP_ALIVE_S = 90


def connect(address: str | None = None) -> None:
    """Join a running Ray cluster as a driver: at `address` (host:port), or this machine's.

    Raises CannotStart when there is none, or it wants another token.
    """
    try:
        if address is not None and address != "auto":
            _knock(address)
        ray.init(
            address=address or "auto", namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CannotStart(f"cannot join a Ray cluster at {address or 'this machine'}: {reason}") from error


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), _ANSWER_S):
        pass


def deploy(settings: Settings, tell: Callable[[str], None]) -> None:
    """Put hasty onto the cluster, or change what is there; return when its replicas run.

    Where it runs already, each worker in turn takes no more jobs, ends those it has, and gives
    way to one with the new settings and code; `tell` hears how far that is. Then come the Gateways:
    what they admit, the workers know. The HTTP options are fixed at the first deploy; raises
    CannotStart for another address.
    """
    _refuse_another_host(settings.http_host)
    runs_already = _exists(DISPATCHER)
    plan = asyncio.run(_write_plan(settings))
    # They start while Serve does; the Gateway would create them too.
    start_registry(settings)
    start_dispatcher(settings)
    if not runs_already:
        start_clerk(settings)
        for pool, size in plan.pools.items():
            for name in worker_names(pool, 0, size.min_workers):
                start_worker(name, settings, plan.generation)
    start_serve(settings)
    if runs_already:
        asyncio.run(_roll(plan, tell))
        # Then its timetable asks for what the workers know.
        _replace_clerk(settings)
    said = settings.model_copy(update={"http_host": settings.http_host})
    serve.run(application(said), name=APPLICATION, route_prefix="/")


def _refuse_another_host(host: str) -> None:
    """Raise CannotStart where Serve runs and listens elsewhere: it goes on as it was started.

    Whether requests need API keys depends on the address. Serve has no public way to ask for it.
    """
    client = get_serve_client(raise_if_no_controller_running=False)
    found = host if client is None else client.http_config.host
    if found != host:
        raise CannotStart(
            f"Serve listens on {found} since it was started, and HASTY_HTTP_HOST is {host}: "
            "set it to that, or run `serve shutdown -y` first"
        )


def _exists(name: str) -> bool:
    try:
        find(name)
    except ValueError:
        return False
    return True


async def _write_plan(settings: Settings) -> Plan:
    async with connect_to_mongo(settings.jobs_uri) as client:
        store = MongoJobStore(client)
        return await until_answered(
            lambda: store.deploy(plan_of(settings), described(settings)), asyncio.sleep
        )


async def _roll(plan: Plan, tell: Callable[[str], None]) -> None:
    """Have the Dispatcher follow the plan; return when no worker of an older one is left."""
    dispatcher = RayRef(lambda: find(DISPATCHER))
    await until_answered(dispatcher.follow, asyncio.sleep)
    told = ""
    while True:
        state = await until_answered(dispatcher.pools, asyncio.sleep)
        left = {pool.name: pool for pool in state.pools if pool.outdated}
        if state.generation >= plan.generation and not left:
            return
        told_now = "; ".join(
            f"{name}: {pool.outdated} of {pool.workers} workers" for name, pool in left.items()
        )
        if told_now and told_now != told:
            tell(f"replacing workers one by one, left in {told_now}")
            told = told_now
        await asyncio.sleep(_LOOK_S)


def _replace_clerk(settings: Settings) -> None:
    """Have a Clerk with these settings; all it does it goes on with from what is stored."""
    asyncio.run(until_answered(lambda: end(CLERK), asyncio.sleep))
    while _exists(CLERK):
        time.sleep(_LOOK_S)
    start_clerk(settings)


def start_serve(settings: Settings) -> None:
    """Start Serve and its proxies, unless they run."""
    serve.start(
        # Explicit: with HAProxy the default is every interface.
        proxy_location="EveryNode",
        http_options={
            "host": settings.http_host,
            "port": settings.http_port,
            "keep_alive_timeout_s": _KEEP_ALIVE_S,
            "request_timeout_s": None,
        },
        logging_config={"enable_access_log": False},
    )


def drain(within_s: float, tell: Callable[[int], None]) -> int:
    """Stop admitting and starting jobs, wait until none runs; return how many still do.

    `tell` hears how many run, each time that changes. What is queued stays in MongoDB.
    """
    return asyncio.run(_drain(within_s, tell))


async def _drain(within_s: float, tell: Callable[[int], None]) -> int:
    registry, dispatcher = RayRef(lambda: find(REGISTRY)), RayRef(lambda: find(DISPATCHER))
    until = time.monotonic() + within_s
    for ref in (registry, dispatcher):
        # One that does not answer admits and starts nothing either.
        await _answer(ref.drain())
    told = -1
    while True:
        health = await _answer(dispatcher.health())
        # One that does not answer, or holds no office yet, may have jobs that run.
        known = health is not None and health.problem is None
        running = health.running if health is not None and known else max(told, 0)
        if running != told:
            tell(running)
            told = running
        if (known and not running) or time.monotonic() >= until:
            await _say_goodbye()
            return running
        await asyncio.sleep(_LOOK_S)


async def _say_goodbye() -> None:
    """End the streams of all who follow events, who are told of the last ones before."""
    await asyncio.sleep(_MOMENT_S)
    await _answer(RayRef(lambda: find(CLERK)).drain())
    await asyncio.sleep(_MOMENT_S)


async def _answer(asked: Awaitable[Answer]) -> Answer | None:
    try:
        return await asyncio.wait_for(asked, _ANSWER_S)
    except (TryAgainLater, TimeoutError):
        return None
