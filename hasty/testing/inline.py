"""One attempt of a handler, here and now: no hasty, no other process, real time."""

import asyncio
import json
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_jsonable_python

from hasty.actors.perform import Performance
from hasty.actors.stages import Play
from hasty.api.gateway import check_payload
from hasty.clock import SystemClock
from hasty.errors import BadResult, FixTheHandler
from hasty.handlers import JobContext, Term
from hasty.handlers.decorator import Declaration, declaration_of
from hasty.job import Json, Outcome, Progress, Status, Work, first_id_of
from hasty.settings import Settings

#: What handlers get that do not say otherwise. The environment has no say: a test is the same everywhere.
DEFAULTS = Settings.load({})

#: When the job of run 0 would have been accepted; any fixed moment would do.
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Overran(TimeoutError):
    """The attempt took longer than it may, or was silent for longer: its job would be cancelled."""


class _FakeTerm(Term):
    """A term by real time that keeps what it hears. Nobody looks after it: it ends by itself."""

    def __init__(self, timeout_s: float, max_timeout_s: float | None) -> None:
        super().__init__(SystemClock(), timeout_s=timeout_s, max_timeout_s=max_timeout_s)
        self.heard: list[Progress] = []
        self.tell = self.heard.append

    @property
    def over(self) -> bool:
        return super().over or self.remaining_s <= 0


class FakeContext(JobContext):
    """A context like any other, of a job that is nowhere. What is below here is for the test alone."""

    __slots__ = ()

    @property
    def reported(self) -> tuple[Progress, ...]:
        """What the handler said with `progress`, in order; no report is lost here."""
        return tuple(self._fake.heard)

    def cancel(self) -> None:
        """Let `cancelled` say so from now on. Stops nothing by itself."""
        self._fake.end()

    @property
    def _fake(self) -> _FakeTerm:
        assert isinstance(self._term, _FakeTerm)
        return self._term


def context(
    *,
    object_id: str = "object-1",
    handler: str = "handler",
    run: int = 1,
    attempt: int = 1,
    timeout: float | None = None,
    max_timeout: float | None = None,
) -> FakeContext:
    """Return a context for calling a handler as the function it is.

    Its time counts from now, by the real clock; `timeout` and `max_timeout` mean what they mean in
    `@hasty.handler`. Fences grow with `run` and `attempt`, as real ones do.
    """
    work = _work(object_id, handler, run, None, DEFAULTS.timeout_s if timeout is None else timeout)
    return _context(work, attempt, _FakeTerm(work.timeout_s, max_timeout))


def _work(object_id: str, handler: str, run: int, payload: Json, timeout_s: float) -> Work:
    accepted_at = _BEGINNING + timedelta(hours=run)
    job_id = f"{first_id_of(accepted_at)}-7000-8000-{zlib.crc32(object_id.encode()):012x}"
    return Work(job_id, object_id, run, handler, payload, 0, accepted_at, timeout_s)


def _context(work: Work, attempt: int, term: _FakeTerm) -> FakeContext:
    made = FakeContext.of(work, attempt, term)
    assert isinstance(made, FakeContext)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """An attempt whose job would be finished."""

    #: As clients read it: JSON.
    result: Json
    #: The context that the handler had.
    job: FakeContext

    @property
    def progress(self) -> tuple[Progress, ...]:
        """What the handler reported, in order."""
        return self.job.reported


def perform(
    function: Callable[..., Any],
    payload: Any = None,
    *,
    object_id: str = "object-1",
    run: int = 1,
    attempt: int = 1,
    timeout: float | None = None,
) -> Performed:
    """Run one attempt of a handler, judge it as a worker would, and return how it finished.

    The payload is JSON, or what pydantic makes JSON of, and is checked as when a client sends it;
    the result is checked as when a worker keeps it. All runs in this process and takes real time.
    Retries, crashes and the rerun window are a matter of jobs: see `VirtualHasty`.

    Args:
        function: The handler, async or not.
        payload: What a client would send.
        object_id: What the job is about.
        run: Ordinal of the job among its object's jobs.
        attempt: Ordinal of this start of the handler.
        timeout: In place of the handler's own. A handler that is not async cannot be interrupted: it
            is judged when it returns.

    Raises:
        InvalidRequest, PayloadTooLarge: No job would exist with this payload.
        BadResult: What the handler returned cannot be its result.
        Overran: The attempt was stopped, because its timeout or its stall timeout had passed.
        FixTheHandler: The function is no handler.
        RuntimeError: A loop runs here: await `perform_async`.
        Exception: Whatever the handler raises, as it is.
    """
    refuse_in_a_loop("perform blocks; in an async test await hasty.testing.perform_async")
    tried = _Attempt(function, payload, object_id=object_id, run=run, attempt=attempt, timeout=timeout)
    steps = tried.steps()
    # With a factory of its own it leaves alone which loop is the current one.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(tried.judged(steps))


