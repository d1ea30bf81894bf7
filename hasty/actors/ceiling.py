"""How many jobs may wait: beyond that, whoever asks for another is told to come back."""

import asyncio
import contextlib

from hasty.clock import Clock
from hasty.errors import StoreUnavailable
from hasty.store.base import JobStore

#: Jobs are counted so often at most, and never for more than this part of the time: counting a million
#: takes MongoDB half a second.
_COUNT_EVERY_S = 1.0
_AT_MOST_OF_THE_TIME = 0.02


class Ceiling:
    """Knows whether there is room, about: jobs are counted beside their admission, now and then."""

    def __init__(self, jobs: JobStore, clock: Clock, most: int | None) -> None:
        """Count nothing yet; None: there is always room."""
        self._jobs = jobs
        self._clock = clock
        self._most = most
        self._counted = 0
        self._admitted = 0
        self._next_count = 0.0
        self._counting: asyncio.Task[None] | None = None

    @property
    def room(self) -> int | None:
        """How many more jobs may wait, as far as is known; None: any number."""
        if self._most is None:
            return None
        if self._counting is None and self._clock.monotonic() >= self._next_count:
            self._counting = asyncio.ensure_future(self._count(self._most))
        return max(0, self._most - self._counted - self._admitted)

    @property
    def retry_after_s(self) -> float:
        """How long until it is known better."""
        return max(_COUNT_EVERY_S, self._next_count - self._clock.monotonic())

    def admitted(self, jobs: int) -> None:
        """Hear that so many more wait."""
        self._admitted += jobs

    async def _count(self, most: int) -> None:
        began, before = self._clock.monotonic(), self._admitted
        try:
            with contextlib.suppress(StoreUnavailable):
                self._counted = await self._jobs.backlog(most)
                # Nobody knows whether who came meanwhile was counted: they may count twice for a while.
                self._admitted -= before
        finally:
            took_s = self._clock.monotonic() - began
            self._next_count = self._clock.monotonic() + max(_COUNT_EVERY_S, took_s / _AT_MOST_OF_THE_TIME)
            self._counting = None
