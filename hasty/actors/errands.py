"""What a Dispatcher's state machines want of workers and stores, carried out while they go on."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence

from hasty.actors.refs import Workers
from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.dispatch import Dispatch, Event, Halt, Mark, Send, Sweep, SweepFailed, Swept, Unanswered
from hasty.errors import Overloaded, StoreUnavailable, Superseded
from hasty.messages import Ended, Run, Stop
from hasty.store.base import JobStore
from hasty.telemetry import WorkerSilent, emit

#: Marks that wait, at most; more are dropped.
_MARKS_WAITING = 10_000

#: Wait before asking again what was not answered.
_ASK_AGAIN_S = 0.5

#: A worker is given so long to hear that it is to stop a handler.
_STOP_WITHIN_S = 5.0


class Errands:
    """The errands of one epoch. What comes of them is told to the machine that wanted it."""

    def __init__(
        self,
        jobs: JobStore,
        workers: Workers,
        clock: Clock,
        *,
        epoch: int,
        machines: Mapping[str, Dispatch],
        tell: Callable[[str, Event], object],
        begin: Callable[..., object],
    ) -> None:
        """`tell` takes what came of it for a pool's machine; `begin` starts a duty of the office."""
        self._jobs = jobs
        self._workers = workers
        self._clock = clock
        self._epoch = epoch
        self._machines = machines
        self._tell = tell
        self._begin = begin
        self._marker: Batcher[Mark, None] = Batcher(self._write_marks, capacity=_MARKS_WAITING)

    def run(self, pool: str, command: Send | Sweep | Halt | Mark) -> None:
        """Begin to carry out a command of a pool's machine."""
        match command:
            case Send():
                self._begin(self._send, pool, command)
            case Sweep():
                self._begin(self._sweep, command)
            case Halt():
                self._begin(self._halt, pool, command)
            case Mark():
                # One that is not shown is missed by nobody for long.
                with contextlib.suppress(Overloaded):
                    self._marker.post([command])

    async def _send(self, pool: str, command: Send) -> None:
        """Have the jobs run, and ask again when no answer comes: running them twice joins them."""
        machine = self._machines[pool]
        run = Run(command.forwards[0].token.epoch, command.forwards)
        boot = machine.boot_of(command.worker)
        try:
            await asyncio.wait_for(self._workers.worker(command.worker).run(run), run.patience_s)
        except Superseded:
            raise
        except Exception as error:  # noqa: BLE001  one worker's trouble must not end the office
            emit(WorkerSilent(command.worker, repr(error)), level=logging.DEBUG)
        job_ids = tuple(forward.work.job_id for forward in command.forwards)
        # With a new boot everything was sent again already: this chain has a successor.
        if machine.boot_of(command.worker) == boot and machine.holds(command.worker, job_ids):
            await self._clock.sleep(_ASK_AGAIN_S)
            self._tell(pool, Unanswered(command.worker, job_ids))

    async def _sweep(self, command: Sweep) -> None:
        try:
            found = await self._jobs.sweep(command.pool, command.skip, command.limit)
        except StoreUnavailable:
            await self._clock.sleep(_ASK_AGAIN_S)
            self._tell(command.pool, SweepFailed())
        else:
            self._tell(command.pool, Swept(found.works, found.exhausted))

    async def _halt(self, pool: str, command: Halt) -> None:
        """Have a handler stopped; tried until the worker hears it, or is another process."""
        machine, name = self._machines[pool], command.worker
        boot = machine.boot_of(name)
        stop = Stop((Ended(command.job_id, command.outcome),))
        while machine.boot_of(name) == boot:
            try:
                return await asyncio.wait_for(self._workers.worker(name).stop(stop), _STOP_WITHIN_S)
            except Exception as error:  # noqa: BLE001  one worker's trouble must not end the office
                emit(WorkerSilent(name, repr(error)), level=logging.DEBUG)
                await self._clock.sleep(_ASK_AGAIN_S)
        return None

    async def _write_marks(self, marks: Sequence[Mark]) -> list[None]:
        """Try once: a mark is for people, and the end of the job shows more."""
        with contextlib.suppress(StoreUnavailable):
            await self._jobs.mark(marks, self._epoch)
        return [None] * len(marks)
