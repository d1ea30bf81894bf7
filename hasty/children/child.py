"""A child and the call that it is at."""

import asyncio
import json
import logging
from collections.abc import Callable

from hasty.children import inside
from hasty.children.call import Call
from hasty.children.process import End, Process
from hasty.errors import ChildDied, HandlerRaised
from hasty.job import Json
from hasty.telemetry import ChildLost, emit

#: A frame has room for an error, or for what is told, beside the limit of a result.
_ENVELOPE = 64 * 1024


class Child:
    """A process that performs one call at a time.

    `freed` is called when it may be given another, `warned` when its grace begins. `lost` is
    called once, when it is gone, with a call that it was given and had not touched.
    """

    def __init__(
        self,
        freed: Callable[["Child"], None],
        warned: Callable[[], None],
        lost: Callable[["Child", Call | None], None],
        *,
        result_limit: int,
    ) -> None:
        """Start its process."""
        self._freed = freed
        self._warned = warned
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._call: Call | None = None
        #: Of its calls; the process counts them too.
        self._number = 0
        #: When its call was warned, on the loop's clock.
        self.warned_at: float | None = None
        self._ready = False
        #: Why it did not become ready, where that is known better than from its end.
        self._unready = ""
        self._process = Process(self._hear, self._ended, limit=result_limit + _ENVELOPE)

    @property
    def in_grace(self) -> bool:
        """Whether its call was warned and may still end by itself."""
        return self.warned_at is not None and not self._process.killed

    @property
    def usable(self) -> bool:
        """Whether it can be given another call, now or when it is done with this one."""
        return self._process.usable

    def greet(self, greeting: bytes, within_s: float) -> None:
        """Say how to prepare; kill it if that takes too long."""
        self._process.send(greeting)
        self._overdue = self._loop.call_later(within_s, self._give_up, within_s)

    def take(self, call: Call) -> None:
        """Perform a call."""
        self._call = call
        self._number += 1
        call.assign(self)
        self._process.send(call.content)

    def warn(self) -> None:
        """Let the function know that it is to end; kill the child if there is no function yet."""
        if not self._ready:
            self.kill()
        elif self.warned_at is None:
            self.warned_at = self._loop.time()
            self._process.warn(self._number)
            self._warned()

    def kill(self) -> None:
        """Kill it and its call."""
        if self._call is not None:
            self._call.unwanted = True
        self._process.kill()

    def _give_up(self, within_s: float) -> None:
        self._unready = f"not ready within {within_s:g} s"
        self._process.kill()

    def _hear(self, frame: bytes) -> None:
        kind, body = frame[:1], frame[1:]
        if kind == inside.READY:
            self._ready = True
            self._overdue.cancel()
        elif kind == inside.UNPREPARED:
            self._unready = "could not be prepared: {}: {}".format(*json.loads(body))
        elif self._call is not None:
            self._follow(self._call, kind, body)

    def _follow(self, call: Call, kind: bytes, body: bytes) -> None:
        if kind == inside.STARTED:
            call.begin()
        elif kind == inside.TOLD:
            call.hear(body)
        else:
            self._complete(call, kind, body)

    def _complete(self, call: Call, kind: bytes, body: bytes) -> None:
        self._call = self.warned_at = None
        call.finish(_returned(body) if kind == inside.RETURNED else _raised(body))
        if self._process.usable:
            self._freed(self)

    def _ended(self, end: End) -> None:
        self._overdue.cancel()
        cause = self._unready or end.cause
        if self._unready or not self._process.killed:
            emit(ChildLost(cause), level=logging.WARNING)
        call, self._call = self._call, None
        # It was well, and died before it touched the call: somebody else can have that.
        spared = call is not None and self._ready and not call.begun and not call.unwanted
        if call is not None and not spared:
            call.finish(ChildDied(cause, exit_code=end.exit_code))
        self._lost(self, call if spared else None)


def _returned(body: bytes) -> Json | HandlerRaised:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # deeper than we can read, here on the loop
        return HandlerRaised(f"not JSON: {error}", kind="BadResult")


def _raised(body: bytes) -> HandlerRaised:
    kind, text = json.loads(body)
    return HandlerRaised(text, kind=kind)
