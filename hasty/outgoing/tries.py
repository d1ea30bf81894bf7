"""How often a message is sent again, and when: for about three days, ever more seldom."""

import email.utils
import random
from collections.abc import Callable
from datetime import UTC, datetime

_MINUTE_S, _HOUR_S = 60, 3_600

#: The waits between the tries, in seconds.
WAITS_S = (
    5,
    15,
    _MINUTE_S,
    5 * _MINUTE_S,
    30 * _MINUTE_S,
    2 * _HOUR_S,
    6 * _HOUR_S,
    12 * _HOUR_S,
    24 * _HOUR_S,
    24 * _HOUR_S,
)

#: Each wait is longer by up to this part of it: what failed together does not come back together.
_JITTER = 0.2

#: A receiver that asks for a later time is heard, up to so many seconds.
_LONGEST_ASKED_S = 6 * _HOUR_S


def next_try_s(tries: int, asked_s: float = 0.0, chance: Callable[[], float] = random.random) -> float | None:
    """Return how long to wait after so many tries that failed; None: that was the last.

    `asked_s` is for how long the receiver wants to be left alone.
    """
    if tries > len(WAITS_S):
        return None
    wait_s = max(WAITS_S[tries - 1], min(asked_s, _LONGEST_ASKED_S))
    return wait_s * (1 + _JITTER * chance())


def asked_wait_s(retry_after: str | None, now: datetime) -> float:
    """Return how many seconds a header Retry-After asks for; 0 where it says nothing that can be read."""
    if retry_after is None:
        return 0.0
    if retry_after.isascii() and retry_after.isdigit():
        # Of a number of any length no more than this matters.
        return float(retry_after[:9])
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError, TypeError):
        return 0.0
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())
