"""How long an attempt may run, and what its handler says meanwhile."""

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from hasty.clock import Clock
from hasty.job import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

#: A message of progress is cut to so many characters.
_MESSAGE_LIMIT = 200


class Line(Protocol):
    """How a handler hears from whoever looks after it, and is heard, where that is another process."""

    def extended(self, until_s: float) -> None:
        """Hear that it wants to run until then, in monotonic seconds."""
        ...

    def progressed(self, progress: Progress) -> None:
        """Hear how far it has come."""
        ...

    def warned(self) -> bool:
        """Say whether it is to end."""
        ...


class Term:
    """The time of one attempt. Whoever looks after it waits by this; the handler may move it.

    In one process both share it. In two, the handler's tells the other by its line.
    """

    def __init__(self, clock: Clock, *, timeout_s: float, max_timeout_s: float | None = None) -> None:
        """It runs for `timeout_s` from now, unless extended: then for `max_timeout_s` at most."""
        self._clock = clock
        self._timeout_s = timeout_s
        self._longest_s = max(timeout_s, max_timeout_s or 0.0)
        #: Where the handler is heard elsewhere as well.
        self.line: Line | None = None
        #: Hears of progress.
        self.tell: Callable[[Progress], None] | None = None
        self._over = False
        #: Until when the handler wants to run, and when it was last heard; it may be before its start is.
        self._wanted_s = self._heard_s = -math.inf
        self.begin()

    def begin(self) -> None:
        """Let it count from now."""
        self.began_s = self._clock.monotonic()

    @property
    def until_s(self) -> float:
        """When it is over."""
        granted_s = min(self._wanted_s, self.began_s + self._longest_s)
        return max(self.began_s + self._timeout_s, granted_s)

    @property
    def heard_s(self) -> float:
        """When the handler was last heard: at its start, or with its last progress."""
        return max(self.began_s, self._heard_s)

    def end(self) -> None:
        """Tell the handler that it is to end."""
        self._over = True

    @property
    def over(self) -> bool:
        """Whether the handler is to end."""
        return self._over or (self.line is not None and self.line.warned())

    @property
    def remaining_s(self) -> float:
        """Seconds that are left; 0 once there are none."""
        return max(0.0, self.until_s - self._clock.monotonic())

    @property
    def deadline(self) -> datetime:
        """When it is over, by the clock of this process."""
        return self._clock.now() + timedelta(seconds=self.remaining_s)

    def extend(self, seconds: float) -> None:
        """Have at least so many seconds from now, as far as the longest timeout allows. Never shortens."""
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"cannot extend by {seconds!r}: say a number of seconds over 0")
        self.extend_until(self._clock.monotonic() + seconds)

    def extend_until(self, until_s: float) -> None:
        """Last until then, as far as the longest timeout allows."""
        self._wanted_s = max(self._wanted_s, until_s)
        if self.line is not None:
            self.line.extended(self.until_s)

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Note how far the handler has come."""
        if fraction is not None and not 0 <= fraction <= 1:
            raise ValueError(f"progress is a fraction from 0 to 1, not {fraction!r}")
        text = None if message is None else str(message)[:_MESSAGE_LIMIT].encode(errors="replace").decode()
        self.progressed(Progress(self._clock.now(), None if fraction is None else float(fraction), text))

    def progressed(self, progress: Progress) -> None:
        """Take note of progress."""
        self._heard_s = self._clock.monotonic()
        if self.line is not None:
            self.line.progressed(progress)
        if self.tell is not None:
            self.tell(progress)
