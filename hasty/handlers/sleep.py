"""The handler that comes with hasty, and runs when a request names none: it sleeps."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from hasty.handlers.catalogue import Handler, Handlers
from hasty.handlers.context import JobContext
from hasty.job import Json, Window

if TYPE_CHECKING:
    from hasty.settings import Settings

#: Its name.
SLEEP = "sleep"


def built_in(settings: "Settings") -> Handlers:
    """Return the handlers that come with hasty."""
    return Handlers(
        Handler(
            name=SLEEP,
            function=sleeper(settings.sleep_min_s, settings.sleep_max_s),
            timeout_s=settings.timeout_s,
            window=Window(settings.rerun_window_s),
        )
    )


def sleeper(shortest_s: float, longest_s: float) -> Callable[[JobContext, Json], Awaitable[Json]]:
    """Return a handler that sleeps for a random time and says for how many whole seconds."""

    async def sleep(_context: JobContext, _payload: Json) -> Json:
        """Sleep for a random time, and say for how many whole seconds."""
        seconds = random.uniform(shortest_s, longest_s)  # noqa: S311  not for secrets
        await asyncio.sleep(seconds)
        return {"sleep_time_used": round(seconds)}

    return sleep
