"""What must be written into hasty_api: for each job once, until MongoDB has confirmed it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.errors import StoreUnavailable
from hasty.retry import until_answered

#: Who waits for a write is told after this, if only "later": before it asks again.
_WITHIN_S = 20.0


class AboutJob(Protocol):
    """A command about one job."""

    @property
    def job_id(self) -> str:
        """Which."""
        ...


Command = TypeVar("Command", bound=AboutJob)


class Durable(Generic[Command]):
    """Writes commands in batches. What is asked again while it is being written is not written twice.

    So what waits is bounded by the jobs there are, however often their workers repeat themselves.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Command]], Awaitable[None]],
        clock: Clock,
        *,
        written: Callable[[Sequence[Command]], object],
        failed: Callable[[Exception], object],
        weigh: Callable[[Command], int] | None = None,
    ) -> None:
        """`write` may be repeated. `written` hears what is durable, `failed` why something never is."""
        self._write = write
        self._clock = clock
        self._written = written
        self._failed = failed
        # No capacity: see above.
        self._batches: Batcher[Command, None] = Batcher(self._write_batch, weigh=weigh)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def write(self, commands: Sequence[Command]) -> None:
        """Return when these are durable.

        Raises StoreUnavailable when that takes long: it goes on. And whatever went wrong with it.
        """
        new = [command for command in commands if command.job_id not in self._under_way]
        if new:
            task = asyncio.ensure_future(self._submit(new))
            self._under_way.update(dict.fromkeys((command.job_id for command in new), task))
        tasks = {self._under_way[command.job_id] for command in commands}
        done, late = await asyncio.wait(tasks, timeout=_WITHIN_S)
        for task in done:
            task.result()
        if late:
            raise StoreUnavailable("MongoDB has not confirmed yet how jobs stand")

    async def _submit(self, commands: Sequence[Command]) -> None:
        try:
            await self._batches.submit_all(commands)
        except Exception as error:
            self._failed(error)
            raise
        finally:
            for command in commands:
                del self._under_way[command.job_id]
        self._written(commands)

    async def _write_batch(self, commands: Sequence[Command]) -> list[None]:
        await until_answered(lambda: self._write(commands), self._clock.sleep)
        return [None] * len(commands)
