"""One performance of a handler: started, waited for, and judged; its end is a value."""

import asyncio
import json
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic_core import from_json

from hasty.actors.stages import Play, Raised
from hasty.clock import Clock, to_milliseconds
from hasty.handlers import Term
from hasty.handlers.inside import KIND_LIMIT, TEXT_LIMIT, kept, text_of
from hasty.job import Cause, Json, Outcome, Status, Work
from hasty.rerun import opening

#: A result is refused above this many bytes of JSON.
RESULT_LIMIT = 256 * 1024

#: A child that is killed at the end of its grace needs a moment to be gone.
_KILL_S = 1.0


class Ending(NamedTuple):
    """How a performance ended."""

    outcome: Outcome
    #: Whether the handler says that another attempt may do better.
    retry: bool = False
    #: Whether the ledger has it already: somebody else ended the job.
    recorded: bool = False


class Performance:
    """A handler at work, which is stopped only when the end of its job is on record."""

    def __init__(
        self,
        play: Play,
        work: Work,
        attempt: int,
        *,
        term: Term,
        stall_s: float | None,
        clock: Clock,
        worker: str,
    ) -> None:
        """Look after a handler that was just started; `stall_s` is the longest it may be silent."""
        self._work = work
        self._attempt = attempt
        self._term = term
        self._stall_s = stall_s
        self._clock = clock
        self._worker = worker
        self._started_at = clock.now()
        self._started_s = clock.monotonic()
        self._play = play
        self._task = play.task
        self._ended_otherwise: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    @property
    def job_id(self) -> str:
        """Whose performance it is."""
        return self._work.job_id

    @property
    def over(self) -> bool:
        """Whether the handler has ended."""
        return self._task.done()

    def dismiss(self, outcome: Outcome) -> None:
        """Wait for the handler no longer: its job has ended otherwise, and the ledger has that."""
        if not self._ended_otherwise.done():
            self._ended_otherwise.set_result(outcome)

    async def ending(self) -> Ending:
        """Wait until the handler ends, its time passes or it is dismissed; say how. Does not stop it.

        Waiting for a place to begin does not count. Raises ChildDied when the handler took its
        process with it.
        """
        if self._play.begun is not None:
            await self._first_of(self._play.begun)
        self._started_at, self._started_s = self._clock.now(), self._clock.monotonic()
        self._term.begin()
        overrun = await self._wait_for_the_end()
        if self._ended_otherwise.done():
            self._hush()
            return Ending(self._ended_otherwise.result(), recorded=True)
        if not self._task.done():
            return self._end(Status.CANCELLED, error=overrun)
        if self._task.cancelled():
            return self._end(Status.FAILED, error=_error("Cancelled", "the handler cancelled itself"))
        result = self._task.result()
        if isinstance(result, Raised):
            return self._end(Status.FAILED, error=_error(result.kind, result.text), retry=result.retry)
        return self._judge(result)

    async def _first_of(self, event: "asyncio.Future[Json]", within_s: float | None = None) -> None:
        """Return when that is done, or the performance is dismissed."""
        await asyncio.wait(
            (event, self._ended_otherwise), timeout=within_s, return_when=asyncio.FIRST_COMPLETED
        )

    async def _wait_for_the_end(self) -> dict[str, Json] | None:
        """Return when the handler has ended, or why it is to be stopped: all of its time has passed.

        A loop's timer may be early, and the handler may have been granted more time meanwhile.
        """
        while not (self._task.done() or self._ended_otherwise.done()):
            left_s, overrun = self._left()
            if left_s <= 0:
                return overrun
            await self._first_of(self._task, left_s)
        return None

    def _left(self) -> tuple[float, dict[str, Json]]:
        """Return the seconds until it is to be stopped, and what that is called."""
        term, now = self._term, self._clock.monotonic()
        silent_until_s = math.inf if self._stall_s is None else term.heard_s + self._stall_s
        if silent_until_s < term.until_s:
            return silent_until_s - now, _error("Stalled", f"reported no progress for {self._stall_s:g} s")
        return term.until_s - now, _error("Timeout", f"ran longer than {term.until_s - term.began_s:g} s")

    async def stop(self, grace_s: float) -> bool:
        """Stop the handler if it still runs; return whether it is gone within the grace.

        The end of its job must be on record by now.
        """
        self._term.end()
        self._play.stop(grace_s)
        await asyncio.wait((self._task,), timeout=grace_s + _KILL_S)
        self._hush()
        return self._task.done()

    def _hush(self) -> None:
        """How a handler ends after its job, nobody need hear: a child that was killed died of it."""
        if self._task.done() and not self._task.cancelled():
            self._task.exception()

    def _judge(self, result: Json) -> Ending:
        """A result that cannot be kept, or not be shown, is a failure of the handler."""
        try:
            text = json.dumps(result, allow_nan=False, ensure_ascii=False).encode()
            # As a payload is read: of one that is nested more deeply nothing could be made again. And
            # what is read is kept: the handler's own object may change, or be of a class that runs
            # the user's code wherever it is sent.
            plain = from_json(text) if len(text) <= RESULT_LIMIT else None
        except BaseException as error:  # noqa: BLE001  the result may be of a user's own class
            return self._end(Status.FAILED, error=_error("BadResult", f"not JSON: {text_of(error)}"))
        if len(text) > RESULT_LIMIT:
            message = f"{len(text)} bytes, over the limit of {RESULT_LIMIT}"
            return self._end(Status.FAILED, error=_error("BadResult", message))
        return self._end(Status.FINISHED, result=plain)

    def _end(
        self,
        status: Status,
        *,
        result: Json = None,
        error: dict[str, Json] | None = None,
        retry: bool = False,
    ) -> Ending:
        # Not the wall time of now: that may have been set meanwhile, and an attempt has its true length.
        ran = timedelta(seconds=self._clock.monotonic() - self._started_s)
        ended_at = to_milliseconds(self._started_at + ran)
        outcome = Outcome(
            status,
            ended_at,
            result,
            error,
            self._attempt,
            self._started_at,
            self._worker,
            opening(self._work, status, ended_at),
        )
        return Ending(outcome, retry)


def without_handler(work: Work, attempt: int, clock: Clock, worker: str) -> Outcome:
    """Say how a job ends whose handler is not registered here."""
    error = _error("NoHandler", f"no handler is registered under the name {work.handler!r}")
    now = clock.now()
    opens_at = opening(work, Status.FAILED, now)
    return Outcome(Status.FAILED, now, None, error, attempt, now, worker, opens_at)


def given_up(work: Work, causes: Sequence[Cause], clock: Clock) -> Outcome:
    """Say how a job ends that cost too many processes."""
    told = ", ".join(causes)
    error = _error("Crashed", f"given up after {len(causes)} lost attempts: {told}")
    return closed(work, Status.FAILED, clock.now(), error | {"causes": [str(cause) for cause in causes]})


def closed(work: Work, status: Status, at: datetime, error: dict[str, Json]) -> Outcome:
    """Say how a job ends that no attempt ended."""
    return Outcome(status, at, None, error, opens_at=opening(work, status, at))


def _error(kind: str, message: str) -> dict[str, Json]:
    return {"type": kept(kind, KIND_LIMIT), "message": kept(message, TEXT_LIMIT)}
