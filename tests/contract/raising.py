"""How the tests look at children and their calls."""

import asyncio

import psutil
import pytest

from hasty.children import inside
from hasty.errors import ChildDied, HandlerRaised

#: Nothing here takes longer on busy cores.
PATIENCE_S = 60.0

#: A grace that no test waits for.
LONG_S = 1_000.0

KILLED = ("killed by signal 9 (SIGKILL)", -9)


def living() -> list[int]:
    """The children of this process, oldest first."""
    found = []
    for process in psutil.Process().children():
        try:
            if inside.__file__ in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return [process.pid for process in sorted(found, key=psutil.Process.create_time)]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until(happened):
    async with asyncio.timeout(PATIENCE_S):
        while not happened():  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(0.005)


async def started(call):
    await asyncio.wait_for(call.started(), PATIENCE_S)
    return call


async def result(call):
    return await asyncio.wait_for(call.result(), PATIENCE_S)


async def death(call):
    """Wait until its child dies; return the cause."""
    with pytest.raises(ChildDied) as died:
        await result(call)
    return str(died.value), died.value.exit_code


async def failure(call):
    """Wait until it fails; return with what."""
    with pytest.raises(HandlerRaised) as failed:
        await result(call)
    return failed.value.kind, failed.value.text
