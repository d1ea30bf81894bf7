"""Looking names up without standing still: a name server that does not answer holds up its own names."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

#: So many names are looked up at once, each in a thread: the system's own way to do it just blocks.
_THREADS = 32

#: And so many wait for a thread or are being looked up; more are refused.
_PENDING = 256

Addresses = tuple[str, ...]

#: Looks a name up, and blocks. Raises OSError.
Lookup = Callable[[str], Addresses]


def look_up(host: str) -> Addresses:
    """Return the addresses of a host, in the order in which they are to be tried. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class Resolver:
    """Looks hosts up. Those that ask for the same one at the same time share the answer."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        """Start no thread yet."""
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_THREADS, "hasty-names")
        self._pending: dict[str, asyncio.Future[Addresses]] = {}

    async def addresses(self, host: str) -> Addresses:
        """Return the addresses of a host as they are now. Raises OSError, also where too many are asked."""
        pending = self._pending.get(host)
        if pending is None:
            pending = self._pending[host] = self._ask(host)
        # Whoever gives up waiting leaves it to the others.
        return await asyncio.shield(pending)

    def _ask(self, host: str) -> "asyncio.Future[Addresses]":
        if len(self._pending) >= _PENDING:
            raise OSError("too many names are being looked up")
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._lookup, host)
        asked.add_done_callback(lambda done: self._answered(host, done))
        return asked

    def _answered(self, host: str, done: "asyncio.Future[Addresses]") -> None:
        del self._pending[host]
        # Perhaps nobody waits for it any more: then its error is not missed.
        if not done.cancelled():
            done.exception()

    def close(self) -> None:
        """Start nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
