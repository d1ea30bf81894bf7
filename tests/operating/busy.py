"""Handlers for a hasty under load; each job's end follows from its handler."""

import asyncio
import os
from pathlib import Path

import hasty

WIDE = "wide"


@hasty.handler(pool=WIDE)
async def quick(number: int) -> int:
    return number + 1


@hasty.handler(pool=WIDE)
def doubles(number: int) -> int:
    return 2 * number


@hasty.handler(pool=WIDE, retries=4, backoff=0.1, backoff_cap=0.5, retry_on=OSError)
async def flaky(job: hasty.JobContext) -> int:
    if job.attempt < 3:
        raise OSError("not yet")
    return job.attempt


@hasty.handler(pool=WIDE, retries=1, backoff=0.1)
async def hopeless() -> None:
    raise ValueError("never")


@hasty.handler(pool=WIDE, retries=3, retry_on=OSError)
async def mistaken() -> int:
    return "not a number"  # type: ignore[return-value]


@hasty.handler(pool=WIDE, timeout=1, retries=3)
async def overruns() -> None:
    await asyncio.sleep(60)


@hasty.handler(pool=WIDE)
async def lingers() -> str:
    await asyncio.sleep(3)
    return "stayed"


@hasty.handler(pool=WIDE, max_crashes=2)
async def exits() -> None:
    await asyncio.sleep(0.1)
    os._exit(1)


@hasty.handler(pool=WIDE, max_crashes=2)
def dies() -> None:
    os._exit(1)


@hasty.handler(rerun_window=0)
async def naps() -> None:
    await asyncio.sleep(0.1)


@hasty.handler(rerun_window=0, timeout=400)
async def stays(until_there: str) -> None:
    while not Path(until_there).exists():  # noqa: ASYNC110, ASYNC240  it is made by another process
        await asyncio.sleep(0.2)


@hasty.handler(pool=WIDE)
async def long() -> str:
    await asyncio.sleep(8)
    return "VERSION"


@hasty.handler(pool=WIDE)
def version() -> str:
    return "VERSION"
