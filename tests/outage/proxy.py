"""A wire between pymongo and mongod that can swallow a reply: the server did it, and nobody hears of it."""

import asyncio
import struct
from collections import Counter
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import bson

from hasty.store.mongo.server import socket_uri

#: length, requestID, responseTo, opCode: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
#: After the header: four bytes of flags, one of the first section's kind.
_BODY = _HEADER.size + 5


class Proxy:
    """Passes everything on, but for the replies to the commands that are told to get lost."""

    def __init__(self, port: int, path: Path) -> None:
        self._port, self._path = port, path
        #: How many more replies to lose, by (command, collection).
        self._to_lose: Counter[tuple[str, str]] = Counter()
        self.lost: Counter[tuple[str, str]] = Counter()

    @property
    def uri(self) -> str:
        return socket_uri(self._path)

    def lose(self, command: str, collection: str, times: int = 1) -> None:
        self._to_lose[command, collection] += times

    @asynccontextmanager
    async def listening(self):
        server = await asyncio.start_unix_server(self._serve, self._path)
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, client_in, client_out) -> None:
        server_in, server_out = await asyncio.open_connection("127.0.0.1", self._port)
        #: Requests whose replies get lost.
        doomed: dict[int, tuple[str, str]] = {}
        pumps = [
            asyncio.ensure_future(self._requests(client_in, server_out, doomed)),
            asyncio.ensure_future(self._replies(server_in, client_out, doomed)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for writer in (server_out, client_out):
            writer.close()
        await asyncio.wait(pumps)

    async def _requests(self, client, server, doomed) -> None:
        async for header, message in _messages(client):
            _, request_id, _, kind = header
            about = _command(message) if kind == _OP_MSG else ("", "")
            if self._to_lose[about] > 0:
                self._to_lose[about] -= 1
                doomed[request_id] = about
            server.write(message)

    async def _replies(self, server, client, doomed) -> None:
        async for (_, _, response_to, _), message in _messages(server):
            if response_to in doomed:
                self.lost[doomed[response_to]] += 1
                return
            client.write(message)


async def _messages(reader):
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            start = await reader.readexactly(_HEADER.size)
            header = _HEADER.unpack(start)
            yield header, start + await reader.readexactly(header[0] - _HEADER.size)


def _command(message: bytes) -> tuple[str, str]:
    """The command and its collection: the first element of the first section."""
    (length,) = struct.unpack_from("<i", message, _BODY)
    name, value = next(iter(bson.decode(message[_BODY : _BODY + length]).items()))
    return name, value if isinstance(value, str) else ""
