"""Where a handler is performed: in the worker's loop, or in a child that can be killed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from hasty.children import Call, Children
from hasty.errors import HandlerRaised
from hasty.flight import FlightRecorder
from hasty.handlers import Handler, JobContext
from hasty.job import Json


class Raised(NamedTuple):
    """What a handler raised, as a value."""

    kind: str
    text: str


class Play(NamedTuple):
    """A handler at work."""

    #: Its end. Raises ChildDied when it took its process with it.
    task: "asyncio.Task[Json | Raised]"
    #: Returns when it has begun: it may have to wait for a place.
    begun: Callable[[], Awaitable[None]]
    #: Makes it end: asks it to, or kills it.
    stop: Callable[[], object]


class Stage(Protocol):
    """A place for handlers."""

    def play(self, handler: Handler, context: JobContext, payload: Json, claim: str) -> Play:
        """Start an attempt, the one that `claim` opened."""
        ...


class InLoop:
    """The worker's own loop, which many async handlers share. Their steps are on record."""

    def __init__(self, recorder: FlightRecorder) -> None:
        """Record there."""
        self._recorder = recorder

    def play(self, handler: Handler, context: JobContext, payload: Json, claim: str) -> Play:
        """See `Stage`. It begins with the next turn of the loop."""
        steps = self._recorder.follow(_perform(handler, context, payload), context.job_id, claim)
        task = asyncio.ensure_future(steps)
        return Play(task, _at_once, task.cancel)


class InChild:
    """A child process: for sync handlers, and for any that may bring its process down."""

    def __init__(self, children: Children) -> None:
        """Use these children, which know the handlers by name."""
        self._children = children

    def play(self, handler: Handler, context: JobContext, payload: Json, _claim: str) -> Play:
        """See `Stage`. It begins when a child is free."""
        call = self._children.start(handler.name, context, payload)
        return Play(asyncio.ensure_future(_end_of(call)), call.started, call.kill)


async def _perform(handler: Handler, context: JobContext, payload: Json) -> Json | Raised:
    """Call the handler. All it may do wrong, also exit, is its own failure and not the worker's."""
    try:
        return await handler.call(context, payload)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  see above
        return Raised(type(error).__name__, _text(error))


async def _end_of(call: Call) -> Json | Raised:
    try:
        return await call.result()
    except HandlerRaised as error:
        return Raised(error.kind, error.text)


async def _at_once() -> None:
    return


def _text(error: BaseException) -> str:
    """Let an error say what it is, if it can."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  it is a user's code
        return ""
