"""A Worker runs handlers, and writes what happened into its ledger before it tells anybody."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hasty.actors.attempts import Attempts
from hasty.actors.life import Birth
from hasty.actors.refs import DispatcherRef
from hasty.actors.stages import InLoop, Stage
from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.errors import Superseded, TryAgainLater
from hasty.flight import FlightRecorder
from hasty.handlers import Handlers
from hasty.job import Outcome, Progress, Work
from hasty.messages import (
    Attend,
    Attendance,
    Declined,
    Deferred,
    Ended,
    Forward,
    Process,
    Progressed,
    Report,
    Run,
    Started,
    Stop,
    check_version,
)
from hasty.retry import until_answered
from hasty.store.base import Later, Ledger
from hasty.telemetry import AttemptBroke, emit

#: A start is told after this; what ended meanwhile needs no telling.
_START_TOLD_AFTER_S = 0.02

#: Progress is told so often at most.
_PROGRESS_TOLD_AFTER_S = 0.25

#: A report is repeated when it was not answered for so long.
_REPORT_WITHIN_S = 30.0


#: What a worker tells until it is confirmed.
Fact = Ended | Declined | Deferred


class _Taken(NamedTuple):
    """A job that this process takes care of."""

    work: Work
    task: "asyncio.Task[None]"


class Worker:
    """Brings each job it is given to its end: claim, perform, record, tell.

    The ledger is written before the handler's first line and before anybody hears of its end,
    so whatever dies in between, the ledger knows what may have happened.
    """

    def __init__(
        self,
        name: str,
        *,
        process: Process,
        recorder: FlightRecorder,
        child: Stage,
        ledger: Ledger,
        dispatcher: DispatcherRef,
        handlers: Handlers,
        clock: Clock,
        slots: int,
        generation: int,
        mint: Callable[[], str],
    ) -> None:
        """Connect nothing yet. `child` is where sync handlers are performed; `mint` makes ids for claims."""
        self._name = name
        self._process = process
        self._dispatcher = dispatcher
        self._clock = clock
        self._handlers = handlers
        self._slots = slots
        self._generation = generation
        self._epoch = 0
        #: What this process takes care of.
        self._taken: dict[str, _Taken] = {}
        self._birth = Birth(name, process, recorder, ledger, clock)
        self._attempts = Attempts(
            name,
            birth=self._birth,
            loop=InLoop(recorder),
            child=child,
            ledger=ledger,
            handlers=handlers,
            clock=clock,
            mint=mint,
            started=lambda start: self._starts.post([start]),
            progressed=self._note_progress,
        )
        self._ends: Batcher[Fact, None] = Batcher(self._tell_ends, weigh=_weigh_end)
        self._starts: Batcher[Started, None] = Batcher(self._tell_starts, linger_s=_START_TOLD_AFTER_S)
        #: The latest of each job that was not told yet; the batcher has their names.
        self._latest: dict[str, Progress] = {}
        self._progressing: Batcher[str, None] = Batcher(self._tell_progress, linger_s=_PROGRESS_TOLD_AFTER_S)

    # What the Dispatcher asks -----------------------------------------------------------------

    async def attend(self, message: Attend) -> Attendance:
        """Say who this is and what runs here. From now on older epochs are refused.

        Raises Superseded to a Dispatcher of an older epoch.
        """
        check_version(message.version)
        boot = await self._obey(message.epoch)
        running = () if boot == message.met else tuple(taken.work for taken in self._taken.values())
        return Attendance(
            self._name,
            boot,
            self._slots,
            self._process,
            unfit=self._attempts.unfit,
            generation=self._generation,
            handlers=self._handlers.version,
            running=running,
        )

    async def run(self, message: Run) -> None:
        """Bring each job to its end; return when all ends are settled, or the caller waits no longer.

        A job that is here already is joined, not started again. Raises Superseded to a
        Dispatcher of an older epoch.
        """
        check_version(message.version)
        await self._obey(message.epoch)
        # Not gather: a caller that goes away must not take the attempts with it.
        await asyncio.wait([self._join(forward) for forward in message.forwards], timeout=message.patience_s)

    async def stop(self, message: Stop) -> None:
        """Stop the handlers of jobs that have ended otherwise, which the ledger has; returns at once.

        Whatever epoch says so: the ledger has spoken.
        """
        check_version(message.version)
        for job_id, outcome in message.ends:
            if job_id in self._taken:
                self._attempts.dismiss(job_id, outcome)

    async def _obey(self, epoch: int) -> int:
        """Refuse an older epoch than was heard of, here or in the ledger at birth; return the boot."""
        life = await self._birth.life()
        self._epoch = max(self._epoch, life.epoch)
        if epoch < self._epoch:
            msg = f"epoch {epoch} is over, {self._name} obeys {self._epoch}"
            raise Superseded(msg)
        self._epoch = epoch
        return life.boot

    # One job ------------------------------------------------------------------------------

    def _join(self, forward: Forward) -> "asyncio.Task[None]":
        taken = self._taken.get(forward.work.job_id)
        if taken is None:
            taken = _Taken(forward.work, asyncio.ensure_future(self._take_on(forward)))
            self._taken[forward.work.job_id] = taken
        return taken.task

    async def _take_on(self, forward: Forward) -> None:
        """Run one job; whatever goes wrong in here, the Dispatcher finds the job open and asks again."""
        try:
            await self._ends.submit(_fact(forward, await self._attempts.end(forward)))
        except Exception as error:  # noqa: BLE001  the last line of defence of one job
            emit(AttemptBroke(self._name, forward.work.job_id, repr(error)), level=logging.ERROR)
        finally:
            del self._taken[forward.work.job_id]

    # Batches ----------------------------------------------------------------------------------

    async def _tell_ends(self, facts: Sequence[Fact]) -> list[None]:
        """Report until the Dispatcher has written them down."""
        report = Report(
            self._name,
            (await self._birth.life()).boot,
            ended=tuple(fact for fact in facts if isinstance(fact, Ended)),
            declined=tuple(fact for fact in facts if isinstance(fact, Declined)),
            deferred=tuple(fact for fact in facts if isinstance(fact, Deferred)),
        )
        await until_answered(lambda: self._report(report), self._clock.sleep)
        return [None] * len(facts)

    def _note_progress(self, job_id: str, progress: Progress) -> None:
        """Keep the latest; a handler may say it as often as it likes."""
        if job_id not in self._latest:
            self._progressing.post([job_id])
        self._latest[job_id] = progress

    async def _tell_progress(self, job_ids: Sequence[str]) -> list[None]:
        """Tell the latest progress of jobs that still run, once: it is for people."""
        latest = [Progressed(job_id, self._latest.pop(job_id)) for job_id in job_ids]
        running = tuple(note for note in latest if note.job_id in self._attempts.performing)
        await self._tell_once(progressed=running)
        return [None] * len(job_ids)

    async def _tell_starts(self, starts: Sequence[Started]) -> list[None]:
        """Tell which attempts run, once: it is for people."""
        running = tuple(start for start in starts if start.job_id in self._attempts.performing)
        await self._tell_once(started=running)
        return [None] * len(starts)

    async def _tell_once(
        self, started: tuple[Started, ...] = (), progressed: tuple[Progressed, ...] = ()
    ) -> None:
        if started or progressed:
            boot = (await self._birth.life()).boot
            with contextlib.suppress(TryAgainLater):
                await self._report(Report(self._name, boot, started=started, progressed=progressed))

    async def _report(self, report: Report) -> None:
        try:
            await asyncio.wait_for(self._dispatcher.report(report), _REPORT_WITHIN_S)
        except TimeoutError:
            raise TryAgainLater from None


def _fact(forward: Forward, end: Outcome | Later | None) -> Fact:
    """Put into words what became of a job here."""
    job_id, token = forward.work.job_id, forward.token
    if isinstance(end, Outcome):
        return Ended(job_id, end)
    return Deferred(job_id, token, *end) if isinstance(end, Later) else Declined(job_id, token)


def _weigh_end(fact: Fact) -> int:
    return fact.outcome.weight if isinstance(fact, Ended) else 0
