"""The only place that asks what time it is.

Wall time stamps records and decides windows. Monotonic time measures durations
(timeouts, leases as their holder sees them): it never jumps.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

#: MongoDB keeps milliseconds. A time that was never finer compares equal before and after storage.
_MILLISECOND_US = 1000


def to_milliseconds(moment: datetime) -> datetime:
    """Cut a time down to the precision in which it is stored."""
    return moment.replace(microsecond=moment.microsecond // _MILLISECOND_US * _MILLISECOND_US)


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware time."""
    return round(moment.timestamp() * 1000)


class Clock(Protocol):
    """What an actor may know of time."""

    def now(self) -> datetime:
        """Wall time: aware, UTC, whole milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...

    def follow(self, reference: datetime) -> timedelta:
        """Correct wall time towards an authority's time of this moment; return the offset."""
        ...


class SystemClock:
    """Wall time as it was last told by an authority (MongoDB's primary), carried on by the system's uptime.

    One authority keeps the rerun windows of several machines comparable. Somebody who sets this
    machine's clock, forwards or back, moves no window; and one that was suspended knows how long.
    """

    def __init__(self) -> None:
        """Start with the machine's own time."""
        self._told = datetime.now(UTC)
        self._told_at = _uptime()

    def follow(self, reference: datetime) -> timedelta:
        """Take `reference` as the time of this moment; return how far the machine's own time is behind it."""
        self._told, self._told_at = reference, _uptime()
        return reference - datetime.now(UTC)

    def now(self) -> datetime:
        """See `Clock.now`."""
        return to_milliseconds(self._told + timedelta(seconds=_uptime() - self._told_at))

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)


def _uptime() -> float:
    """Seconds since an arbitrary moment, with those in which the machine was suspended.

    Linux's monotonic clock leaves them out (clock_gettime(2)); other systems' counts them, or has no other.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
