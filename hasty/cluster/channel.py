"""Calls between actors on one machine, by a Unix socket: a fraction of what a call through Ray costs.

Ray starts the actors, restarts them, and carries what must find one that is elsewhere or not there
yet. What is said often, by one that can say it again, takes this way where there is one.

A frame is a length, the number of a call, and so many bytes: the method, a line feed and a message
on the way there; a sign and an answer, or an error of ours, on the way back. The socket lies in a
folder that only this user can enter, so nobody else's bytes are ever unpickled.
"""

import asyncio
import contextlib
import itertools
import logging
import pickle
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from hasty.cluster.private import check_private, make_private
from hasty.errors import HastyError
from hasty.telemetry import ChannelUnusable, emit

#: What a caller may ask for: messages go in and come out as bytes.
Methods = Mapping[str, Callable[[bytes], Awaitable[bytes | None]]]

_HEADER = struct.Struct("<IQ")

#: Twice the heaviest batch that is ever sent.
_LONGEST = 64 * 1024 * 1024

#: A stream holds twice so much before its sender must wait.
_BUFFER = 1024 * 1024

_ANSWER, _ERROR = b"+", b"-"

Frame = tuple[int, bytes]


async def _read(reader: asyncio.StreamReader) -> Frame:
    length, number = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    if length > _LONGEST:
        raise ConnectionError(f"a frame of {length} bytes")
    return number, await reader.readexactly(length)


def _write(writer: asyncio.StreamWriter, number: int, body: bytes) -> None:
    writer.write(_HEADER.pack(len(body), number) + body)


class Listener:
    """The end at which an actor is called. A caller that leaves stops nothing it has asked for."""

    def __init__(self, path: Path, methods: Methods) -> None:
        """Offer these methods at `path`; nothing listens yet."""
        self._path = path
        self._methods = methods
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen from now on; where that cannot be, callers take the way through Ray.

        Whoever listened there before is not found any more.
        """
        try:
            make_private(self._path.parent)
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._converse, self._path, limit=_BUFFER)
        except OSError as error:
            emit(ChannelUnusable(str(self._path), str(error)), level=logging.WARNING)

    def close(self) -> None:
        """Take no more connections. Those that there are end with the process."""
        if self._server is not None:
            self._server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                number, body = await _read(reader)
                task = asyncio.ensure_future(self._answer(writer, number, body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, number: int, body: bytes) -> None:
        method, _, message = body.partition(b"\n")
        try:
            answer = _ANSWER + (await self._methods[method.decode()](message) or b"")
        except HastyError as error:
            answer = _ERROR + pickle.dumps(error)
        except Exception as error:
            logging.getLogger("hasty").exception("%s failed", method.decode())
            answer = _ERROR + pickle.dumps(HastyError(f"{method.decode()} failed ({type(error).__name__})"))
        if not writer.is_closing():
            _write(writer, number, answer)


class Channel:
    """The end from which an actor is called; connects when there is something to say, and again."""

    def __init__(self, path: Path) -> None:
        """Call whoever listens at `path`."""
        self._path = path
        self._line: _Line | None = None
        self._dialling = asyncio.Lock()

    async def call(self, method: str, message: bytes) -> bytes | None:
        """Return the answer (empty where the method returns nothing). Raises the actor's own HastyError.

        None: nobody listens here, or the connection broke. Then it may or may not have been carried out.
        """
        try:
            return await (await self._connected()).call(method, message)
        except (OSError, EOFError):
            return None

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line.close()

    async def _connected(self) -> "_Line":
        async with self._dialling:
            if self._line is None or self._line.broken:
                check_private(self._path.parent)
                self._line = _Line(*await asyncio.open_unix_connection(self._path, limit=_BUFFER))
            return self._line


class _Line:
    """One connection, and who waits for an answer on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._hearing = asyncio.ensure_future(self._hear(reader))

    @property
    def broken(self) -> bool:
        return self._hearing.done()

    def close(self) -> None:
        self._writer.close()

    async def call(self, method: str, message: bytes) -> bytes:
        """Raises ConnectionError when the connection breaks."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            _write(self._writer, number, method.encode() + b"\n" + message)
            await self._writer.drain()
            answer = await self._waiting[number]
        finally:
            del self._waiting[number]
        if answer[:1] == _ERROR:
            raise pickle.loads(answer[1:])  # noqa: S301  from a process of this user
        return answer[1:]

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                number, answer = await _read(reader)
                # Its caller may have left.
                if number in self._waiting and not self._waiting[number].done():
                    self._waiting[number].set_result(answer)
        self._writer.close()
        for answer_to in self._waiting.values():
            if not answer_to.done():
                answer_to.set_exception(ConnectionError("the connection broke"))
