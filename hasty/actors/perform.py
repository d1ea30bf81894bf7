"""One performance of a handler: started, waited for, and judged; its end is a value."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

from hasty.actors.stages import Play, Raised
from hasty.clock import Clock, to_milliseconds
from hasty.job import Cause, Json, Outcome, Status, Work

#: A result is refused above this many bytes of JSON.
RESULT_LIMIT = 256 * 1024

#: What an error may say of itself, in characters.
_ERROR_LIMIT = 2_000


class Performance:
    """A handler at work, which is stopped only when its timeout is on record."""

    def __init__(self, play: Play, work: Work, attempt: int, *, clock: Clock, worker: str) -> None:
        """Look after a handler that was just started."""
        self._work = work
        self._attempt = attempt
        self._clock = clock
        self._worker = worker
        self._started_at = clock.now()
        self._started_s = clock.monotonic()
        self._play = play
        self._task = play.task

    @property
    def job_id(self) -> str:
        """Whose performance it is."""
        return self._work.job_id

    @property
    def over(self) -> bool:
        """Whether the handler has ended."""
        return self._task.done()

    async def outcome(self) -> Outcome:
        """Wait until the handler ends or its timeout passes; say how. Does not stop it.

        Waiting for a place to begin does not count. Raises ChildDied when the handler took its
        process with it.
        """
        await self._play.begun()
        self._started_at, self._started_s = self._clock.now(), self._clock.monotonic()
        await self._wait_for_the_end()
        if not self._task.done():
            seconds = f"{self._work.timeout_s:g}"
            return self._end(Status.CANCELLED, error=_error("Timeout", f"ran longer than {seconds} s"))
        if self._task.cancelled():
            return self._end(Status.FAILED, error=_error("Cancelled", "the handler cancelled itself"))
        result = self._task.result()
        if isinstance(result, Raised):
            return self._end(Status.FAILED, error=_error(*result))
        return self._judge(result)

    async def _wait_for_the_end(self) -> None:
        """Return when the handler has ended or its whole timeout has passed: a loop's timer may be early."""
        until_s = self._started_s + self._work.timeout_s
        while not self._task.done() and (left_s := until_s - self._clock.monotonic()) > 0:
            await asyncio.wait((self._task,), timeout=left_s)

    async def stop(self, grace_s: float) -> bool:
        """Stop the handler if it still runs; return whether it is gone within the grace.

        Its outcome must be on record by now.
        """
        self._play.stop()
        await asyncio.wait((self._task,), timeout=grace_s)
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # a child that was killed died of it: nobody need hear
        return self._task.done()

    def _judge(self, result: Json) -> Outcome:
        """A result that cannot be kept is a failure of the handler."""
        try:
            size = len(json.dumps(result, allow_nan=False, ensure_ascii=False).encode())
        except (TypeError, ValueError, RecursionError) as error:
            return self._end(Status.FAILED, error=_error("BadResult", f"not JSON: {error}"))
        if size > RESULT_LIMIT:
            message = f"{size} bytes, over the limit of {RESULT_LIMIT}"
            return self._end(Status.FAILED, error=_error("BadResult", message))
        return self._end(Status.FINISHED, result=result)

    def _end(self, status: Status, *, result: Json = None, error: dict[str, Json] | None = None) -> Outcome:
        # Not the wall time of now: that may have been set meanwhile, and an attempt has its true length.
        ran = timedelta(seconds=self._clock.monotonic() - self._started_s)
        ended_at = to_milliseconds(self._started_at + ran)
        return Outcome(status, ended_at, result, error, self._attempt, self._started_at, self._worker)


def without_handler(work: Work, attempt: int, clock: Clock, worker: str) -> Outcome:
    """Say how a job ends whose handler is not registered here."""
    error = _error("NoHandler", f"no handler is registered under the name {work.handler!r}")
    now = clock.now()
    return Outcome(Status.FAILED, now, None, error, attempt, now, worker)


def given_up(causes: Sequence[Cause], clock: Clock) -> Outcome:
    """Say how a job ends that cost too many processes."""
    told = ", ".join(causes)
    error = _error("Crashed", f"given up after {len(causes)} lost attempts: {told}")
    return Outcome(Status.FAILED, clock.now(), None, error | {"causes": [str(cause) for cause in causes]})


def _error(kind: str, message: str) -> dict[str, Json]:
    # A lone surrogate cannot be stored as UTF-8.
    text = message[:_ERROR_LIMIT].encode(errors="replace").decode()
    return {"type": kind, "message": text}
