"""The Dispatcher decides who runs what, when: it carries out what the state machine says."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from hasty.actors.care import Care
from hasty.actors.refs import Pool
from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.dispatch import (
    CAPACITY,
    Dispatch,
    Drained,
    Event,
    Mark,
    Offered,
    Replace,
    Send,
    Settle,
    Settled,
    Sweep,
    SweepFailed,
    Swept,
    Ticked,
    Unanswered,
)
from hasty.errors import Overloaded, StoreUnavailable, Superseded, Unreachable
from hasty.job import first_id_of
from hasty.messages import Declined, Ended, Enqueue, Health, Report, Run, check_version
from hasty.retry import until_answered
from hasty.store.base import JobStore, Ledger
from hasty.telemetry import (
    DispatcherStoodDown,
    EpochTaken,
    WorkerSilent,
    emit,
)

#: The office is held so long without renewal, and renewed three times as often.
LEASE_S = 9.0

#: A report is answered after this, if only with "later": before its worker repeats it.
_SETTLE_WITHIN_S = 20.0

#: Marks that wait, at most; more are dropped.
_MARKS_WAITING = 10_000

#: How often the ledger is pruned, and how many pages at once.
_PRUNE_EVERY_S = 600.0
_PRUNED_AT_ONCE = 1_000

#: How often the machine is told that time passed.
_TICK_S = 0.25

#: Wait before asking again what was not answered.
_ASK_AGAIN_S = 0.5


class Dispatcher:
    """Holds the office of an epoch, feeds the state machine, and does what it says.

    Everything in its memory can be rebuilt: from the workers, which know what they run, and
    from MongoDB, which knows what is live. `serve` must run beside the calls.
    """

    def __init__(
        self,
        jobs: JobStore,
        ledger: Ledger,
        pool: Pool,
        clock: Clock,
        *,
        holder: str,
        keep_s: float,
        capacity: int = CAPACITY,
    ) -> None:
        """Act as `holder`; settled jobs are kept for `keep_s`, `capacity` queued ones in memory."""
        self._jobs = jobs
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._holder = holder
        self._keep_s = keep_s
        self._capacity = capacity
        self._machine: Dispatch | None = None
        self._reign: asyncio.TaskGroup | None = None
        self._care: Care | None = None
        self._draining = False
        self._settler: Batcher[Settle, None] = Batcher(
            self._write_ends, weigh=lambda settle: settle.outcome.weight
        )
        #: Jobs whose ends are being written: what is reported again meanwhile is not written twice.
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._marker: Batcher[Mark, None] = Batcher(self._write_marks, capacity=_MARKS_WAITING)

    # What others ask --------------------------------------------------------------------------

    async def enqueue(self, message: Enqueue) -> None:
        """Take note of admitted jobs. Without an office to do so, a sweep finds them later."""
        check_version(message.version)
        self._apply(Offered(message.works))

    async def report(self, message: Report) -> None:
        """Take note of what happened on a worker. Returns when the ends are durable in hasty_api.

        Raises StoreUnavailable when that takes long; the same report may then come again.
        """
        check_version(message.version)
        settles: list[Settle] = []
        # Ends come first: the start of what has ended need not be shown.
        facts: tuple[Event, ...] = (*message.ended, *message.started, *self._declined(message))
        for fact in facts:
            settles += self._apply(fact)
        if settles:
            await self._have_settled(settles)

    async def _have_settled(self, settles: Sequence[Settle]) -> None:
        """Return when these ends are written. Raises StoreUnavailable when that takes long: it goes on."""
        new = [settle for settle in settles if settle.job_id not in self._settling]
        if new:
            task = asyncio.ensure_future(self._settle(new))
            self._settling.update(dict.fromkeys((settle.job_id for settle in new), task))
        tasks = {self._settling[settle.job_id] for settle in settles}
        done, late = await asyncio.wait(tasks, timeout=_SETTLE_WITHIN_S)
        for task in done:
            task.result()
        if late:
            raise StoreUnavailable("MongoDB has not confirmed the ends of jobs yet")

    async def _settle(self, settles: Sequence[Settle]) -> None:
        try:
            await self._settler.submit_all(settles)
        except Exception as error:
            # The machine holds them as ended: only a new office looks at them again.
            self._give_up_office(error)
            raise
        finally:
            for settle in settles:
                del self._settling[settle.job_id]
        self._apply(Settled(tuple(settle.job_id for settle in settles)))

    def _declined(self, message: Report) -> tuple[Declined, ...]:
        """A predecessor that thaws declines what its successor runs under the same token: leave it that."""
        machine = self._machine
        heard = machine is not None and machine.boot_of(message.worker) == message.boot
        return message.declined if heard else ()

    async def health(self) -> Health:
        """Say whether jobs are being sent to workers."""
        machine = self._machine
        if machine is None:
            return Health("dispatcher", "waits for its office: MongoDB, or another's lease")
        problem = None if machine.ready else "waits for its workers"
        return Health("dispatcher", problem, machine.running, machine.queued)

    async def drain(self) -> None:
        """Start nothing from now on; what runs goes on."""
        self._draining = True
        self._apply(Drained())

    def _give_up_office(self, why: Exception) -> None:
        if self._machine is not None and self._reign is not None:
            self._reign.create_task(self._duty(self._fail, why))

    async def _fail(self, why: Exception) -> None:
        raise why

    # The office -------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Take the office and act, again and again; never returns."""
        while True:
            epoch = 0
            try:
                epoch = await until_answered(self._take_office, self._clock.sleep)
                await self._act(epoch)
            except* Superseded:
                emit(DispatcherStoodDown(epoch, "superseded"), level=logging.WARNING)
            except* Exception as errors:  # noqa: BLE001  whatever it was, the next epoch starts clean
                emit(DispatcherStoodDown(epoch, repr(errors.exceptions)), level=logging.ERROR)
            finally:
                self._machine = self._reign = None
            await self._clock.sleep(_ASK_AGAIN_S)

    async def _take_office(self) -> int:
        await self._jobs.prepare()
        epoch = await self._jobs.take_epoch(self._holder, LEASE_S)
        if epoch is None:
            raise Unreachable("another Dispatcher holds the office")
        return epoch

    async def _act(self, epoch: int) -> None:
        """Look after the workers and the queue until the office is lost; raises Superseded then."""
        emit(EpochTaken(epoch))
        async with asyncio.TaskGroup() as reign:
            self._machine = Dispatch(epoch, self._pool.names, capacity=self._capacity)
            self._reign = reign
            self._care = care = Care(
                self._pool,
                self._ledger,
                self._clock,
                tell=self._apply,
                prove_office=functools.partial(self._prove_office, epoch),
                epoch=epoch,
            )
            if self._draining:
                self._apply(Drained())
            reign.create_task(self._duty(self._hold_office, epoch))
            reign.create_task(self._duty(self._tick))
            reign.create_task(self._duty(self._prune))
            for name in self._pool.names:
                reign.create_task(self._duty(care.look_after, name))

    async def _hold_office(self, epoch: int) -> None:
        """Renew the lease. While MongoDB is away it runs out, but nobody else can take it either."""
        while True:
            await self._clock.sleep(LEASE_S / 3)
            with contextlib.suppress(StoreUnavailable):
                await self._prove_office(epoch)

    async def _prove_office(self, epoch: int) -> None:
        """Renew the lease; raises Superseded when a later epoch was taken."""
        if not await self._jobs.renew_epoch(epoch, LEASE_S):
            raise Superseded

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            self._apply(Ticked())

    async def _prune(self) -> None:
        """Now and then delete the ledger's pages of jobs whose records have expired.

        A record expires only once its job was settled, so no page goes that is still needed.
        """
        while True:
            await self._clock.sleep(_PRUNE_EVERY_S)
            with contextlib.suppress(StoreUnavailable):
                await self._prune_once()

    async def _prune_once(self) -> None:
        after, before = "", first_id_of(self._clock.now() - timedelta(seconds=self._keep_s))
        while ids := await self._ledger.ids(after, before, _PRUNED_AT_ONCE):
            kept = await self._jobs.existing(ids)
            await self._ledger.forget([job_id for job_id in ids if job_id not in kept])
            after = ids[-1]

    # The machine ------------------------------------------------------------------------------

    def _apply(self, event: Event) -> list[Settle]:
        """Feed the machine; carry out its commands. Returns the ends to write: they are waited for."""
        if self._machine is None or self._reign is None:
            # Between two offices: the ledger has spoken all the same.
            return [Settle(event.job_id, event.outcome)] if isinstance(event, Ended) else []
        settles: list[Settle] = []
        for command in self._machine.handle(event, self._clock.monotonic()):
            match command:
                case Settle():
                    settles.append(command)
                case Mark():
                    # One that is not shown is missed by nobody for long.
                    with contextlib.suppress(Overloaded):
                        self._marker.post([command])
                case Send():
                    self._reign.create_task(self._duty(self._send, command))
                case Sweep():
                    self._reign.create_task(self._duty(self._sweep, command))
                case Replace() if self._care is not None:
                    self._reign.create_task(self._duty(self._care.replace, command.worker))
        return settles

    async def _duty(self, work: Callable[..., Coroutine[Any, Any, None]], *about: Any) -> None:
        """Do a part of the office; if it fails, the office ends at once, before anybody gives it work."""
        try:
            await work(*about)
        except BaseException:
            self._machine = None
            raise

    async def _send(self, command: Send) -> None:
        """Have the jobs run, and ask again when no answer comes: running them twice joins them."""
        run = Run(command.forwards[0].token.epoch, command.forwards)
        boot = self._machine.boot_of(command.worker) if self._machine is not None else 0
        try:
            await asyncio.wait_for(self._pool.worker(command.worker).run(run), run.patience_s)
        except Superseded:
            raise
        except Exception as error:  # noqa: BLE001  one worker's trouble must not end the office
            emit(WorkerSilent(command.worker, repr(error)), level=logging.DEBUG)
        job_ids = tuple(forward.work.job_id for forward in command.forwards)
        machine = self._machine
        # With a new boot everything was sent again already: this chain has a successor.
        if machine is None or machine.boot_of(command.worker) != boot:
            return
        if machine.holds(command.worker, job_ids):
            await self._clock.sleep(_ASK_AGAIN_S)
            self._apply(Unanswered(command.worker, job_ids))

    async def _sweep(self, command: Sweep) -> None:
        try:
            found = await self._jobs.sweep(command.skip, command.limit)
        except StoreUnavailable:
            await self._clock.sleep(_ASK_AGAIN_S)
            self._apply(SweepFailed())
        else:
            self._apply(Swept(found.works, found.exhausted))

    async def _write_ends(self, settles: Sequence[Settle]) -> list[None]:
        """Write until MongoDB confirms: the ledger decided, this only shows it."""
        epoch = self._machine.epoch if self._machine is not None else 0
        # From now on, not from their ends: those may have been recorded long before anybody heard.
        until = self._clock.now() + timedelta(seconds=self._keep_s)
        await until_answered(lambda: self._jobs.settle(settles, epoch, until), self._clock.sleep)
        return [None] * len(settles)

    async def _write_marks(self, marks: Sequence[Mark]) -> list[None]:
        """Try once: a mark is for people, and the end of the job shows more."""
        machine = self._machine
        if machine is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._jobs.mark(marks, machine.epoch)
        return [None] * len(marks)
