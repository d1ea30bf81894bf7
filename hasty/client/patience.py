"""How often, and for how long, what did not succeed is tried again."""

import dataclasses
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from hasty.client.problems import Failure, failure
from hasty.client.questions import Question, Value
from hasty.client.steps import Answer, Call, Course, Now, Pause
from hasty.errors import InvalidRequest

#: The first wait is drawn from so many seconds; the bound doubles with each, up to the cap.
_FIRST_S, _CAP_S = 0.5, 10.0

#: A bound that was doubled so often is over any cap, and a float can still tell it.
_MOST_DOUBLINGS = 64

#: One try may be silent for this part of all the time there is, so that others can follow it.
_SHARE = 3

#: Where no time is left, a try gets so many seconds.
_LEAST_S = 0.001


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client allows for one call."""

    #: After the first try there are so many more.
    retries: int
    #: For all of them together. An answer that keeps coming is read to its end all the same.
    timeout_s: float
    #: A source of numbers in [0, 1).
    chance: Callable[[], float] = field(default=random.random, repr=False)

    @property
    def silence_s(self) -> float:
        """For how long one try may hear nothing."""
        return self.timeout_s / _SHARE


def limits(retries: int, timeout_s: float) -> Limits:
    """Return what a client was told to allow. Raises InvalidRequest."""
    if retries < 0:
        raise InvalidRequest(complaints=(("retries", "must be a whole number from 0 on"),))
    if not 0 < timeout_s < math.inf:
        raise InvalidRequest(complaints=(("timeout", "must be a number of seconds over 0"),))
    return Limits(retries, timeout_s)


class Patience:
    """Bears failures until there were too many of them, or too little time is left."""

    def __init__(self, limits: Limits, began_s: float | None = None, *, at_least_s: float = 0.0) -> None:
        """Count from this moment; by default from the first failure.

        For `at_least_s` seconds failures are borne however many they are, and whatever the limits say.
        """
        self._limits = limits
        self._at_least_s = at_least_s
        self._failures = 0
        self._since_s = began_s

    def relax(self) -> None:
        """Count anew, from the next failure: something has succeeded."""
        self._failures, self._since_s = 0, None

    def fitted(self, call: Call, now_s: float) -> Call:
        """Return the call with as much time as one try may take now."""
        since_s = now_s if self._since_s is None else self._since_s
        left_s = max(since_s + self._limits.timeout_s - now_s, _LEAST_S)
        return dataclasses.replace(call, within_s=min(self._limits.silence_s, left_s))

    def next_wait_s(self, failure: Failure, now_s: float, at_most_s: float = math.inf) -> float | None:
        """Return how long to wait before the next try; None: it would not help, or be too late.

        The wait is what the answer asks for, and anything up to a doubling, capped bound beyond that
        ("full jitter"; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
        """
        self._failures += 1
        if self._since_s is None:
            self._since_s = now_s
        bound_s = min(_FIRST_S * 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS), _CAP_S)
        wait_s = min(failure.wait_s + self._limits.chance() * bound_s, at_most_s)
        away_s = now_s - self._since_s
        within = self._failures <= self._limits.retries and away_s + wait_s < self._limits.timeout_s
        borne = away_s < self._at_least_s and failure.wait_s <= self._at_least_s
        return wait_s if failure.passes and (within or borne) else None

    def bear(self, failure: Failure, at_most_s: float = math.inf) -> Course[None]:
        """Wait until the next try; raise the error where there is none."""
        wait_s = self.next_wait_s(failure, (yield Now()), at_most_s)
        if wait_s is None:
            raise failure.error
        yield Pause(wait_s)


def ask(question: Question[Value], limits: Limits) -> Course[Value]:
    """Lead to what the answer means. Raises the error that it stands for, of `hasty.errors`.

    Every request here may be sent twice: those that would count twice carry an idempotency key.
    """
    patience = Patience(limits, (yield Now()))
    again = False
    while True:
        answer: Answer = yield patience.fitted(question.call, (yield Now()))
        failed = failure(answer)
        if isinstance(answer, httpx.Response) and (failed is None or (again and question.settled_by(answer))):
            return question.read(answer)
        assert failed is not None
        again = True
        yield from patience.bear(failed)
