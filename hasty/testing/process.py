"""What dies and freezes as one: a simulated process, of which a virtual loop makes every step."""

import asyncio
import contextvars
from collections.abc import Callable, Iterable
from typing import Any

#: Whose step is being made. Tasks, timers and callbacks inherit it, as they inherit every context.
OWNER: "contextvars.ContextVar[Process]" = contextvars.ContextVar("hasty.testing.owner")


class Step(asyncio.TimerHandle):
    """Something to call, now or at its time. Leaner than asyncio's own: a loop makes millions."""

    __slots__ = ("args", "at", "call", "context", "owner")

    def __init__(
        self,
        at: float,
        call: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        """Call in this context; None: in a copy of the present one."""
        self.at = at
        self.call: Callable[..., object] | None = call
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.owner = self.context.get(OWNER)

    def cancel(self) -> None:
        """See `asyncio.Handle`."""
        self.call, self.args = None, ()

    def cancelled(self) -> bool:
        """See `asyncio.Handle`."""
        return self.call is None

    def when(self) -> float:
        """See `asyncio.TimerHandle`."""
        return self.at

    def __repr__(self) -> str:
        return f"<Step {self.call} at {self.at:g} of {self.owner}>"


class Process:
    """Everything that was started in its context: tasks, timers, callbacks.

    Frozen, it makes no step, at whichever await it stands; thawed, it goes on there and finds
    that time has passed. Dead, it never makes another, not even to clean up. What it had sent
    before is on its way all the same.
    """

    def __init__(self, name: str, resume: Callable[[Iterable[Step]], None]) -> None:
        """Begin under a name for people. `resume` has steps made that were kept back."""
        self.name = name
        self.dead = False
        self.frozen = False
        #: Whether the loop must ask before a step. Usually not: asking costs more than many a step.
        self.watched = False
        self.context = contextvars.Context()
        self.context.run(OWNER.set, self)
        self._resume = resume
        self._kept: list[Step] = []
        self._fuse = 0
        self._trap: Callable[[], None] | None = None

    def freeze(self) -> None:
        """Stop before the next step."""
        self.frozen = True
        self._watch()

    def thaw(self) -> None:
        """Go on where it stopped, unless it is dead."""
        self.frozen = False
        if not self.dead:
            self.release()

    def die(self) -> None:
        """Make no step any more."""
        self.dead = True
        self._watch()

    def after(self, steps: int, trap: Callable[[], None]) -> None:
        """Spring a trap before the step that follows so many: it may fall between any two awaits."""
        self._fuse, self._trap = steps + 1, trap
        self._watch()

    def may_make(self, step: Step) -> bool:
        """Say whether this step may be made now. One that may not is kept back."""
        self._burn()
        if self.dead or self.frozen:
            self._kept.append(step)
            return False
        return True

    def release(self) -> None:
        """Have what was kept back made after all."""
        kept, self._kept = self._kept, []
        self._resume(kept)
        self.watched = False

    def _burn(self) -> None:
        if self._fuse:
            self._fuse -= 1
            if not self._fuse and self._trap is not None:
                self._trap()
                self._watch()

    def _watch(self) -> None:
        self.watched = self.dead or self.frozen or self._fuse > 0

    def __repr__(self) -> str:
        return self.name
