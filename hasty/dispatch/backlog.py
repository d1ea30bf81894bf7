"""The head of a pool's queue: a window on the backlog.

It holds every queued job up to a horizon in the order of the queue. Jobs behind the horizon stay
in MongoDB and come with a later sweep, so memory is bounded however long the backlog is.
"""

import bisect
import heapq
import itertools
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from hasty.job import Work

#: Jobs, and bytes of them, held in memory before the rest stays in MongoDB. Twice as much is held at most.
CAPACITY = 4_000
CAPACITY_BYTES = 128 * 1024 * 1024

#: Jobs that nobody forwarded wait so long at most.
SWEEP_EVERY_S = 5.0

#: Keys that jobs left behind, beside as many as there are jobs, before they are cleared away.
_KEYS_LEFT = 1_000

#: A place in the queue.
_Order = tuple[int, datetime, str]


class _Waiting(NamedTuple):
    """A job that waits for a slot, since when it is known to, and what it weighs."""

    work: Work
    since: float
    bytes: int


class Backlog:
    """Jobs that wait, in order. Those that `elsewhere` knows are not to be queued."""

    def __init__(
        self, capacity: int, elsewhere: Callable[[str], bool], capacity_bytes: int = CAPACITY_BYTES
    ) -> None:
        """Start empty; twice `capacity` jobs are held at most, and of heavy ones twice `capacity_bytes`."""
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._elsewhere = elsewhere
        self._waiting: dict[str, _Waiting] = {}
        self._bytes = 0
        #: Keys in order; a job that left the queue another way left its key behind.
        self._queue: list[tuple[_Order, str]] = []
        #: Everything in the queue up to this place is held; None: everything is.
        self._horizon: _Order | None = None
        #: Since the last sweep began: a job was left out; jobs were given back to MongoDB.
        self._missed = False
        self._trimmed = False
        #: Offers behind the horizon while a sweep is under way: it may have read before they came.
        self._aside: list[Work] = []
        self._aside_bytes = 0
        self._sweeping = False
        self._next_sweep = 0.0

    def __len__(self) -> int:
        """Return how many jobs wait in memory."""
        return len(self._waiting)

    def __contains__(self, job_id: str) -> bool:
        """Tell whether a job waits in memory."""
        return job_id in self._waiting

    @property
    def job_ids(self) -> Iterable[str]:
        """The jobs that wait in memory."""
        return self._waiting

    def oldest_wait_s(self, now: float) -> float:
        """Return for how long the next job has waited, as far as is known; 0 when none waits."""
        first = self._first()
        return 0.0 if first is None else now - first.since

    def offer(self, works: Iterable[Work], now: float) -> None:
        """Take note of jobs that somebody says are in the queue."""
        for work in works:
            if self._horizon is None or work.order <= self._horizon:
                self.put(work, now)
            elif self._sweeping and self._has_room_aside():
                self._aside.append(work)
                self._aside_bytes += work.weight
            else:
                self._missed = True
        self._trim()

    def put(self, work: Work, now: float) -> None:
        """Let a job wait, unless it does or is known elsewhere."""
        if work.job_id not in self._waiting and not self._elsewhere(work.job_id):
            waiting = self._waiting[work.job_id] = _Waiting(work, now, work.weight)
            self._bytes += waiting.bytes
            heapq.heappush(self._queue, (work.order, work.job_id))

    def pop(self) -> Work | None:
        """Take the first."""
        first = self._first()
        if first is None:
            return None
        heapq.heappop(self._queue)
        return self.drop(first.work.job_id)

    def drop(self, job_id: str) -> Work | None:
        """Take a job out of the queue, if it waits there."""
        waiting = self._waiting.pop(job_id, None)
        if waiting is None:
            return None
        self._bytes -= waiting.bytes
        if len(self._queue) > 2 * len(self._waiting) + _KEYS_LEFT:
            self._queue = [(each.work.order, each.work.job_id) for each in self._waiting.values()]
            heapq.heapify(self._queue)
        return waiting.work

    def clear(self) -> None:
        """Let nobody wait here any more; what a sweep that is under way finds is not taken either."""
        self._waiting.clear()
        self._bytes = 0
        self._queue.clear()
        self._aside.clear()
        self._horizon = None
        self._missed = self._trimmed = True

    def _first(self) -> _Waiting | None:
        while self._queue and self._queue[0][1] not in self._waiting:
            heapq.heappop(self._queue)
        return self._waiting[self._queue[0][1]] if self._queue else None

    # Sweeps ----------------------------------------------------------------------------------

    def wants_sweep(self, now: float) -> bool:
        """Whether it is time to look into MongoDB: now and then, and when the window runs low."""
        few = len(self._waiting) < self._capacity // 2 and self._bytes < self._capacity_bytes // 2
        low = self._horizon is not None and few
        return not self._sweeping and (low or now >= self._next_sweep)

    def begin_sweep(self, now: float) -> int:
        """Note that a sweep begins; return for how many jobs there is room."""
        self._sweeping = True
        self._missed = self._trimmed = False
        self._aside, self._aside_bytes = [], 0
        self._next_sweep = now + SWEEP_EVERY_S
        return self._capacity

    def end_sweep(self) -> None:
        """Note that a sweep found out nothing."""
        self._sweeping = False

    def take_sweep(self, works: tuple[Work, ...], now: float, *, exhausted: bool) -> None:
        """Take what a sweep found: the first that were not known. `exhausted`: there are no others."""
        self._sweeping = False
        if self._trimmed:
            # What was trimmed meanwhile comes before what was found: begin again.
            return
        for work in works:
            self.put(work, now)
        if exhausted and not self._missed:
            for work in self._aside:
                self.put(work, now)
            self._horizon = None
        elif works:
            last = works[-1].order
            self._horizon = last if self._horizon is None else max(last, self._horizon)
        self._trim()

    def _has_room_aside(self) -> bool:
        return len(self._aside) < self._capacity and self._aside_bytes < self._capacity_bytes

    def _trim(self) -> None:
        """Leave the tail to MongoDB once twice the capacity is held."""
        if len(self._waiting) <= 2 * self._capacity and self._bytes <= 2 * self._capacity_bytes:
            return
        kept = sorted(self._waiting.values(), key=_order)[: self._capacity]
        held = list(itertools.accumulate(each.bytes for each in kept))
        # At least one: else nothing would ever be sent.
        kept = kept[: max(1, bisect.bisect_right(held, self._capacity_bytes))]
        self._bytes = held[len(kept) - 1]
        self._waiting = {each.work.job_id: each for each in kept}
        # Sorted, so already a heap.
        self._queue = [(each.work.order, each.work.job_id) for each in kept]
        self._horizon = kept[-1].work.order
        self._missed = self._trimmed = True


def _order(waiting: _Waiting) -> _Order:
    return waiting.work.order
