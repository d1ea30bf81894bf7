"""What a worker's process is among the worker's processes, and what is settled at its birth."""

import asyncio
import logging
from typing import NamedTuple

from hasty.clock import Clock
from hasty.errors import Unreachable
from hasty.flight import FlightRecorder
from hasty.job import Cause
from hasty.messages import Process
from hasty.retry import until_answered
from hasty.store.base import Blame, Boot, Ledger
from hasty.telemetry import ProcessLost, emit


class Life(NamedTuple):
    """One process of a worker."""

    boot: int
    #: Why the process before this one died, for those of its jobs that are not blamed.
    predecessor: Cause
    #: The latest epoch at its birth.
    epoch: int = 0


class Birth:
    """Counts this process in the ledger, once, and charges the job that ended the one before it.

    Nobody learns of a life before both is done: from then on the jobs of the one before may go
    elsewhere.
    """

    def __init__(
        self, worker: str, process: Process, recorder: FlightRecorder, ledger: Ledger, clock: Clock
    ) -> None:
        """Ask nothing yet."""
        self._worker = worker
        self._process = process
        self._recorder = recorder
        self._ledger = ledger
        self._clock = clock
        self._born_s = clock.monotonic()
        self._life: asyncio.Task[Life] | None = None

    async def life(self) -> Life:
        """Return what this process is; waits until the ledger has answered.

        Raises Unreachable where a later process has taken its place.
        """
        if self._life is None:
            self._life = asyncio.ensure_future(self._boot())
        try:
            return await asyncio.shield(self._life)
        except Exception:
            self._life = None
            raise

    async def _boot(self) -> Life:
        boot = await until_answered(
            lambda: self._ledger.boot(self._worker, self._process, self._born_s), self._clock.sleep
        )
        if boot is None:
            raise Unreachable(f"a later process is {self._worker}")
        if (trace := self._recorder.last) is not None:
            blame = Blame(trace.job_id, trace.claim, Cause.BLOCKED if boot.condemned else Cause.CRASHED)
            emit(ProcessLost(self._worker, trace.job_id, blame.cause), level=logging.WARNING)
            await until_answered(lambda: self._ledger.blame([blame]), self._clock.sleep)
        why = Cause.NEIGHBOUR if trace is not None else _unexplained(boot, self._process.node, self._recorder)
        self._recorder.begin()
        return Life(boot.n, why, boot.epoch)


def _unexplained(boot: Boot, node: str, recorder: FlightRecorder) -> Cause:
    """Say why the process before this boot died, where nobody's code was at work."""
    if boot.node not in {None, node}:
        return Cause.NODE_LOST
    if boot.condemned:
        return Cause.FROZEN
    return Cause.OUT_OF_MEMORY if recorder.memory_ran_out else Cause.KILLED
