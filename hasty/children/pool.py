"""Who performs which call."""

import asyncio
import pickle
import sys
from collections import deque
from collections.abc import Callable, Mapping

from hasty.children.call import Call, Hear
from hasty.children.child import Child
from hasty.job import Json

#: Called once in each child, at its start; returns the functions that it can run, by name. Each is
#: called with an `inside.Line` to us and then the arguments of the call.
Prepare = Callable[[], Mapping[str, Callable[..., Json]]]


class Children:
    """Runs sync functions in warm child processes, one call at a time in each.

    At most `slots` processes live at once, none before the first call. Calls that find no room
    wait in order. A child that dies ends the call it was at and no other; one that it had not
    begun goes back to the head of the queue. To be used on one loop.

    A child whose call was warned takes no slot while it has its grace, so there may be `slots` more.
    When yet another call is warned, the one that was warned first is killed at once. A call that
    ends within its grace leaves its child warm if there is a slot for it by then.
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
        self._alive: set[Child] = set()
        #: Who was busy last comes first: its memory is warm, and the others may be swapped out.
        self._idle: list[Child] = []
        self._closed = False
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    def start(self, function: str, *arguments: object, hear: Hear | None = None) -> Call:
        """Call a function by its name in a child. The arguments are pickled, at once.

        `hear` is called on the loop with each value that the function tells, in order, and before
        the call is over. An error of `hear` goes to the loop's error handler, and so does a value
        that is nested too deeply to be read here.
        """
        if self._closed:
            raise RuntimeError("these children are closed")
        call = Call(pickle.dumps((function, arguments)), hear)
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
        while self._waiting and (self._idle or self._has_room()):
            call = self._waiting.popleft()
            if not call.over:  # it may have been killed while it waited
                child = self._idle.pop() if self._idle else self._bear()
                child.take(call)

    def _has_room(self) -> bool:
        """Whether one more may be started. One that was killed takes its slot until it is gone."""
        return len(self._alive) - len(self._in_grace()) < self._slots

    def _in_grace(self) -> list[Child]:
        return [child for child in self._alive if child.in_grace]

    def _bear(self) -> Child:
        greeting = pickle.dumps((sys.path, self._prepare, self._result_limit))
        child = Child(self._freed, self._make_room, self._lost, result_limit=self._result_limit)
        child.greet(greeting, self._ready_within_s)
        self._alive.add(child)
        self._all_gone.clear()
        return child

    def _freed(self, child: Child) -> None:
        if sum(other.usable and not other.in_grace for other in self._alive) > self._slots:
            child.kill()  # it had its grace, and its slot was given away
        else:
            self._idle.append(child)
            self._assign()

    def _make_room(self) -> None:
        """One more has its grace: that frees its slot, and may be too many."""
        in_grace = self._in_grace()
        if len(in_grace) > self._slots:
            min(in_grace, key=lambda child: child.warned_at or 0.0).kill()
        self._assign()

    def _lost(self, child: Child, orphan: Call | None) -> None:
        self._alive.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if orphan is not None:
            orphan.assign(None)
            self._waiting.appendleft(orphan)
        self._assign()
        if not self._alive:
            self._all_gone.set()
