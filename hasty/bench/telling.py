"""How soon clients are told that their jobs have ended: many of them, each with a connection of its own.

From the moment at which a handler returns to the one at which its client has the answer, by the clock
of the machine that they share. It wants a hasty with the handlers of `hasty.bench.ticking`.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

#: As many as one batch takes.
CLIENTS = 1_000

#: The first job ends after so many seconds, when all clients are there.
_FIRST_S = 10.0

#: A client that is told nothing for so long after the last end never is.
_PATIENCE_S = 60.0


class Told(NamedTuple):
    """How soon clients were told, in milliseconds."""

    clients: int
    p50: float
    p99: float
    most: float


class _Client(asyncio.Protocol):
    """One connection: it asks once, and notes when it was told of the end."""

    def __init__(self, path: str, host: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()
        self.told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._tail = b""
        self._transport: asyncio.WriteTransport | None = None

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._tail = self._tail[-64:] + data
        if b'"status":"finished"' in self._tail and not self.told.done():
            self.told.set_result(time.time())

    def connection_lost(self, error: Exception | None) -> None:
        if not self.told.done():
            self.told.set_exception(error or ConnectionError("the connection was closed"))


async def measure(url: str, clients: int, over_s: float, *, streams: bool) -> Told:
    """Measure as `lateness` does, and sum it up."""
    return _told(await lateness(url, clients, over_s, streams=streams))


async def lateness(url: str, clients: int, over_s: float, *, streams: bool) -> list[float]:
    """Submit so many jobs, wait for each over HTTP, and return how late that told of its end, in ms.

    The ends lie evenly over `over_s` seconds, in this order.
    With `streams` each client follows the events of its job, otherwise it waits in one request. Raises
    ConnectionError when a client is cut off.
    """
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S, trust_env=False) as http:
        ids = await _submit(http, clients, over_s)
        waiting = [await _connect(url, job_id, streams=streams) for job_id in ids]
        try:
            told_at = await asyncio.wait_for(
                asyncio.gather(*(each.told for each in waiting)), over_s + _PATIENCE_S
            )
        finally:
            for client in waiting:
                client.close()
        ended_at = [float((await http.get(f"/v1/jobs/{job_id}")).json()["result"]) for job_id in ids]
    return [(told - ended) * 1000 for told, ended in zip(told_at, ended_at, strict=True)]


async def _submit(http: httpx.AsyncClient, count: int, over_s: float) -> list[str]:
    run = uuid.uuid4().hex
    jobs = [
        {
            "object_id": f"telling-{run}-{number}",
            "handler": "tick",
            "payload": _FIRST_S + over_s * number / count,
        }
        for number in range(count)
    ]
    answer = await http.post("/v1/jobs:batch", json={"jobs": jobs})
    answer.raise_for_status()
    return [outcome["job"]["id"] for outcome in answer.json()["outcomes"]]


async def _connect(url: str, job_id: str, *, streams: bool) -> _Client:
    address = urlsplit(url)
    path = f"/v1/jobs/{job_id}" + ("/events" if streams else "?wait=60")
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: _Client(path, address.netloc), address.hostname or "", address.port or 80
    )
    return client


def _told(late_ms: Sequence[float]) -> Told:
    cuts = statistics.quantiles(late_ms, n=100)
    return Told(len(late_ms), cuts[49], cuts[98], max(late_ms))


def main(arguments: Sequence[str]) -> None:
    """Measure against a running hasty, and print a line of JSON for each way to wait."""
    parser = argparse.ArgumentParser(prog="python -m hasty.bench.telling", description=__doc__)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--over", type=float, default=30.0, metavar="SECONDS")
    given = parser.parse_args(arguments)
    for streams in (False, True):
        told = asyncio.run(measure(given.url, given.clients, given.over, streams=streams))
        line = {"by": "stream" if streams else "long poll"} | told._asdict()
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
