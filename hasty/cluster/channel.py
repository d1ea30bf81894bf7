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
import os
import pickle
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from hasty.errors import HastyError
from hasty.private import check_private, make_private
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

#: Descriptors of this process that a fork must not keep: it would seem to be us, when we are dead.
_OURS: set[int] = set()


def _let_go() -> None:
    for descriptor in _OURS:
        with contextlib.suppress(OSError):
            os.close(descriptor)


os.register_at_fork(after_in_child=_let_go)


async def _read(reader: asyncio.StreamReader) -> Frame:
    length, number = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    if length > _LONGEST:
        raise ConnectionError(f"a frame of {length} bytes")
    return number, await reader.readexactly(length)


def _write(writer: asyncio.StreamWriter, number: int, body: bytes) -> None:
    writer.write(_HEADER.pack(len(body), number) + body)


@contextlib.contextmanager
def _not_for_forks(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Keep a connection to this process for so long, and close it then."""
    descriptor = writer.get_extra_info("socket").fileno()
    _OURS.add(descriptor)
    try:
        yield
    finally:
        _OURS.discard(descriptor)
        writer.transport.abort()


class Listener:
    """The end at which an actor is called. A caller that leaves stops nothing it has asked for."""

    def __init__(self, path: Path, methods: Methods) -> None:
        """Offer these methods at `path`; nothing listens yet."""
        self._path = path
        self._methods = methods
        self._server: asyncio.Server | None = None
        self._sockets: set[int] = set()
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
            return
        self._sockets = {socket.fileno() for socket in self._server.sockets}
        _OURS.update(self._sockets)

    def close(self) -> None:
        """Take no more connections. Those that there are end with the process."""
        if self._server is not None:
            _OURS.difference_update(self._sockets)
            self._server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with _not_for_forks(writer), contextlib.suppress(OSError, EOFError):
            while True:
                number, body = await _read(reader)
                task = asyncio.ensure_future(self._answer(writer, number, body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer(self, writer: asyncio.StreamWriter, number: int, body: bytes) -> None:
        method, _, message = body.partition(b"\n")
        # An answer may take as long as a job; a batch need not be kept twice.
        del body
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
    """The end from which an actor is called; connects when there is something to say, and again.

    It stays with nobody who was replaced: also one that is frozen, and whose connection stands, is left
    when a successor listens.
    """

    def __init__(self, path: Path) -> None:
        """Call whoever listens at `path`."""
        self._path = path
        self._line: _Line | None = None
        #: What the line leads to: a socket keeps its number for as long as anybody has it open.
        self._inode = 0
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
            if self._line is not None and self._replaced():
                self._line.close()
            if self._line is None or self._line.broken:
                check_private(self._path.parent)
                self._inode = self._path.stat().st_ino
                self._line = _Line(*await asyncio.open_unix_connection(self._path, limit=_BUFFER))
            return self._line

    def _replaced(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._path.stat().st_ino != self._inode
        return False


class _Line:
    """One connection, and who waits for an answer on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        #: None, in the end, for those who wait when the connection breaks.
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self._closed = False
        self._hearing = asyncio.ensure_future(self._hear(reader))

    @property
    def broken(self) -> bool:
        # Also one whose end is not heard yet: uvloop lets nobody write into it.
        return self._closed or self._hearing.done() or self._writer.is_closing()

    def close(self) -> None:
        # Not `close`: it would wait until all is sent, and one that is frozen reads nothing.
        self._closed = True
        self._writer.transport.abort()

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
        if answer is None:
            raise ConnectionError("the connection broke")
        if answer[:1] == _ERROR:
            raise pickle.loads(answer[1:])  # noqa: S301  from a process of this user
        return answer[1:]

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        with _not_for_forks(self._writer), contextlib.suppress(OSError, EOFError):
            while True:
                number, answer = await _read(reader)
                # Its caller may have left.
                if number in self._waiting and not self._waiting[number].done():
                    self._waiting[number].set_result(answer)
        for answer_to in self._waiting.values():
            if not answer_to.done():
                answer_to.set_result(None)
