"""A client that reads all the time, and how tests wait."""

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hasty.errors import TryAgainLater

if TYPE_CHECKING:
    from tests.outage.system import System

#: Nothing here takes longer on two busy cores once MongoDB is back.
PATIENCE_S = 60.0


class Watcher:
    """Reads all the time, as clients do, what was promised; a final status must never change."""

    def __init__(self, system: "System") -> None:
        self._system = system
        self.finals: dict[str, object] = {}
        self.reads = 0

    @asynccontextmanager
    async def watching(self):
        task = asyncio.ensure_future(self._watch())
        try:
            yield self
        finally:
            if task.done():
                task.result()
            task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.gather(*map(self._look, list(self._system.accepted)))
            await asyncio.sleep(0.05)

    async def saw_the_end_of(self, job_ids) -> bool:
        return self.finals.keys() >= set(job_ids)

    async def _look(self, job_id: str) -> None:
        try:
            job = await self._system.gateway.get(job_id)
        except TryAgainLater:
            return
        self.reads += 1
        assert job is not None, f"{job_id} was promised and is not there"
        before = self.finals.get(job_id)
        assert before is None or before == job, f"{before} became {job}"
        if not job.live:
            self.finals[job_id] = job


async def eventually(happened, what, within_s=PATIENCE_S, each_s=0.02):
    """Wait for the thing itself, and return it."""
    deadline = time.monotonic() + within_s
    while not (found := await happened()):
        assert time.monotonic() < deadline, f"waited {within_s} s in vain: {what}"
        await asyncio.sleep(each_s)
    return found
