"""One who waits for a job's end: told when it is worth while to look."""

import asyncio
import contextlib
import random
from typing import Protocol, Self

#: Without news, a job is looked at about this often.
_LOOK_EVERY_S = 2.0


class News(Protocol):
    """Where news come from: see `hasty.api.hub.Hub`."""

    live: bool

    def unwatch(self, watch: "Watch") -> None:
        """Tell this one no more."""
        ...


class Watch:
    """Says when to look at a job: at its end at once, and wherever that may have been missed."""

    def __init__(self, news: News, job_id: str) -> None:
        """Watch this job."""
        self.job_id = job_id
        self._news = news
        self._worth_a_look = asyncio.Event()

    def look(self) -> None:
        """Have whoever waits look at the job."""
        self._worth_a_look.set()

    async def until_worth_a_look(self, within_s: float) -> None:
        """Return when the job may have ended; after `within_s` at the latest."""
        if not self._news.live:
            # Not all at once, who began together.
            within_s = min(within_s, _LOOK_EVERY_S * (0.75 + random.random() / 2))  # noqa: S311
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._worth_a_look.wait()
        self._worth_a_look.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._news.unwatch(self)
