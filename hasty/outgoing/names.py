"""Looking names up without standing still: a name server that does not answer holds up its own names."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hasty.errors import Overloaded

#: So many names are looked up at once; more are refused. The system's own way to do it just blocks, for
#: half a minute where a name server is silent: so each has a thread, and none waits behind another.
#: A Courier begins fewer calls in that time, unless they are given up much sooner.
_AT_ONCE = 256

Addresses = tuple[str, ...]

#: Looks a name up, and blocks. Raises OSError.
Lookup = Callable[[str], Addresses]


def look_up(host: str) -> Addresses:
    """Return the addresses of a host, in the order in which they are to be tried. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class Resolver:
    """Looks hosts up, each once at a time: those that ask for the same one meanwhile share the answer.

    So a host that is slow to be found holds up nobody else, as long as there is room.
    """

    def __init__(self, lookup: Lookup = look_up) -> None:
        """Start no thread yet."""
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_AT_ONCE, "hasty-names")
        self._pending: dict[str, asyncio.Future[Addresses]] = {}

    async def addresses(self, host: str) -> Addresses:
        """Return the addresses of a host as they are now. Raises OSError; Overloaded: no room."""
        pending = self._pending.get(host)
        if pending is None:
            pending = self._pending[host] = self._ask(host)
        # Whoever gives up waiting leaves it to the others.
        return await asyncio.shield(pending)

    def _ask(self, host: str) -> "asyncio.Future[Addresses]":
        if len(self._pending) >= _AT_ONCE:
            raise Overloaded("too many names are being looked up")
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
