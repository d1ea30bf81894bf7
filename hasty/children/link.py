"""Frames to and from a child, over a socket and on the loop."""

import asyncio
import socket
from collections.abc import Callable

from hasty.children import inside

_CHUNK = 64 * 1024


class Link:
    """Our end of a socket, in frames. Nothing here waits."""

    def __init__(
        self, end: socket.socket, hear: Callable[[bytes], None], cut: Callable[[], None], *, limit: int
    ) -> None:
        """Pass each frame to `hear`; call `cut` once when no more will come, or one is over `limit` bytes."""
        self._loop = asyncio.get_running_loop()
        self._socket = end
        self._hear = hear
        self._cut = cut
        self._limit = limit
        self._incoming, self._outgoing = bytearray(), bytearray()
        end.setblocking(False)
        self._loop.add_reader(end.fileno(), self._receive)

    def send(self, content: bytes) -> None:
        """Send a frame; returns at once. What the other end does not read before it closes is lost."""
        self._outgoing += inside.framed(content)
        self._transmit()

    def drain(self) -> None:
        """Hear everything that was sent until now."""
        while self._receive():
            pass

    def close(self) -> None:
        """Let go of the socket."""
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()

    def _transmit(self) -> None:
        """Write what can be written now, and the rest when there is room."""
        try:
            del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._outgoing.clear()  # nobody reads any more; we shall read the end of it
        if self._outgoing:
            self._loop.add_writer(self._socket.fileno(), self._transmit)
        else:
            self._loop.remove_writer(self._socket.fileno())

    def _receive(self) -> bool:
        """Read once, and pass on the frames that are whole; return whether there may be more."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # a reset: it ended without reading all we sent
        self._incoming += data
        return bool(data and self._parse()) or self._stop()

    def _parse(self) -> bool:
        """Pass on what is whole; return whether it made sense."""
        while len(self._incoming) >= inside.LENGTH:
            stop = inside.LENGTH + int.from_bytes(self._incoming[: inside.LENGTH])
            if stop > self._limit:
                return False
            if len(self._incoming) < stop:
                break
            frame = bytes(self._incoming[inside.LENGTH : stop])
            del self._incoming[:stop]
            self._hear(frame)
        return True

    def _stop(self) -> bool:
        """Read no more."""
        if self._loop.remove_reader(self._socket.fileno()):
            self._cut()
        return False
