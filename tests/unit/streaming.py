"""A client of streams, which the usual in-process client is not: it waits for the end of an answer."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import NamedTuple


class Sent(NamedTuple):
    """A block of a stream as a browser takes it: what it dispatches, and the id it has then."""

    event: str
    data: dict
    last_event_id: str

    @property
    def seq(self):
        return int(self.last_event_id)


class Stream:
    """One answer of an ASGI application, as it comes."""

    def __init__(self, app, path, query="", **headers):
        self.status = None
        self.headers = {}
        self.received = b""
        self.closed = False
        self._arrived = asyncio.Event()
        self._sent = []
        self._left = b""
        self.last_event_id = ""
        #: Set: the client takes nothing, as long as it is.
        self.takes = asyncio.Event()
        self.takes.set()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "scheme": "http",
            "server": ("hasty", 80),
            "client": ("client", 1),
        }
        self._task = asyncio.ensure_future(app(scope, self._receive, self._send))
        self._task.add_done_callback(lambda _task: self._arrived.set())

    async def _receive(self):
        await asyncio.Event().wait()

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            await self.takes.wait()
            self.received += message.get("body", b"")
            self._left += message.get("body", b"")
            self.closed = not message.get("more_body", False)
            self._parse()
        self._arrived.set()

    def _parse(self):
        """As HTML's standard has it, for streams whose lines end in LF."""
        *blocks, self._left = self._left.split(b"\n\n")
        for block in blocks:
            event, data = "message", []
            for line in block.decode().split("\n"):
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
                elif name == "id":
                    self.last_event_id = value
            if data:
                (line,) = data
                self._sent.append(Sent(event, json.loads(line), self.last_event_id))

    async def opened(self):
        while self.status is None and not self._task.done():
            self._arrived.clear()
            await self._arrived.wait()
        return self

    async def next(self, within_s=3_600.0):
        """Return the next event; None at the end of the answer. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while not self._sent and not self._task.done():
                self._arrived.clear()
                await self._arrived.wait()
        if self._sent:
            return self._sent.pop(0)
        await self._task
        return None

    async def some(self, count, within_s=3_600.0):
        return [await self.next(within_s) for _ in range(count)]

    async def rest(self, within_s=3_600.0):
        """Return all that comes until the end of the answer."""
        return [sent async for sent in self._until_the_end(within_s)]

    async def _until_the_end(self, within_s):
        while (sent := await self.next(within_s)) is not None:
            yield sent

    def taken(self):
        """Return what is there now."""
        sent, self._sent = self._sent, []
        return sent

    async def leave(self):
        """Hang up. The server cancels what it does for this client."""
        self._task.cancel()
        await asyncio.wait({self._task})


@asynccontextmanager
async def following(app, path="/v1/events", query="", **headers):
    stream = await Stream(app, path, query, **headers).opened()
    try:
        yield stream
    finally:
        await stream.leave()
