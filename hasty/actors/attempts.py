"""Attempts at jobs: claimed before the handler's first line, recorded before anybody hears of the end."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from hasty.actors.life import Birth
from hasty.actors.perform import Performance, given_up, without_handler
from hasty.actors.stages import Stage
from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.errors import ChildDied
from hasty.handlers import Handler, Handlers, JobContext
from hasty.handlers.catalogue import MAX_CRASHES
from hasty.job import Cause, Outcome, Work
from hasty.messages import Forward, Started
from hasty.retry import until_answered
from hasty.store.base import Blame, Claim, ClaimAnswer, Claimed, Closing, Ledger, Over, Record, Spent
from hasty.telemetry import AttemptBroke, HandlerGoesOn, ProcessLost, emit

#: So many losses that nobody can explain, and the job runs where it can harm nobody else.
LOSSES_BEFORE_ALONE = 3

#: A handler that was cancelled is given so long to end.
GRACE_S = 5.0


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
    ) -> None:
        """`started` hears of every handler that starts; `mint` makes ids for claims."""
        self._worker = worker
        self._birth = birth
        self._loop = loop
        self._child = child
        self._ledger = ledger
        self._handlers = handlers
        self._clock = clock
        self._mint = mint
        self._started = started
        #: A handler that was stopped goes on: this process is to be replaced.
        self.unfit = False
        self._stopping: set[asyncio.Task[None]] = set()
        #: Jobs whose handler is at work right now.
        self.performing: set[str] = set()
        # Neither has a capacity: they hold one item of each attempt at most, and must refuse none.
        self._claims: Batcher[Claim, ClaimAnswer] = Batcher(self._write_claims)
        self._records: Batcher[Record, Outcome | None] = Batcher(
            self._write_records, weigh=lambda record: record.outcome.weight
        )

    async def outcome(self, forward: Forward) -> Outcome | None:
        """Return how the job ended, durable; None when it is somebody else's.

        An attempt that breaks is charged, and followed by the next, until the budget is spent.
        """
        while True:
            intent = await self._intend(forward)
            answer = await self._claims.submit(intent)
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

    async def _without_attempt(self, work: Work, answer: ClaimAnswer) -> Outcome | None:
        """Say how a job ended that may not be started here."""
        if isinstance(answer, Spent):
            closing = Closing(work.job_id, given_up(answer.causes, self._clock))
            (outcome,) = await until_answered(lambda: self._ledger.close([closing]), self._clock.sleep)
            return outcome
        return answer.outcome if isinstance(answer, Over) else None

    async def _attempt(self, work: Work, intent: Claim, claimed: Claimed) -> Outcome | None:
        """Run the handler and record its end; only then stop it, if it overran."""
        attempt = claimed.attempt
        handler = self._handlers.get(work.handler)
        if handler is None:
            outcome = without_handler(work, attempt, self._clock, self._worker)
            return await self._record(intent, outcome)
        self._started(Started(work.job_id, self._worker, attempt, intent.at))
        context = JobContext.of(work, attempt)
        play = self._stage(handler, claimed.losses).play(handler, context, work.payload, intent.claim)
        performance = Performance(play, work, attempt, clock=self._clock, worker=self._worker)
        self.performing.add(work.job_id)
        try:
            outcome = await performance.outcome()
            self.performing.discard(work.job_id)
            return await self._record(intent, outcome)
        finally:
            self.performing.discard(work.job_id)
            self._stop(performance)

    def _stop(self, performance: Performance) -> None:
        """Stop what still runs, and do not wait for it: the slot is free once the end is on record."""
        if not performance.over:
            stopping = asyncio.ensure_future(self._see_it_stop(performance))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    async def _see_it_stop(self, performance: Performance) -> None:
        if not await performance.stop(GRACE_S):
            self.unfit = True
            emit(HandlerGoesOn(self._worker, performance.job_id), level=logging.WARNING)

    def _stage(self, handler: Handler, losses: int) -> Stage:
        """Choose a child for what blocks, and for what may have brought its process down too often."""
        alone = not handler.is_async or losses >= LOSSES_BEFORE_ALONE
        return self._child if alone else self._loop

    async def _record(self, intent: Claim, outcome: Outcome) -> Outcome | None:
        record = Record(intent.job_id, intent.claim, intent.boot, outcome)
        return await self._records.submit(record)

    async def _write_claims(self, claims: Sequence[Claim]) -> list[ClaimAnswer]:
        return await until_answered(lambda: self._ledger.claim(claims), self._clock.sleep)

    async def _write_records(self, records: Sequence[Record]) -> list[Outcome | None]:
        return await until_answered(lambda: self._ledger.record(records), self._clock.sleep)
