"""Attempts at jobs: claimed before the handler's first line, recorded before anybody hears of the end."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from hasty.actors.life import Birth
from hasty.actors.perform import Ending, Performance, given_up, without_handler
from hasty.actors.stages import Stage
from hasty.batching import Batcher
from hasty.clock import Clock, to_milliseconds
from hasty.errors import ChildDied
from hasty.handlers import Handler, Handlers, Term
from hasty.handlers.catalogue import MAX_CRASHES
from hasty.job import Cause, Outcome, Progress, Work
from hasty.messages import Forward, Started
from hasty.retry import until_answered
from hasty.store.base import Blame, Claim, ClaimAnswer, Claimed, Closing, Later, Ledger, Over, Record, Spent
from hasty.telemetry import AttemptBroke, HandlerGoesOn, ProcessLost, emit

#: So many losses that nobody can explain, and the job runs where it can harm nobody else.
LOSSES_BEFORE_ALONE = 3


class Attempts:
    """Brings one job after the other to an end that the ledger confirms."""

    def __init__(
        self,
        worker: str,
        *,
        birth: Birth,
        loop: Stage,
        child: Stage,
        ledger: Ledger,
        handlers: Handlers,
        clock: Clock,
        mint: Callable[[], str],
        started: Callable[[Started], None],
        progressed: Callable[[str, Progress], None],
    ) -> None:
        """`started` and `progressed` hear of each handler; `mint` makes ids for claims."""
        self._worker = worker
        self._birth = birth
        self._loop = loop
        self._child = child
        self._ledger = ledger
        self._handlers = handlers
        self._clock = clock
        self._mint = mint
        self._started = started
        self._progressed = progressed
        #: A handler that was stopped goes on: this process is to be replaced.
        self.unfit = False
        self._stopping: set[asyncio.Task[None]] = set()
        #: Whose handler is at work right now.
        self.performing: dict[str, Performance] = {}
        #: Jobs that are being claimed, and how they ended otherwise meanwhile.
        self._claiming: dict[str, Outcome | None] = {}
        # Neither has a capacity: they hold one item of each attempt at most, and must refuse none.
        self._claims: Batcher[Claim, ClaimAnswer] = Batcher(self._write_claims)
        self._records: Batcher[Record, Outcome | Later | None] = Batcher(
            self._write_records, weigh=lambda record: record.outcome.weight
        )

    async def end(self, forward: Forward) -> Outcome | Later | None:
        """Return how the job ended, or goes on, durable; None when it is somebody else's.

        An attempt that breaks is charged, and followed by the next, until the budget is spent.
        """
        while True:
            intent = await self._intend(forward)
            answer = await self._claim(intent)
            if not isinstance(answer, Claimed):
                return await self._without_attempt(forward.work, answer)
            try:
                return await self._attempt(forward.work, intent, answer)
            except ChildDied as death:
                emit(ProcessLost(self._worker, intent.job_id, str(death)), level=logging.WARNING)
                await self._charge(intent)
            except Exception as error:  # noqa: BLE001  the last line of defence of one attempt
                emit(AttemptBroke(self._worker, intent.job_id, repr(error)), level=logging.ERROR)
                await self._charge(intent)

    def dismiss(self, job_id: str, outcome: Outcome) -> None:
        """Stop a job that was taken on here: it has ended otherwise, and the ledger has that.

        One that is not at work will meet that end with its next claim.
        """
        performance = self.performing.get(job_id)
        if performance is not None:
            performance.dismiss(outcome)
        elif job_id in self._claiming:
            self._claiming[job_id] = outcome

    async def _claim(self, intent: Claim) -> ClaimAnswer:
        """Claim; what ended otherwise while that was written must not start."""
        self._claiming[intent.job_id] = None
        try:
            answer = await self._claims.submit(intent)
        finally:
            ended = self._claiming.pop(intent.job_id)
        return answer if ended is None else Over(ended)

    async def _charge(self, intent: Claim) -> None:
        """Declare the attempt to be over by its own doing."""
        blame = Blame(intent.job_id, intent.claim, Cause.CRASHED)
        await until_answered(lambda: self._ledger.blame([blame]), self._clock.sleep)

    async def _intend(self, forward: Forward) -> Claim:
        work, life = forward.work, await self._birth.life()
        handler = self._handlers.get(work.handler)
        return Claim(
            work.job_id,
            forward.token,
            self._mint(),
            self._worker,
            life.boot,
            self._clock.now(),
            handler.max_crashes if handler is not None else MAX_CRASHES,
            life.predecessor,
        )

    async def _without_attempt(self, work: Work, answer: ClaimAnswer) -> Outcome | Later | None:
        """Say how a job stands that may not be started here."""
        if isinstance(answer, Spent):
            closing = Closing(work.job_id, given_up(work, answer.causes, self._clock))
            (outcome,) = await until_answered(lambda: self._ledger.close([closing]), self._clock.sleep)
            return outcome
        if isinstance(answer, Later):
            return answer
        return answer.outcome if isinstance(answer, Over) else None

    async def _attempt(self, work: Work, intent: Claim, claimed: Claimed) -> Outcome | Later | None:
        """Run the handler and record its end; only then stop it, if it still runs."""
        handler = self._handlers.get(work.handler)
        if handler is None:
            outcome = without_handler(work, claimed.attempt, self._clock, self._worker)
            return await self._record(intent, outcome)
        self._started(Started(work.job_id, self._worker, claimed.attempt, intent.at))
        performance = self._perform(handler, work, intent, claimed)
        self.performing[work.job_id] = performance
        try:
            ending = await performance.ending()
            del self.performing[work.job_id]
            if ending.recorded:
                return ending.outcome
            return await self._record(intent, ending.outcome, _retry_at(handler, claimed, ending))
        finally:
            self.performing.pop(work.job_id, None)
            self._stop(performance, handler.grace_s)

    def _perform(self, handler: Handler, work: Work, intent: Claim, claimed: Claimed) -> Performance:
        term = Term(self._clock, timeout_s=work.timeout_s, max_timeout_s=handler.max_timeout_s)
        term.tell = _from_any_thread(lambda progress: self._progressed(work.job_id, progress))
        stage = self._stage(handler, claimed.losses)
        return Performance(
            stage.play(handler, work, claimed.attempt, intent.claim, term),
            work,
            claimed.attempt,
            term=term,
            stall_s=handler.stall_timeout_s,
            clock=self._clock,
            worker=self._worker,
        )

    def _stop(self, performance: Performance, grace_s: float) -> None:
        """Stop what still runs, and do not wait for it: the slot is free once the end is on record."""
        if not performance.over:
            stopping = asyncio.ensure_future(self._see_it_stop(performance, grace_s))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    async def _see_it_stop(self, performance: Performance, grace_s: float) -> None:
        if not await performance.stop(grace_s):
            self.unfit = True
            emit(HandlerGoesOn(self._worker, performance.job_id), level=logging.WARNING)

    def _stage(self, handler: Handler, losses: int) -> Stage:
        """Choose a child for what blocks, and for what may have brought its process down too often."""
        alone = not handler.is_async or losses >= LOSSES_BEFORE_ALONE
        return self._child if alone else self._loop

    async def _record(
        self, intent: Claim, outcome: Outcome, retry_at: datetime | None = None
    ) -> Outcome | Later | None:
        record = Record(intent.job_id, intent.claim, intent.boot, outcome, retry_at)
        return await self._records.submit(record)

    async def _write_claims(self, claims: Sequence[Claim]) -> list[ClaimAnswer]:
        return await until_answered(lambda: self._ledger.claim(claims), self._clock.sleep)

    async def _write_records(self, records: Sequence[Record]) -> list[Outcome | Later | None]:
        return await until_answered(lambda: self._ledger.record(records), self._clock.sleep)


def _from_any_thread(tell: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Let the threads of a handler call what belongs to this loop."""
    loop, ours = asyncio.get_running_loop(), threading.get_ident()

    def told(progress: Progress) -> None:
        if threading.get_ident() == ours:
            tell(progress)
        else:
            loop.call_soon_threadsafe(tell, progress)

    return told


def _retry_at(handler: Handler, claimed: Claimed, ending: Ending) -> datetime | None:
    """Say when another attempt may follow; None: there is to be none."""
    if not ending.retry or claimed.retries >= handler.retry.retries:
        return None
    wait = timedelta(seconds=handler.retry.wait_s(claimed.retries + 1))
    return to_milliseconds(ending.outcome.ended_at + wait)
