"""Driving what is measured: load from a process of its own, and waiting until what it set off has ended."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from hasty.bench.load import Load
from hasty.local.mongod import Mongod
from hasty.pools import DEFAULT_POOL
from hasty.store.mongo import MongoJobStore
from hasty.store.mongo.connection import connect

#: Between two looks, so that looking does not take the processors from what is looked at.
LOOK_S = 0.001


def load(port: int, connections: int, seconds: float, requests: int | None = None) -> Load:
    """Run the load generator: for so long, or until so many requests are answered."""
    given = [str(each) for each in (port, connections, seconds, requests) if each is not None]
    command = [sys.executable, "-m", "hasty.bench.load", *given]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Load(**json.loads(result.stdout))


def wait_until_all_ended(folder: Path) -> None:
    """Return when no job is live in MongoDB."""
    asyncio.run(_wait_until_all_ended(Mongod(Path(), folder, os.environ).uri))


async def _wait_until_all_ended(uri: str) -> None:
    async with connect(uri) as client:
        jobs = MongoJobStore(client)
        while (await jobs.sweep(DEFAULT_POOL, (), 1)).works:  # noqa: ASYNC110  the event is in another process
            await asyncio.sleep(LOOK_S)
