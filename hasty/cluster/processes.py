"""Naming a process of the cluster so that nobody else is ever meant, and killing it there."""

import asyncio
import contextlib
import functools
import os
import signal
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hasty.messages import Process
from hasty.pids import started

#: A node that does not carry out a kill within this is itself in trouble, and judged by Ray.
_KILL_WITHIN_S = 10.0


def this_process() -> Process:
    """Name the process that asks."""
    return Process(_this_node(), os.getpid(), started(os.getpid()))


async def kill(process: Process) -> None:
    """Kill exactly this process, wherever it runs, also when it is stopped. Never raises.

    Ray's own kill names an actor: it would also hit a successor that is being started.
    """
    if process.node == _this_node():
        _kill_here(process.pid, process.started)
        return
    with contextlib.suppress(RayError, TimeoutError):
        there = NodeAffinitySchedulingStrategy(process.node, soft=False)
        ordered = _remote_kill().options(scheduling_strategy=there).remote(process.pid, process.started)
        await asyncio.wait_for(ordered, _KILL_WITHIN_S)


def _kill_here(pid: int, since: int) -> None:
    """Kill by a handle on the process: between looking and killing, its number could be given away."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if started(pid) == since:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


@functools.cache
def _this_node() -> str:
    node: str = ray.get_runtime_context().get_node_id()
    return node


@functools.cache
def _remote_kill() -> Any:
    return ray.remote(num_cpus=0, max_retries=0)(_kill_here)
