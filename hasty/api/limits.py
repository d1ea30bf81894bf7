"""How often a key may ask: a token bucket for each, in this process. Pure: `now` is an argument."""

#: A bucket holds what its rate brings in so many seconds, and at least one token.
BURST_S = 2.0

#: Buckets that are not full, at most; each belongs to a key that there is.
_MOST = 10_000

#: Times are sums of many floats; this is nothing beside a request.
_NOTHING_S = 1e-6


class Limits:
    """The buckets. Of each is only known when it will be full again."""

    def __init__(self, most: int = _MOST) -> None:
        """Begin with full buckets. Of more than `most` that are not, one may be taken for full."""
        self._most = most
        self._full_at: dict[str, float] = {}

    def take(self, key_id: str, rate: float, now: float) -> float:
        """Take a token from a bucket that gets `rate` of them per second; `now` in monotonic seconds.

        Return 0.0. If there is none, return in how many seconds there will be, and take nothing.
        """
        full_at = max(self._full_at.get(key_id, now), now) + 1 / rate
        wait_s = full_at - now - max(BURST_S, 1 / rate)
        if wait_s > _NOTHING_S:
            return wait_s
        self._full_at.pop(key_id, None)
        self._make_room(now)
        self._full_at[key_id] = full_at
        return 0.0

    def _make_room(self, now: float) -> None:
        if len(self._full_at) < self._most:
            return
        self._full_at = {key_id: at for key_id, at in self._full_at.items() if at > now}
        if len(self._full_at) >= self._most:
            del self._full_at[next(iter(self._full_at))]
