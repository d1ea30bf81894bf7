"""A load generator that costs little CPU: raw HTTP/1.1 on one loop, hardly any parsing.

Run as a process of its own: `python -m hasty.bench.load PORT CONNECTIONS SECONDS [REQUESTS]`; it
ends after the seconds or the requests, and writes its result as one line of JSON.
It only ever speaks to 127.0.0.1.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

import uvloop

_HEAD = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


class Load(NamedTuple):
    """What a run of the generator saw. Times are in seconds."""

    seconds: float
    statuses: dict[str, int]
    p50_s: float
    p99_s: float
    #: What the generator itself took from the machine.
    cpu_s: float

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return sum(self.statuses.values()) / self.seconds


class _Run:
    """What the connections of one run share."""

    def __init__(self, seconds: float, requests: int | None) -> None:
        self.prefix = f"bench-{time.time_ns()}-"
        self.started = time.perf_counter()
        self.until = self.started + seconds
        self.requests = requests
        self.sent = 0
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []

    def over(self) -> bool:
        """Whether no more requests are to be sent."""
        return time.perf_counter() >= self.until or self.sent == self.requests

    def request(self) -> bytes:
        """Ask about an object that nobody asked about before."""
        self.sent += 1
        body = f'{{"object_id": "{self.prefix}{self.sent}"}}'
        return (_HEAD.format(len(body)) + body).encode()


class _Client(asyncio.Protocol):
    """One connection: it sends the next request when the last one is answered."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self._asked = 0.0
        self._transport: Any = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._run.request())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank or len(body) < _content_length(head):
            return
        now = time.perf_counter()
        self._run.statuses[head[9:12].decode()] += 1
        self._run.latencies.append(now - self._asked)
        self._buffer = b""
        if self._run.over():
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])


async def _generate(port: int, connections: int, seconds: float, requests: int | None) -> Load:
    run = _Run(seconds, requests)
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(run), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    used = resource.getrusage(resource.RUSAGE_SELF)
    latencies = sorted(run.latencies)
    return Load(
        seconds=time.perf_counter() - run.started,
        statuses=dict(run.statuses),
        p50_s=latencies[len(latencies) // 2],
        p99_s=latencies[len(latencies) * 99 // 100],
        cpu_s=used.ru_utime + used.ru_stime,
    )


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    requests = int(sys.argv[4]) if len(sys.argv) > 4 else None  # noqa: PLR2004  an optional fourth
    result = uvloop.run(_generate(port, connections, seconds, requests))
    print(json.dumps(result._asdict()))  # noqa: T201  the result
