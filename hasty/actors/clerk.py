"""The Clerk has the duties that nobody waits for: each goes on by itself, beside the others."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from hasty.clock import Clock
from hasty.messages import Health
from hasty.telemetry import DutyBroke, emit

#: Begins a duty, and goes on with it for ever.
Duty = Callable[[], Awaitable[None]]

#: Wait before a duty that broke is begun again.
_AGAIN_S = 5.0


class Clerk:
    """Keeps its duties going. One that breaks stops no other, and is begun again.

    What a duty needs is built when it begins: what cannot be built is tried again, too.
    """

    def __init__(self, clock: Clock, duties: Mapping[str, Duty]) -> None:
        """Begin nothing yet."""
        self._clock = clock
        self._duties = duties
        self._broken: dict[str, str] = {}

    async def serve(self) -> None:
        """See to all duties; never returns."""
        await asyncio.gather(*(self._see_to(name, duty) for name, duty in self._duties.items()))

    async def _see_to(self, name: str, duty: Duty) -> None:
        while True:
            try:
                await duty()
                why = "it ended"
            except Exception as error:  # noqa: BLE001  whatever it is, it is this duty's alone
                why = repr(error)
            emit(DutyBroke(name, why), level=logging.ERROR)
            self._broken[name] = why
            await self._clock.sleep(_AGAIN_S)
            del self._broken[name]

    async def health(self) -> Health:
        """Say which duties are broken at present."""
        told = "; ".join(f"{name}: {why}" for name, why in self._broken.items())
        return Health("clerk", told or None)
