"""Where a handler is performed: in the worker's loop, or in a child that can be killed."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from hasty.children import Call, Children
from hasty.errors import HandlerRaised
from hasty.flight import FlightRecorder
from hasty.handlers import Handler, JobContext, Term
from hasty.handlers.inside import EXTENDED, PROGRESSED, RETURNED, text_of
from hasty.job import Json, Progress, Work


class Raised(NamedTuple):
    """What a handler raised, as a value."""

    kind: str
    text: str
    #: Whether the handler says that another attempt may do better.
    retry: bool = False


class Play(NamedTuple):
    """A handler at work."""

    #: Its end. Raises ChildDied when it took its process with it.
    task: "asyncio.Task[Json | Raised]"
    #: Makes it end within so many seconds: asks it to, and then kills it if it can be killed.
    stop: Callable[[float], object]
    #: Done when it has begun, or never will: it may have to wait for a place. None: it has begun.
    begun: "asyncio.Future[None] | None" = None


class Stage(Protocol):
    """A place for handlers."""

    def play(self, handler: Handler, work: Work, attempt: int, claim: str, term: Term) -> Play:
        """Start an attempt, the one that `claim` opened; `term` is its time, and hears of its progress."""
        ...


class InLoop:
    """The worker's own loop, which many async handlers share. Their steps are on record."""

    def __init__(self, recorder: FlightRecorder) -> None:
        """Record there."""
        self._recorder = recorder

    def play(self, handler: Handler, work: Work, attempt: int, claim: str, term: Term) -> Play:
        """See `Stage`. It begins with the next turn of the loop."""
        steps = _perform(handler, JobContext.of(work, attempt, term), work.payload)
        task = asyncio.ensure_future(self._recorder.follow(steps, work.job_id, claim))
        return Play(task, lambda _grace_s: task.cancel())


class InChild:
    """A child process: for sync handlers, and for any that may bring its process down."""

    def __init__(self, children: Children) -> None:
        """Use these children, which know the handlers by name."""
        self._children = children

    def play(self, handler: Handler, work: Work, attempt: int, _claim: str, term: Term) -> Play:
        """See `Stage`. It begins when a child is free."""
        call = self._children.start(handler.name, work, attempt, hear=lambda told: _hear(term, told))
        task = asyncio.ensure_future(_end_of(call))
        return Play(task, call.warn, asyncio.ensure_future(call.started()))


async def _perform(handler: Handler, context: JobContext, payload: Json) -> Json | Raised:
    """Call the handler. All it may do wrong, also exit, is its own failure and not the worker's."""
    try:
        return await handler.call(context, payload)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  see above
        return Raised(type(error).__name__, text_of(error), handler.retry.follows(error))


async def _end_of(call: Call) -> Json | Raised:
    try:
        kind, *told = await call.result()
    except HandlerRaised as error:
        return Raised(error.kind, error.text)
    return told[0] if kind == RETURNED else Raised(*told)


def _hear(term: Term, told: Json) -> None:
    """Take what a handler in a child tells: see `hasty.handlers.inside`."""
    kind, *about = told
    if kind == EXTENDED:
        term.extend_until(*about)
    elif kind == PROGRESSED:
        at, fraction, message = about
        term.progressed(Progress(datetime.fromisoformat(at), fraction, message))
