"""Group commit: what arrives while a batch is being written goes into the next one."""

import asyncio
import contextvars
import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from hasty.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Half of what MongoDB takes in one message, and nothing that an actor's memory would notice.
MAX_BYTES = 16 * 1024 * 1024


class _Group(NamedTuple, Generic[Item, Result]):
    """Items that stay together, what they weigh, and the future that gets their results."""

    items: Sequence[Item]
    future: "asyncio.Future[list[Result]]"
    weight: int


class Batcher(Generic[Item, Result]):
    """Collects items into batches that form by themselves under load.

    An item that finds nothing under way is written in the same turn of the loop: batching adds
    no delay when idle. While `lanes` batches are under way, items wait, `capacity` and
    `capacity_bytes` at most, and leave together, `max_items` and `max_bytes` at most. What is
    handed in together leaves together, whatever it weighs; what finds nothing waiting may wait.

    Without `weigh`, which tells an item's bytes, items count as weightless. Without a capacity
    nothing is refused: for callers that are bounded themselves, and must not lose what they bring.

    `write` gets a list of items and returns one result for each, in order. What it raises
    reaches everybody whose item was in that batch. It runs in a task of its own, so a caller
    that is cancelled takes nothing with it.
    """

    def __init__(
        self,
        write: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        max_items: int = 500,
        max_bytes: int = MAX_BYTES,
        weigh: Callable[[Item], int] | None = None,
        capacity: int | None = None,
        capacity_bytes: int | None = None,
        lanes: int = 1,
        linger_s: float = 0.0,
    ) -> None:
        """Wrap `write`. With `linger_s` a batch waits so long for company: for news nobody waits for."""
        self._write = write
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._weigh = weigh
        self._capacity = math.inf if capacity is None else capacity
        self._capacity_bytes = math.inf if capacity_bytes is None else capacity_bytes
        self._free_lanes = lanes
        self._linger_s = linger_s
        self._waiting: deque[_Group[Item, Result]] = deque()
        self._size = 0
        self._weight = 0
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """Return what `write` said of this item. Raises Overloaded, or what `write` raised."""
        return (await self.submit_all((item,)))[0]

    async def submit_all(self, items: Sequence[Item]) -> list[Result]:
        """Return what `write` said of these items, which stay together in one batch."""
        return await self._put(items)

    def post(self, items: Sequence[Item]) -> None:
        """Hand in items and do not wait: `write` must not raise. Raises Overloaded."""
        if items:
            self._put(items)

    def _put(self, items: Sequence[Item]) -> "asyncio.Future[list[Result]]":
        weight = sum(map(self._weigh, items)) if self._weigh is not None else 0
        self._refuse_more_than_fits(len(items), weight)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Result]] = loop.create_future()
        self._waiting.append(_Group(items, future, weight))
        self._size += len(items)
        self._weight += weight
        self._schedule(loop)
        return future

    def _refuse_more_than_fits(self, count: int, weight: int) -> None:
        heavy = self._size and self._weight + weight > self._capacity_bytes
        if heavy or self._size + count > self._capacity:
            raise Overloaded(f"{self._size} items are waiting already")

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a batch at the end of this turn of the loop, so that it takes what the turn brings."""
        if self._scheduled or not self._free_lanes or not self._waiting:
            return
        self._scheduled = True
        if self._linger_s:
            loop.call_later(self._linger_s, self._start, loop)
        else:
            loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        groups = self._take()
        if not groups:
            return
        self._free_lanes -= 1
        # In a context of its own: what is cancelled with a request is known by the request's.
        task = loop.create_task(self._flush(groups), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        self._schedule(loop)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._free_lanes += 1
        self._schedule(task.get_loop())

    def _take(self) -> list[_Group[Item, Result]]:
        """Take whole groups up to `max_items` and `max_bytes`, at least one if there is any."""
        groups: list[_Group[Item, Result]] = []
        count = weight = 0
        while self._waiting:
            group = self._waiting[0]
            full = count + len(group.items) > self._max_items or weight + group.weight > self._max_bytes
            if groups and full:
                break
            self._waiting.popleft()
            self._size -= len(group.items)
            self._weight -= group.weight
            # Nobody waits any more for one that is done: its caller gave up.
            if not group.future.done():
                groups.append(group)
                count += len(group.items)
                weight += group.weight
        return groups

    async def _flush(self, groups: list[_Group[Item, Result]]) -> None:
        batch = [item for group in groups for item in group.items]
        try:
            results = iter(_matched(await self._write(batch), batch))
        except BaseException as error:  # noqa: BLE001  whatever it is, the waiting callers must hear of it
            for _, future, _ in groups:
                if not future.done():
                    future.set_exception(error)
            return
        for items, future, _ in groups:
            share = list(itertools.islice(results, len(items)))
            if not future.done():
                future.set_result(share)


def _matched(results: Sequence[Result], batch: Sequence[Item]) -> Sequence[Result]:
    """Make sure that nobody waits for a result that will not come, or gets another's."""
    if len(results) != len(batch):
        raise RuntimeError(f"{len(results)} results for {len(batch)} items")
    return results
