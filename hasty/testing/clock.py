"""The clock of a virtual loop."""

import asyncio
from datetime import UTC, datetime, timedelta

from hasty.clock import to_milliseconds

#: When virtual time begins; any fixed moment would do.
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """Virtual time as a clock. See `hasty.clock.Clock`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, ahead_s: float = 0.0) -> None:
        """Follow the loop's time, `ahead_s` seconds off: what a real clock is still off once it was set."""
        self._loop = loop
        self._beginning = _BEGINNING + timedelta(seconds=ahead_s)

    def now(self) -> datetime:
        """See `Clock`."""
        return to_milliseconds(self._beginning + timedelta(seconds=self._loop.time()))

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)

    def follow(self, reference: datetime) -> timedelta:
        """See `Clock`: nothing is left to correct."""
        return reference - reference
