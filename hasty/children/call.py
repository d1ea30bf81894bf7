"""A function that runs in a child, or will."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Protocol

from hasty.errors import ChildDied, HandlerFailed
from hasty.job import Json

#: Called on the loop with each value that a function tells.
Hear = Callable[[Json], None]


class Performer(Protocol):
    """The child that a call was given to."""

    def kill(self) -> None:
        """End it now."""
        ...

    def warn(self) -> None:
        """Let the function know that it is to end."""
        ...


class Call:
    """What its caller holds; the second half is for the child that performs it."""

    def __init__(self, content: bytes, hear: Hear | None = None) -> None:
        """Calls are made by `Children.start`."""
        #: Function and arguments, as they go to the child.
        self.content = content
        #: Whether its end was asked for.
        self.unwanted = False
        self._hear = hear
        self._performer: Performer | None = None
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        # The end is a value, so that an error which nobody asks for is no warning.
        self._end: asyncio.Future[Json | HandlerFailed] = self._loop.create_future()

    async def started(self) -> None:
        """Return when the function begins, or when it is known that it never will."""
        await asyncio.shield(self._begun)

    async def result(self) -> Json:
        """Return what the function returned; may be asked by several, and again.

        Raises HandlerRaised for what it raised or for a result that is not JSON, ChildDied when its
        process died or was killed. Whoever is cancelled here only stops waiting.
        """
        end = await asyncio.shield(self._end)
        if isinstance(end, HandlerFailed):
            raise end
        return end

    def warn(self, grace_s: float) -> None:
        """Let the function know that it is to end, and kill it if it has not ended after `grace_s`.

        It ends as it would without: with what it returns or raises within its grace, with ChildDied
        if it is killed. Its child may be killed sooner to make room, see `Children`. A call that
        waits for a child, or for its child to be ready, is killed at once; nothing happens to one
        that is over. May be called again: the earliest end of a grace counts.
        """
        if self.over:
            return
        if self._performer is None or grace_s <= 0:
            self.kill()
            return
        self.unwanted = True
        timer = self._loop.call_later(grace_s, self.kill)
        self._end.add_done_callback(lambda _: timer.cancel())
        self._performer.warn()

    def kill(self) -> None:
        """End it now, by SIGKILL where it runs. Nothing happens to a call that is over."""
        if self.over:
            return
        self.unwanted = True
        if self._performer is None:
            self.finish(ChildDied("killed before it started"))
        else:
            self._performer.kill()

    # For its child ------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether the function has begun, or never will."""
        return self._begun.done()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._end.done()

    def assign(self, performer: Performer | None) -> None:
        """Note whom it was given to; None while it waits."""
        self._performer = performer

    def begin(self) -> None:
        """Note that the function begins."""
        with contextlib.suppress(asyncio.InvalidStateError):
            self._begun.set_result(None)

    def hear(self, told: bytes) -> None:
        """Pass on what the function tells. What goes wrong with that is for the loop's error handler."""
        if self._hear is None:
            return
        try:
            self._hear(json.loads(told))
        except Exception as error:  # noqa: BLE001  whatever it is, the child must be heard further
            context = {"message": "what a child told was not heard", "exception": error}
            self._loop.call_exception_handler(context)

    def finish(self, end: Json | HandlerFailed) -> None:
        """Note how it ended; once."""
        self.begin()
        self._end.set_result(end)
