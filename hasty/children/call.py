"""A function that runs in a child, or will."""

import asyncio
import contextlib
from collections.abc import Callable

from hasty.errors import ChildDied, HandlerFailed
from hasty.job import Json


class Call:
    """What its caller holds; the second half is for the child that performs it."""

    def __init__(self, content: bytes) -> None:
        """Calls are made by `Children.start`."""
        #: Function and arguments, as they go to the child.
        self.content = content
        #: Whether its end was asked for.
        self.killed = False
        self._stop: Callable[[], None] | None = None
        loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = loop.create_future()
        # The end is a value, so that an error which nobody asks for is no warning.
        self._end: asyncio.Future[Json | HandlerFailed] = loop.create_future()

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

    def kill(self) -> None:
        """End it now, by SIGKILL where it runs. Nothing happens to a call that is over."""
        if self.over:
            return
        self.killed = True
        if self._stop is None:
            self.finish(ChildDied("killed before it started"))
        else:
            self._stop()

    # For its child ------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether the function has begun, or never will."""
        return self._begun.done()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._end.done()

    def assign(self, stop: Callable[[], None] | None) -> None:
        """Note how it is stopped from now on; None while it waits."""
        self._stop = stop

    def begin(self) -> None:
        """Note that the function begins."""
        with contextlib.suppress(asyncio.InvalidStateError):
            self._begun.set_result(None)

    def finish(self, end: Json | HandlerFailed) -> None:
        """Note how it ended; once."""
        self.begin()
        self._end.set_result(end)
