"""Handlers that harm the process they run in; what a worker must survive."""

import asyncio
import ctypes
import os
import re
import time
from pathlib import Path

import hasty


@hasty.handler(timeout=300)
async def rests(until_there: str) -> str:
    while not Path(until_there).exists():  # noqa: ASYNC110, ASYNC240  it is made by another process
        await asyncio.sleep(0.2)
    return "rested"


@hasty.handler(timeout=60)
async def exits() -> None:
    await asyncio.sleep(0.3)
    os._exit(1)


@hasty.handler(timeout=60, max_crashes=2)
async def blocks() -> None:
    await asyncio.sleep(0.3)
    time.sleep(600)  # noqa: ASYNC251  that is the point


@hasty.handler(timeout=2)
def spins() -> None:
    while True:
        pass


@hasty.handler(timeout=300)
def spins_for_long(its_pid: str) -> None:
    Path(its_pid).write_text(str(os.getpid()))
    while True:
        pass


@hasty.handler(timeout=2)
def holds_the_gil() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")


@hasty.handler(timeout=60)
def segfaults() -> None:
    ctypes.string_at(0)


@hasty.handler(timeout=60)
def doubles(number: int) -> int:
    return 2 * number
