"""A steady load: new objects, objects again so that their windows are tried, and questions."""

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Iterator

from hasty.chaos.answers import Answer, Client

#: Of a hundred posts so many name a new object; the others name one that was named before.
_NEW = 0.55
#: Of the new ones so many are posted twice at once.
_TWICE = 0.1
#: For a hundred posts so many questions are asked about jobs.
_QUESTIONS = 0.2

#: Objects are named again for so many windows.
_WINDOWS = 2.5


class Load:
    """Asks at a steady rate, whatever comes back, and remembers every answer."""

    def __init__(self, client: Client, rate: float, seed: int, window_s: float) -> None:
        """Ask for `rate` jobs a second; nothing is sent yet."""
        self.answers: list[Answer] = []
        #: With this the ids of all its objects begin; no other run has it.
        self.prefix = f"chaos-{seed}-{uuid.uuid4().hex[:8]}-"
        self._client = client
        self._rate = rate
        self._dice = random.Random(seed)  # noqa: S311  a plan, not a secret
        # Also with a window of nothing or of days there is something to name again.
        self._objects: deque[str] = deque(maxlen=round(min(max(rate * window_s * _WINDOWS, 50), 5_000)))
        self._jobs: deque[Answer] = deque(maxlen=1_000)
        self._named = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop; return when every request has its answer or was given up."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            while not stop.is_set():
                for object_id in self._choose():
                    requests.create_task(self._post(object_id))
                if self._jobs and self._dice.random() < _QUESTIONS:
                    requests.create_task(self._ask(self._dice.choice(self._jobs)))
                due += 1 / self._rate
                await asyncio.sleep(due - time.monotonic())

    def _choose(self) -> Iterator[str]:
        """Yield whom to name now: one object, or a new one twice."""
        if self._objects and self._dice.random() > _NEW:
            yield self._dice.choice(self._objects)
            return
        self._named += 1
        self._objects.append(f"{self.prefix}{self._named}")
        yield self._objects[-1]
        if self._dice.random() < _TWICE:
            yield self._objects[-1]

    async def _post(self, object_id: str) -> None:
        answer = await self._client.post(object_id)
        self.answers.append(answer)
        if answer.accepted:
            self._jobs.append(answer)

    async def _ask(self, about: Answer) -> None:
        assert about.job_id is not None
        self.answers.append(await self._client.get(about.object_id, about.job_id))
