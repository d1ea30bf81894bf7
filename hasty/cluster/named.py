"""Named actors: how they are found, started and ended on Ray, and where they listen on this machine."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from hasty.cluster.channel import Channel
from hasty.cluster.names import NAMESPACE, machine_folder
from hasty.errors import Unreachable
from hasty.settings import Settings

if TYPE_CHECKING:
    from ray.actor import ActorHandle

#: Calls in flight at once. A call that waits inside Ray is invisible, so there is room for all.
_CALLS = 100_000

#: Every actor takes a little of a CPU, so that where none is free, the autoscaler sees a demand.
_LITTLE = {"num_cpus": 0.1}


def find(name: str) -> "ActorHandle[Any]":
    """Return the actor of this name; ValueError if there is none."""
    return ray.get_actor(name, namespace=NAMESPACE)


def start(
    host: type, name: str, *arguments: Any, resources: Mapping[str, Any] = _LITTLE
) -> "ActorHandle[Any]":
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
            enable_task_events=False,
            **resources,
        )
        .remote(*arguments)
    )
    return handle


async def end(name: str) -> None:
    """End an actor for good, if there is one. Raises Unreachable when Ray does not say that it did."""
    try:
        await asyncio.to_thread(_end, name)
    except RayError as error:
        raise Unreachable(f"{name} could not be ended ({type(error).__name__})") from error


def _end(name: str) -> None:
    with contextlib.suppress(ValueError):  # there is none
        ray.kill(find(name), no_restart=True)


@functools.cache
def _remote(host: type) -> Any:
    """Hand the class to Ray once: it exports it with each call."""
    return ray.remote(host)


def channel(settings: Settings, name: str) -> Channel:
    """Return the way to an actor that is on this machine."""
    return Channel(socket_of(settings, name))


def socket_of(settings: Settings, name: str) -> Path:
    """Return where an actor listens, if it is on this machine."""
    return machine_folder(settings) / f"{name}.sock"


def log_to_stderr() -> None:
    """Send hasty's events to the actor's log file."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("hasty").setLevel(logging.INFO)