async def perform_async(
    function: Callable[..., Any],
    payload: Any = None,
    *,
    object_id: str = "object-1",
    run: int = 1,
    attempt: int = 1,
    timeout: float | None = None,  # noqa: ASYNC109  the handler's, not the caller's
) -> Performed:
    """Do as `perform` does, in the running loop; a handler that is not async blocks it meanwhile."""
    tried = _Attempt(function, payload, object_id=object_id, run=run, attempt=attempt, timeout=timeout)
    return await tried.judged(tried.steps())


class _Attempt:
    """A handler, and the job that it is tried with."""

    def __init__(
        self,
        function: Callable[..., Any],
        payload: Any,
        *,
        object_id: str,
        run: int,
        attempt: int,
        timeout: float | None,
    ) -> None:
        self._handler = declared(function).handler(
            timeout_s=DEFAULTS.timeout_s, rerun_window_s=DEFAULTS.rerun_window_s
        )
        sent = as_json(payload)
        check_payload(self._handler, sent)
        self._attempt = attempt
        limit_s = self._handler.timeout_s if timeout is None else timeout
        self._work = _work(object_id, self._handler.name, run, sent, limit_s)
        self._term = _FakeTerm(self._work.timeout_s, self._handler.max_timeout_s)
        self._job = _context(self._work, attempt, self._term)

    def steps(self) -> Coroutine[Any, Any, Json]:
        """Return what there is to do in a loop. A handler that is not async runs now: it may want its own."""
        if self._handler.is_async:
            return self._handler.call(self._job, self._work.payload)
        result = self._handler.call_sync(self._job, self._work.payload)
        if self._term.over:
            raise Overran(f"{self._handler.name} ran longer than it may")
        return _known(result)

    async def judged(self, steps: Coroutine[Any, Any, Json]) -> Performed:
        """Look after it as a worker does."""
        task = asyncio.ensure_future(steps)
        performance = Performance(
            Play(task, lambda _grace_s: task.cancel()),
            self._work,
            self._attempt,
            term=self._term,
            stall_s=self._handler.stall_timeout_s,
            clock=SystemClock(),
            worker="inline",
        )
        try:
            outcome = (await performance.ending()).outcome
        finally:
            if not performance.over:
                await performance.stop(self._handler.grace_s)
        return Performed(result=_result(outcome), job=self._job)


async def _known(result: Json) -> Json:
    return result


def _result(outcome: Outcome) -> Json:
    """Return the result as it is read back; raise what an attempt without one amounts to."""
    if outcome.status is Status.FINISHED:
        return json.loads(json.dumps(outcome.result))
    assert outcome.error is not None
    kind, message = outcome.error["type"], outcome.error["message"]
    if outcome.status is Status.CANCELLED:
        raise Overran(f"the handler {message}")
    raise BadResult(message) if kind == BadResult.__name__ else asyncio.CancelledError(message)


def declared(function: Callable[..., Any]) -> Declaration:
    """Return what was declared of a function. Raises FixTheHandler if nothing was."""
    found = declaration_of(function)
    if found is None:
        raise FixTheHandler(f"{function!r} is no handler: put @hasty.handler above it")
    return found


def as_json(payload: Any) -> Json:
    """Return what a client would send: field names are the models' aliases."""
    return to_jsonable_python(payload, by_alias=True)


def refuse_in_a_loop(told: str) -> None:
    """Raise RuntimeError in a thread that runs a loop: whoever blocks there blocks what it waits for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(told)
