"""Jobs that run until a test lets them go: a handler, and how a test asks for it."""

import asyncio
import json
import random
from collections.abc import Iterable
from pathlib import Path

import hasty

#: One for each file that jobs of this worker wait for: to look once is enough for all of them.
_waits: dict[str, asyncio.Task[float]] = {}


@hasty.handler(timeout=3600, rerun_window=0)
async def held(payload: str) -> None:
    """Wait until the file of this name is there, then for any part of as many seconds as it says."""
    if payload not in _waits:
        _waits[payload] = asyncio.create_task(_let_go(Path(payload)))
    over_s = await asyncio.shield(_waits[payload])
    await asyncio.sleep(random.uniform(0, over_s))


async def _let_go(file: Path) -> float:
    while (over_s := _content(file)) is None:  # noqa: ASYNC110  a file tells nobody that it is there
        await asyncio.sleep(0.1)
    return over_s


def _content(file: Path) -> float | None:
    return float(file.read_text()) if file.exists() else None


class Held:
    """Jobs of a running hasty that end when they are let go, and not before."""

    def __init__(self, running, folder: Path) -> None:
        self._running = running
        self._file = folder / "let-go"

    def request(self, object_id: str) -> dict[str, str]:
        return {"object_id": object_id, "handler": "held", "payload": str(self._file)}

    def submit(self, object_id: str) -> str:
        body = json.dumps(self.request(object_id)).encode()
        status, job, _ = self._running.ask("POST", "/v1/jobs", body)
        assert status == 201, job
        return job["id"]

    def submit_all(self, object_ids: Iterable[str]) -> list[str]:
        """Ask for many, and again where it says to come back."""
        requests = [self.request(object_id) for object_id in object_ids]
        url = f"http://127.0.0.1:{self._running.port}"
        with hasty.Client(url, retries=100, timeout=170) as client:
            jobs = client.submit_many(requests)
        return [job.id for job in jobs]

    def let_go(self, over_s: float = 0.0) -> None:
        """Let them end, one after the other over so many seconds; those that come later, too."""
        whole = self._file.with_suffix(".new")
        whole.write_text(str(over_s))
        whole.rename(self._file)
