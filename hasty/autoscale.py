"""How many workers a pool should have, from how its jobs wait. Pure: `now` is an argument, in seconds.

It grows fast, because jobs wait meanwhile, and shrinks slowly, because the next wave would find the
workers gone. Between the load that makes it grow (more than all slots) and the one that lets it shrink
(less than 70 % of fewer slots) lies a band in which it stays as it is. So noise does not move it; a load
that swings more slowly than a minute does, and is followed.
"""

import math
from typing import NamedTuple

#: A job that waited longer found no slot. One that finds a slot starts within milliseconds.
_TOO_LONG_S = 1.0

#: Jobs wait too long for so long before the pool grows: two looks, one a second, the second maybe early.
_PRESSED_FOR_S = 0.5

#: Workers that were ordered get so long to be present. Then maybe no node has room for them.
_PATIENCE_S = 30.0

#: Jobs would fill no more of the smaller pool's slots: the rest is for noise, so that it need not grow again.
_CALM_PERCENT = 70

#: For so long without a break. A wave that comes every minute is not met by a pool that just shrank.
_CALM_FOR_S = 60.0

#: A job waits so long even where slots are free: it is on its way.
_PASSING_S = 0.1

#: What happened between two looks further apart than this, nobody knows.
_UNSEEN_S = 5.0

#: A pool shrinks by one worker in so many, at least by one: a hundred become ten in half an hour.
_SHRINKS_BY_ONE_IN = 10


class Load(NamedTuple):
    """What a pool is seen to do at one moment."""

    #: The size that is wanted at present.
    workers: int
    #: Workers that answered and take jobs.
    present: int
    #: Of each worker. As long as nobody knows, 0, which counts as 1.
    slots: int
    #: Jobs that workers have.
    running: int
    #: Jobs known to wait. There may be more.
    queued: int
    #: How long the next job to be started has waited; 0 when none waits.
    oldest_wait_s: float

    def workers_at(self, percent: int) -> int:
        """Return how many workers it takes for all these jobs to fill at most `percent` of the slots."""
        return math.ceil(100 * (self.running + self.queued) / (percent * max(1, self.slots)))


class Autoscaler:
    """What is remembered of one pool's load, and the size that follows from it.

    It orders nothing itself, and takes the size in each `Load` for the truth: an order that was not
    carried out is repeated, and a size that somebody else has changed is where it goes on from.
    """

    def __init__(self, minimum: int, maximum: int) -> None:
        """The size stays within these bounds, both included."""
        assert 0 <= minimum <= maximum
        self._minimum = minimum
        self._maximum = maximum
        self._size = 0
        self._looked_at = self._patient_until = -math.inf
        self._pressed_since = self._calm_since = math.inf

    def wanted(self, load: Load, now: float) -> int:
        """Return the size the pool should have. To be asked about once a second.

        A size outside the bounds is brought into them at once. More load never wants fewer workers.
        Asked less often than every 5 s, it grows but never shrinks.
        """
        self._look(load, now)
        if not self._minimum <= load.workers <= self._maximum:
            return min(max(load.workers, self._minimum), self._maximum)
        if now - self._pressed_since >= _PRESSED_FOR_S:
            return self._larger(load)
        return self._smaller(load) if now - self._calm_since >= _CALM_FOR_S else load.workers

    def _look(self, load: Load, now: float) -> None:
        self._notice_size(load, now)
        if now - self._looked_at > _UNSEEN_S:
            self._calm_since = math.inf
        self._looked_at = now
        # Jobs that wait for workers already ordered are no reason to order more.
        pressed = load.oldest_wait_s > _TOO_LONG_S and now >= self._patient_until
        self._pressed_since = _since(self._pressed_since, now, holds=pressed)
        self._calm_since = _since(self._calm_since, now, holds=self._calm(load))

    def _notice_size(self, load: Load, now: float) -> None:
        # What was seen of another size says nothing about this one.
        if load.workers != self._size:
            self._pressed_since = self._calm_since = math.inf
        # The first look too: who ordered these before us may have done so just now.
        if load.workers > self._size:
            self._patient_until = now + _PATIENCE_S
        # Once all have been there, one that is being replaced does not hold up the others.
        if load.present >= load.workers:
            self._patient_until = -math.inf
        self._size = load.workers

    def _calm(self, load: Load) -> bool:
        """Whether a smaller pool would do with room to spare. Jobs that wait in spite of it say no."""
        fits = load.workers_at(_CALM_PERCENT) <= self._smaller(load)
        return fits and load.oldest_wait_s <= _PASSING_S

    def _larger(self, load: Load) -> int:
        """Return what demand asks for: at most a doubling, and never more workers than jobs could fill.

        What doubles is what is present. Where no node has room, each further order adds but one.
        """
        most = max(load.workers + 1, 2 * min(load.present, load.workers))
        return max(load.workers, min(load.workers_at(100), most, self._maximum))

    def _smaller(self, load: Load) -> int:
        return max(self._minimum, load.workers - max(1, load.workers // _SHRINKS_BY_ONE_IN))


def _since(begun: float, now: float, *, holds: bool) -> float:
    """Return since when something holds that did so since `begun`; infinity stands for never."""
    return min(begun, now) if holds else math.inf
