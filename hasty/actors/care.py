"""The Dispatcher's care for its workers: who is frozen is killed, who does not come back is judged."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from hasty.actors.refs import Workers
from hasty.clock import Clock
from hasty.dispatch import Attended, Lost
from hasty.errors import StoreUnavailable, Superseded
from hasty.messages import Attend, Attendance
from hasty.pulse import PING_WITHIN_S, Pulse, rest_s
from hasty.store.base import Ledger
from hasty.telemetry import ActorFrozen, HandlersDiffer, WorkerAttended, WorkerLost, WorkerSilent, emit

#: A worker that did not come back for so long is judged: its jobs go elsewhere.
LOST_AFTER_S = 10.0


class Care:
    """Looks after the workers for one epoch, and tells what it finds."""

    def __init__(
        self,
        workers: Workers,
        ledger: Ledger,
        clock: Clock,
        *,
        tell: Callable[[Attended | Lost], Any],
        prove_office: Callable[[], Awaitable[None]],
        epoch: int,
    ) -> None:
        """Ask nothing yet. `tell` takes what was found; `prove_office` raises Superseded if it is lost."""
        self._workers = workers
        self._ledger = ledger
        self._clock = clock
        self._tell = tell
        self._prove_office = prove_office
        self._epoch = epoch
        #: Workers that were killed and are not back yet: one at most.
        self._condemned: set[str] = set()
        #: The version of the handlers that was met first, of each deployment.
        self._handlers: dict[int, str] = {}

    async def look_after(self, name: str) -> None:
        """Ask a worker how it is, for ever; raises Superseded once a later epoch is obeyed there."""
        pulse = Pulse(self._clock.monotonic())
        #: The last answer of a process that may still live.
        known: Attendance | None = None
        lost = False
        while True:
            asked_at = self._clock.monotonic()
            answer = await self._attend(name, known.boot if known is not None and not lost else 0)
            now = self._clock.monotonic()
            if answer is not None:
                known, lost = answer, False
                pulse.heard(now)
                self._condemned.discard(name)
            else:
                pulse.missed(now, now - asked_at)
                if pulse.frozen and known is not None and await self._condemn(known, pulse.silent_s):
                    # It has a new life to come back with.
                    known = None
                    pulse.heard(self._clock.monotonic())
                elif not lost and pulse.silent_s > LOST_AFTER_S:
                    lost = True
                    self._give_up_on(name, pulse.silent_s)
                elif pulse.stuck:
                    pulse.heard(now)
                    await self._workers.restart(name)
            await self._clock.sleep(rest_s(asked_at, self._clock.monotonic()))

    async def _attend(self, name: str, met: int) -> Attendance | None:
        """Return the answer of a worker that answered in time."""
        try:
            # Not wait_for: that may forget that it was cancelled when the answer comes at that moment.
            async with asyncio.timeout(PING_WITHIN_S):
                answer = await self._workers.worker(name).attend(Attend(self._epoch, met))
        except Superseded:
            raise
        except Exception as error:  # noqa: BLE001  one worker's trouble must not end the office
            emit(WorkerSilent(name, repr(error)), level=logging.DEBUG)
            await self._workers.revive(name)
            return None
        if answer.boot != met:
            emit(WorkerAttended(name, answer.boot, len(answer.running)))
            self._compare(answer)
        self._tell(Attended(name, answer.boot, answer.slots, answer.running, answer.unfit, answer.generation))
        return answer

    def _compare(self, answer: Attendance) -> None:
        """Tell when workers of one deployment know different handlers: a node has other code."""
        known = self._handlers.setdefault(answer.generation, answer.handlers)
        if known != answer.handlers:
            emit(HandlersDiffer(answer.worker, answer.handlers, known), level=logging.WARNING)

    async def _condemn(self, frozen: Attendance, silent_s: float) -> bool:
        """Kill a frozen worker, unless another one is being replaced already.

        One that was cut off itself finds everybody silent: so the office is proved first. Then comes
        the note, for the next boot must know why this one died. Raises Superseded.
        """
        if self._condemned:
            return False
        self._condemned.add(frozen.worker)
        try:
            await self._prove_office()
            await self._ledger.condemn(frozen.worker, frozen.boot)
        except StoreUnavailable:
            # What is started anew could not claim anything either.
            self._condemned.discard(frozen.worker)
            return False
        emit(ActorFrozen(frozen.worker, silent_s), level=logging.WARNING)
        await self._workers.kill(frozen.process)
        return True

    def forget(self, name: str) -> None:
        """Care for a worker no more: somebody ends it."""
        self._condemned.discard(name)

    def _give_up_on(self, name: str, silent_s: float) -> None:
        emit(WorkerLost(name, silent_s), level=logging.WARNING)
        self._condemned.discard(name)
        self._tell(Lost(name))
