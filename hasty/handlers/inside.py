"""A handler at work in a child process: what it is given there, and what is told of it.

While it works it tells `[EXTENDED, until_s]` (monotonic seconds, which the processes of a machine
share) and `[PROGRESSED, at, fraction, message]`. Its end is `[RETURNED, result]` or
`[RAISED, kind, text, whether it may be retried]`.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from hasty.clock import SystemClock
from hasty.handlers.catalogue import Handler
from hasty.handlers.context import JobContext
from hasty.handlers.loading import load
from hasty.handlers.term import Term
from hasty.job import Json, Progress, Work
from hasty.settings import Settings

EXTENDED, PROGRESSED, RETURNED, RAISED = "extended", "progressed", "returned", "raised"

#: A result comes with its kind, which takes less than so many bytes of JSON.
ROOM = 64

#: What is kept of the name of an error's class, and of what it says, in characters.
KIND_LIMIT, TEXT_LIMIT = 200, 2_000


class Parent(Protocol):
    """The line that a child has to its parent. See `hasty.children`."""

    def tell(self, value: Json) -> None:
        """Send a value; thread-safe."""
        ...

    def warned(self) -> bool:
        """Say whether the call is to end."""
        ...


#: What a child calls: its line to the parent, a job, the number of the attempt.
Performed = Callable[[Parent, Work, int], Json]


def in_child(settings: Settings) -> Mapping[str, Performed]:
    """Return all handlers as functions that block, for a child process: also the async ones.

    Raises as `load` does.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("hasty").setLevel(logging.INFO)
    clock = SystemClock()
    return {name: functools.partial(_perform, handler, clock) for name, handler in load(settings).items()}


def _perform(handler: Handler, clock: SystemClock, parent: Parent, work: Work, attempt: int) -> Json:
    """Perform an attempt; what the handler raises is a value, because its class exists only here."""
    term = Term(clock, timeout_s=work.timeout_s, max_timeout_s=handler.max_timeout_s)
    term.line = _Line(parent)
    context = JobContext.of(work, attempt, term)
    try:
        return [RETURNED, _call(handler, context, work.payload)]
    except BaseException as error:  # noqa: BLE001  all it may do wrong, also exit, is its own failure
        kind = kept(type(error).__name__, KIND_LIMIT)
        return [RAISED, kind, text_of(error), handler.retry.follows(error)]


def _call(handler: Handler, context: JobContext, payload: Json) -> Json:
    if handler.is_async:
        return asyncio.run(_until_warned(handler, context, payload))
    return handler.call_sync(context, payload)


#: How often an async handler in a child looks whether it is to end.
_LOOK_S = 0.1


async def _until_warned(handler: Handler, context: JobContext, payload: Json) -> Json:
    """Run an async handler, and cancel it when it is to end, as its own loop would have."""
    task = asyncio.ensure_future(handler.call(context, payload))
    while not task.done():
        await asyncio.wait((task,), timeout=_LOOK_S)
        if context.cancelled():
            task.cancel()
            break
    return await task


class _Line:
    """See `hasty.handlers.term.Line`."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def extended(self, until_s: float) -> None:
        self._parent.tell([EXTENDED, until_s])

    def progressed(self, progress: Progress) -> None:
        self._parent.tell([PROGRESSED, progress.at.isoformat(), progress.fraction, progress.message])

    def warned(self) -> bool:
        return self._parent.warned()


def text_of(error: BaseException) -> str:
    """Let an error say what it is, if it can; return what is kept of that."""
    with contextlib.suppress(Exception):
        return kept(str(error), TEXT_LIMIT)
    return ""


def kept(text: str, limit: int) -> str:
    """Return the beginning of a text. A lone surrogate cannot be stored as UTF-8."""
    return text[:limit].encode(errors="replace").decode()
