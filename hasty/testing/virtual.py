"""A whole hasty for one test, on virtual time, asked by plain calls that block."""

import asyncio
import dataclasses
import itertools
import json
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Self, TypeVar, TypeVarTuple

from hasty.api.schemas import NewJob
from hasty.api.v1.describing import parse
from hasty.errors import JobRefused, UnknownJob
from hasty.handlers import SLEEP, Handler, Handlers, built_in
from hasty.handlers.loading import declared_in
from hasty.job import Job, Json, Outcome
from hasty.messages import Attached, Refused
from hasty.pools import DEFAULT_POOL
from hasty.store.base import Later, Record
from hasty.store.memory import MemoryLedger
from hasty.testing.inline import DEFAULTS, as_json, declared, refuse_in_a_loop
from hasty.testing.loop import VirtualLoop
from hasty.testing.system import Parts, System

Answer = TypeVar("Answer")
Args = TypeVarTuple("Args")

#: How often it is looked whether a job has ended.
_LOOK_S = 0.1

#: What was just decided is known everywhere after this.
_MOMENT_S = 0.1

#: When time passes and nobody works, hasty is idle for so long before it is switched off meanwhile.
_IDLE_S = 60.0

_HOUR_S = 3_600.0


class VirtualHasty:
    """Registry, Dispatcher, Gateway and one worker, in this process; stores in memory.

    Time passes when the test says so, or waits: five minutes in milliseconds, the same course each
    time. Handlers are given to it as functions, or as the import paths of their modules; `sleep` is
    always there. All pools are one. Its methods are for tests that are not async.

    An async handler may wait for time and for its own tasks. What it runs in a thread runs at once,
    and a socket it must not wait for. One that is not async runs at once, too, in this process, and
    takes no virtual time: it is never stopped, and never sees that it is cancelled.
    """

    def __init__(
        self,
        *handlers: Callable[..., Any] | str,
        timeout_s: float = DEFAULTS.timeout_s,
        rerun_window_s: float = DEFAULTS.rerun_window_s,
        slots: int = 100,
    ) -> None:
        """Start it. The rest is as in the settings; `slots` is how many attempts run at once.

        Raises CannotStart, FixTheHandler.
        """
        refuse_in_a_loop(_BLOCKS)
        self._chance = random.getstate()
        limits = {"timeout_s": timeout_s, "rerun_window_s": rerun_window_s}
        known = Handlers(*built_in(DEFAULTS.model_copy(update=limits)).values(), *_found(handlers, limits))
        self._loop = _Loop()
        self._system = self._run(self._start, known, slots)
        assert isinstance(self._system.ledger, _Ledger)
        self._ledger = self._system.ledger

    # What clients do -------------------------------------------------------------------------

    def submit(
        self,
        object_id: str,
        handler: str = SLEEP,
        payload: Any = None,
        *,
        on_conflict: str = "reject",
        delay: float = 0.0,
        timeout: float | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Job:
        """Ask for a job, as a client does; return it, or the one it was attached to, as it stands then.

        Raises JobRefused when the object's newest job stands in the way, and InvalidRequest,
        PayloadTooLarge or UnknownHandler for what can never be a job.
        """
        wanted = {"object_id": object_id, "handler": handler, "payload": as_json(payload)}
        wanted |= {"on_conflict": on_conflict, "delay": delay, "timeout": timeout, "labels": labels or {}}
        answer = self._run(self._system.order, parse(NewJob, json.dumps(wanted).encode()).order())
        match answer:
            case Refused(reason, job_id, retry_after_s):
                raise JobRefused(code=str(reason), job_id=job_id, retry_after=retry_after_s)
            case Attached():
                return self.get(answer.job_id)
        return self.get(answer.work.job_id)

    def get(self, job: Job | str) -> Job:
        """Return the job, or the one with this id, as it stands now. Raises UnknownJob."""
        found = self._run(self._system.get, _id(job))
        if found is None:
            raise UnknownJob(f"There is no job with the id {_id(job)}.")
        return _as_read(found)

    def wait(self, job: Job | str, within: float = _HOUR_S) -> Job:
        """Let time pass until the job has ended, however it did; return it.

        Raises TimeoutError when it has not ended after so many virtual seconds, and UnknownJob.
        """
        first = self.get(job)
        if not self._run(self._ends, first.job_id, within):
            now = self.get(job)
            raise TimeoutError(
                f"after {within:g} s the job is {now.status}, attempt {now.attempt} of {now.handler!r}"
            )
        return self.get(job)

    def cancel(self, job: Job | str, reason: str = "") -> Job:
        """End the job wherever it stands, unless it has ended; return it as it stands then.

        Its handler has heard of it. Raises UnknownJob.
        """
        self._run(self._system.cancel, _id(job), reason)
        self._run(asyncio.sleep, _MOMENT_S)
        return self.get(job)

    # What a test does ------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self._run(self._pass, seconds)

    def crash_worker(self, *, at_end: bool = False) -> None:
        """Kill the worker's process in the middle of what it does: its attempts run again in the next one.

        With `at_end`, only when the next attempt has ended, just before anybody hears of that: all it
        did is done, and is done again.
        """
        if at_end:
            self._ledger.crash = self._crash
        else:
            self._crash()

    def close(self) -> None:
        """End it, and all that runs in it."""
        if not self._loop.is_closed():
            self._loop.end()
            self._loop.close()
            random.setstate(self._chance)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # Inside ----------------------------------------------------------------------------------

    def _run(self, ask: Callable[[*Args], Coroutine[Any, Any, Answer]], *args: *Args) -> Answer:
        refuse_in_a_loop(_BLOCKS)
        return self._loop.run_until_complete(ask(*args))

    async def _start(self, handlers: Handlers, slots: int) -> System:
        system = System(handlers, workers=1, slots=slots, parts=Parts(ledger=_Ledger))
        system.start_all()
        await system.ready()
        return system

    async def _ends(self, job_id: str, within_s: float) -> bool:
        until_s = self._loop.time() + within_s
        while self._system.jobs.jobs[job_id].live and self._loop.time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        return not self._system.jobs.jobs[job_id].live

    async def _pass(self, seconds: float) -> None:
        """Nobody would miss an idle hasty for days; it takes no steps while it is switched off."""
        until_s = self._loop.time() + seconds
        await asyncio.sleep(min(seconds, _IDLE_S))
        left_s = until_s - self._loop.time()
        if left_s > _IDLE_S and not any(job.live for job in self._system.jobs.jobs.values()):
            self._system.kill_all()
            await asyncio.sleep(left_s - _IDLE_S)
            self._system.start_all()
            await self._system.ready()
        await asyncio.sleep(until_s - self._loop.time())
        self._system.jobs.expire()

    def _crash(self) -> None:
        for name in self._system.workers:
            for place in tuple(self._system.places.get(name, ())):
                self._system.execute(place.identity)


_BLOCKS = "a virtual hasty runs its own loop: ask it in a test that is not async"


class _Loop(VirtualLoop):
    """There are no threads on virtual time."""

    def run_in_executor(
        self, _executor: Executor | None, func: Callable[[*Args], Answer], *args: *Args
    ) -> "asyncio.Future[Answer]":
        """Run it at once, here."""
        future: asyncio.Future[Answer] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  it is its caller's
            future.set_exception(error)
        return future


class _Ledger(MemoryLedger):
    """A ledger whose worker may die just before an end is on record."""

    crash: Callable[[], None] | None = None

    async def record(self, records: Sequence[Record]) -> list[Outcome | Later | None]:
        """See `Ledger`."""
        crash, self.crash = self.crash, None
        if crash is None:
            return await super().record(records)
        crash()
        return [None for _ in records]


def _found(handlers: Iterable[Callable[..., Any] | str], limits: dict[str, float]) -> list[Handler]:
    """Return the handlers, each once. There is one pool here, and it has all of them."""
    named = (declared_in(given) if isinstance(given, str) else [declared(given)] for given in handlers)
    found = dict.fromkeys(itertools.chain.from_iterable(named))
    return [dataclasses.replace(one.handler(**limits), pool=DEFAULT_POOL) for one in found]


def _id(job: Job | str) -> str:
    return job if isinstance(job, str) else job.job_id


def _as_read(job: Job) -> Job:
    result: Json = json.loads(json.dumps(job.result))
    return dataclasses.replace(job, result=result)
