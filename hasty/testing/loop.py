"""A loop in which waiting takes no time, and in which a process can stop between any two steps."""

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

from hasty.testing.process import OWNER, Process, Step

Result = TypeVar("Result")
Args = TypeVarTuple("Args")

#: Tasks that have ended are let go of when so many more were started.
_TASKS_BETWEEN_CLEARINGS = 1_000


class _Task(asyncio.Task[Any]):
    """A task whose hash is its number: asyncio keeps tasks in sets, whose order so is the same each time."""

    _number: int

    def __hash__(self) -> int:
        try:
            return self._number
        except AttributeError:
            loop = self.get_loop()
            assert isinstance(loop, VirtualLoop)
            self._number = next(loop.numbers)
            return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in which waiting takes no time: five minutes pass in milliseconds.

    Only timers and tasks exist in it; whoever waits for a socket or a thread waits in vain. What
    belongs to a `Process` runs only while that one lives and is not frozen. The same scenario
    makes the same steps in the same order each time.
    """

    def __init__(self) -> None:
        """Start at second zero."""
        super().__init__()
        self.numbers = itertools.count()
        self._now = 0.0
        self._soon: deque[Step] = deque()
        self._later: list[tuple[float, int, Step]] = []
        self._processes: list[Process] = []
        # Nobody else need hold a task, least of all a dead process's: it must not end by being forgotten.
        self._tasks: list[_Task] = []
        self._clear_at = _TASKS_BETWEEN_CLEARINGS

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    def process(self, name: str) -> Process:
        """Begin a process; the name is for people."""
        process = Process(name, self._soon.extend)
        self._processes.append(process)
        return process

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: contextvars.Context | None = None
    ) -> Step:
        """See `asyncio.AbstractEventLoop`."""
        step = Step(self._now, callback, args, context)
        self._soon.append(step)
        return step

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Args], object],
        *args: *Args,
        context: contextvars.Context | None = None,
    ) -> Step:
        """See `asyncio.AbstractEventLoop`."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Args], object],
        *args: *Args,
        context: contextvars.Context | None = None,
    ) -> Step:
        """See `asyncio.AbstractEventLoop`."""
        step = Step(when, callback, args, context)
        if when > self._now:
            heapq.heappush(self._later, (when, next(self.numbers), step))
        else:
            self._soon.append(step)
        return step

    def create_task(
        self, coro: Any, *, name: object = None, context: contextvars.Context | None = None
    ) -> _Task:
        """See `asyncio.AbstractEventLoop`. What a process starts is its own, in whichever context."""
        owner = OWNER.get(None)
        if context is not None and owner is not None and OWNER not in context:
            context.run(OWNER.set, owner)
        task = _Task(coro, loop=self, name=str(name) if name else None, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._clear_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._clear_at = len(self._tasks) + _TASKS_BETWEEN_CLEARINGS
        return task

    def end(self) -> None:
        """Cancel every task and let it end, also those of processes that cannot."""
        # Whoever is dropped has nothing to say.
        self.set_exception_handler(lambda _loop, _context: None)
        while left := [task for task in self._tasks if not task.done()]:
            # Again and again: a cancellation can be swallowed, and a process can die of one.
            for process in self._processes:
                process.release()
            for task in left:
                task.cancel()
            self.run_until_complete(asyncio.wait(left, timeout=1.0))

    def _run_once(self) -> None:
        """Make what steps are due; when none is, move time to the next. asyncio's own loop calls it."""
        soon = self._soon
        while not self._stopping:
            if not soon:
                self._advance()
            for _ in range(len(soon)):
                step = soon.popleft()
                if step.call is None:
                    continue
                if step.owner is not None and step.owner.watched and not step.owner.may_make(step):
                    continue
                try:
                    step.context.run(step.call, *step.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001  as every loop does
                    self.call_exception_handler({"message": f"{step.call} raised", "exception": error})

    _stopping: bool

    def _write_to_self(self) -> None:
        """Wake nobody: the loop never sleeps."""

    def _advance(self) -> None:
        """Move to the next moment at which something is due, and take all that is."""
        later = self._later
        while later and later[0][2].call is None:
            heapq.heappop(later)
        if not later:
            raise RuntimeError("nothing is left that could ever happen")
        self._now = later[0][0]
        while later and later[0][0] <= self._now:
            self._soon.append(heapq.heappop(later)[2])


def run_virtually(scenario: Coroutine[Any, Any, Result]) -> Result:
    """Run a scenario to its end in a virtual loop, and drop what it left behind."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(scenario)
    finally:
        loop.end()
        loop.close()
