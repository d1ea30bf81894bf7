"""What will be broken, in which order: decided by a seed alone."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hasty.chaos.faults import Kind

#: Rest before each fault, in seconds: from, to.
PAUSE_S = (2.0, 8.0)


class Planned(NamedTuple):
    """One fault of a plan."""

    #: Time between the end of the one before and this one.
    pause_s: float
    kind: Kind
    #: Which of several victims: 0 is the first of them, just below 1 the last.
    choice: float
    #: When the victim goes on; None for a kill.
    thaw_after_s: float | None


def plan(seed: int, kinds: Sequence[Kind]) -> Iterator[Planned]:
    """Yield faults without end. Each kind comes once in every round, in an order of its own."""
    dice = random.Random(seed)  # noqa: S311  a plan, not a secret
    while True:
        for kind in dice.sample(kinds, len(kinds)):
            thaw_after_s = dice.uniform(*kind.thaw_s) if kind.thaw_s else None
            yield Planned(dice.uniform(*PAUSE_S), kind, dice.random(), thaw_after_s)
