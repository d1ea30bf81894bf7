"""Who performs which call."""

import asyncio
import json
import logging
import pickle
import sys
from collections import deque
from collections.abc import Callable, Mapping

from hasty.children import inside
from hasty.children.call import Call
from hasty.children.process import End, Process
from hasty.errors import ChildDied, HandlerRaised
from hasty.job import Json
from hasty.telemetry import ChildLost, emit

#: Called once in each child, at its start; returns the functions that it can run, by name.
Prepare = Callable[[], Mapping[str, Callable[..., Json]]]

#: A frame has room for an error beside the limit of a result.
_ENVELOPE = 64 * 1024


class Children:
    """Runs sync functions in warm child processes, one call at a time in each.

    At most `slots` processes live at once, none before the first call. Calls that find no room
    wait in order. A child that dies ends the call it was at and no other; one that it had not
    begun goes back to the head of the queue. To be used on one loop.
    """

    def __init__(
        self,
        slots: int,
        prepare: Prepare,
        *,
        result_limit: int = 256 * 1024,
        ready_within_s: float = 60.0,
    ) -> None:
        """Start nothing yet. `prepare` is pickled.

        A result over `result_limit` bytes of JSON is a failure of its call. A child that is not
        prepared after `ready_within_s` is killed, and the call it was started for ends with that.
        """
        self._slots = slots
        self._prepare = pickle.dumps(prepare)
        self._result_limit = result_limit
        self._ready_within_s = ready_within_s
        self._waiting: deque[Call] = deque()
        #: All that are not yet gone, also those that were killed.
        self._alive: set[_Child] = set()
        #: Who was busy last comes first: its memory is warm, and the others may be swapped out.
        self._idle: list[_Child] = []
        self._closed = False
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    def start(self, function: str, *arguments: object) -> Call:
        """Call a function by its name in a child. The arguments are pickled, at once."""
        if self._closed:
            raise RuntimeError("these children are closed")
        call = Call(pickle.dumps((function, arguments)))
        self._waiting.append(call)
        self._assign()
        return call

    async def close(self) -> None:
        """Kill all children, and return when they are gone. Calls that are not over end with ChildDied."""
        self._closed = True
        for call in self._waiting:
            call.kill()
        for child in self._alive:
            child.kill()
        await self._all_gone.wait()

    def _assign(self) -> None:
        """Give calls away while somebody is idle or may be started."""
        while self._waiting and (self._idle or len(self._alive) < self._slots):
            call = self._waiting.popleft()
            if not call.over:  # it may have been killed while it waited
                child = self._idle.pop() if self._idle else self._bear()
                child.take(call)

    def _bear(self) -> "_Child":
        greeting = pickle.dumps((sys.path, self._prepare, self._result_limit))
        child = _Child(self._freed, self._lost, limit=self._result_limit + _ENVELOPE)
        child.greet(greeting, self._ready_within_s)
        self._alive.add(child)
        self._all_gone.clear()
        return child

    def _freed(self, child: "_Child") -> None:
        self._idle.append(child)
        self._assign()

    def _lost(self, child: "_Child", orphan: Call | None) -> None:
        self._alive.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if orphan is not None:
            orphan.assign(None)
            self._waiting.appendleft(orphan)
        self._assign()
        if not self._alive:
            self._all_gone.set()


class _Child:
    """A process and the call that it is at."""

    def __init__(
        self,
        freed: Callable[["_Child"], None],
        lost: Callable[["_Child", Call | None], None],
        *,
        limit: int,
    ) -> None:
        self._freed = freed
        self._lost = lost
        self._call: Call | None = None
        self._ready = False
        #: Why it did not become ready, where that is known better than from its end.
        self._unready = ""
        self._process = Process(self._hear, self._ended, limit=limit)

    def greet(self, greeting: bytes, within_s: float) -> None:
        """Say how to prepare; kill it if that takes too long."""
        self._process.send(greeting)
        self._overdue = asyncio.get_running_loop().call_later(within_s, self._give_up, within_s)

    def take(self, call: Call) -> None:
        """Perform a call."""
        self._call = call
        call.assign(self._process.kill)
        self._process.send(call.content)

    def kill(self) -> None:
        """Kill it and its call."""
        if self._call is not None:
            self._call.kill()
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
        elif self._call is not None and kind == inside.STARTED:
            self._call.begin()
        elif self._call is not None:
            self._complete(self._call, kind, body)

    def _complete(self, call: Call, kind: bytes, body: bytes) -> None:
        self._call = None
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
        spared = call is not None and self._ready and not call.begun and not call.killed
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
