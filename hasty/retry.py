"""How long to wait before trying again."""

import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from hasty.errors import TryAgainLater
from hasty.telemetry import Waited, emit

Answer = TypeVar("Answer")

#: Waiting is told at the first failure, and then at every so many: about once in a minute.
_TOLD_EVERY = 30

#: A bound that was doubled so often is over any cap, and a float can still tell it.
_MOST_DOUBLINGS = 64

#: A source of numbers in [0, 1).
Chance = Callable[[], float]


def backoff(first_s: float = 0.05, cap_s: float = 2.0, chance: Chance = random.random) -> Iterator[float]:
    """Yield waits in seconds, for ever: each drawn from the upper half of a doubling, capped bound.

    The randomness spreads callers that failed together; the lower half is left out so that a
    broken service is not asked again at once. After "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015 (there: equal jitter).
    """
    bound = first_s
    while True:
        yield bound * (0.5 + chance() / 2)
        bound = min(bound * 2, cap_s)


def full_jitter_s(failures: int, first_s: float, cap_s: float, chance: Chance = random.random) -> float:
    """Return how long to wait, in seconds, after so many failures: anything up to a doubling, capped bound.

    Work that failed together is spread over the whole of the bound. From the same source as
    `backoff` (there: full jitter).
    """
    doublings = min(failures - 1, _MOST_DOUBLINGS)
    return chance() * min(first_s * 2.0**doublings, cap_s)


async def until_answered(
    ask: Callable[[], Awaitable[Answer]], sleep: Callable[[float], Awaitable[None]]
) -> Answer:
    """Ask until there is a clear answer. For what may be asked twice and must be known."""
    for tries, wait_s in enumerate(backoff()):
        try:
            return await ask()
        except TryAgainLater as error:
            if tries % _TOLD_EVERY == 0:
                emit(Waited(str(error), tries), level=logging.WARNING)
            await sleep(wait_s)
    raise AssertionError  # backoff never ends
