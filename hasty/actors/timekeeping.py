"""Keeping an actor's wall time in step with the store's."""

import contextlib
from datetime import datetime, timedelta
from typing import Protocol

from hasty.clock import Clock
from hasty.errors import StoreUnavailable

#: How often the clock is set anew: machines drift by a second in days, not in seconds.
_EVERY_S = 10.0

#: An answer that took longer says too little about when it was true.
_LONGEST_ROUND_TRIP_S = 0.5

#: But for the first time any is better than none: it is wrong by half of it at most.
_LONGEST_AT_FIRST_S = 2.0


class HasTime(Protocol):
    """A store that can be asked the time."""

    async def server_time(self) -> datetime:
        """Return the store's wall time."""
        ...


async def follow(store: HasTime, clock: Clock, within_s: float = _LONGEST_ROUND_TRIP_S) -> timedelta | None:
    """Set the clock by the store's, once; return how far the machine's is behind it.

    None: the answer took too long, and the clock is left as it was. Raises StoreUnavailable.
    """
    asked_at = clock.monotonic()
    told = await store.server_time()
    took_s = clock.monotonic() - asked_at
    if took_s > within_s:
        return None
    return clock.follow(told + timedelta(seconds=took_s / 2))


async def set_clock(store: HasTime, clock: Clock) -> None:
    """Set the clock by the store's: the machine's own may be wrong by any time. Raises StoreUnavailable."""
    if await follow(store, clock, _LONGEST_AT_FIRST_S) is None:
        raise StoreUnavailable("MongoDB answers too slowly to set the clock by it")


async def keep_time(store: HasTime, clock: Clock) -> None:
    """Follow for ever; while the store is away the clock goes on by itself."""
    while True:
        with contextlib.suppress(StoreUnavailable):
            await follow(store, clock)
        await clock.sleep(_EVERY_S)
