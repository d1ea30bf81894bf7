"""When an actor that does not answer counts as frozen. Pure: `now` is an argument, in seconds.

An actor is asked in the loop that does its work, so a loop that is blocked does not answer
either. Three questions in a row without an answer are a freeze; one is a busy moment.
"""

#: An actor is asked how it is this often, and given so long to answer; when that has passed it is
#: asked again at once.
PING_EVERY_S = 1.0
PING_WITHIN_S = 2.0

#: An answer that we waited for so much longer than that says that we are late, not the actor.
_LATE_S = 0.5

#: A loop's timer may be early: uvloop's count whole milliseconds.
_EARLY_S = 0.02

#: So many questions in a row without an answer make a freeze: after 7 s at most.
_MISSES = 3


def rest_s(asked_at: float, now: float) -> float:
    """Return how long to wait before the next question."""
    return max(0.0, asked_at + PING_EVERY_S - now)


#: One that was never heard is still being started, for so long.
_STARTED_WITHIN_S = 60.0


class Pulse:
    """What is known of how one actor answers."""

    def __init__(self, now: float) -> None:
        """Nobody has asked yet: silence counts from `now`."""
        self._looked_at = now
        self._misses = 0
        #: For how long nothing was heard, in seconds, as far as we were awake to hear.
        self.silent_s = 0.0

    @property
    def frozen(self) -> bool:
        """Whether it does not answer, though it was given every chance."""
        return self._misses >= _MISSES

    @property
    def stuck(self) -> bool:
        """Whether it was silent for so long that it is not merely being started."""
        return self.silent_s > _STARTED_WITHIN_S

    def heard(self, now: float) -> None:
        """It answered; or it was killed, and has a new life to answer with."""
        self._looked_at = now
        self._misses = 0
        self.silent_s = 0.0

    def missed(self, now: float, waited_s: float) -> None:
        """It did not answer within `waited_s`. Counts only if that was long enough, and not our fault."""
        # More than a look can take, it was our own loop that stood still.
        self.silent_s += min(now - self._looked_at, PING_EVERY_S + PING_WITHIN_S)
        self._looked_at = now
        if PING_WITHIN_S - _EARLY_S <= waited_s <= PING_WITHIN_S + _LATE_S:
            self._misses += 1
