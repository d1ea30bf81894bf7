"""A child process as its parent sees it: started, spoken to, killed, gone."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

from hasty.children import inside
from hasty.children.flag import Flag
from hasty.children.link import Link

#: A process that has closed its link is given so long to end as it likes: its exit code tells why.
_LINGER_S = 1.0


class End(NamedTuple):
    """How a process ended."""

    #: As the system tells it, negative for a signal; None if it never lived.
    exit_code: int | None
    #: The same for people.
    cause: str


class Process:
    """One run of `inside`.

    `hear` gets each frame that it sends, also what it sent just before its end. Then `ended` is
    called, once: the process is gone, and so is all that it started in its process group. Both
    are called on the loop. Nothing blocks the loop, and nothing polls.
    """

    def __init__(self, hear: Callable[[bytes], None], ended: Callable[[End], None], *, limit: int) -> None:
        """Start it. A process that sends a frame over `limit` bytes, or closes its link, is killed."""
        self._loop = asyncio.get_running_loop()
        self._hear = hear
        self._ended = ended
        self._limit = limit
        self._popen: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        self._flag: Flag | None = None
        self._early: list[bytes] = []
        self._cut = False
        #: Whether somebody asked for its end.
        self.killed = False
        try:
            threading.Thread(target=self._keep, name="hasty-child", daemon=True).start()
        except RuntimeError as error:
            self._loop.call_soon(self._finish, _unborn(error))

    @property
    def usable(self) -> bool:
        """Whether there is a point in asking it for anything more."""
        return not self.killed and not self._cut

    def send(self, content: bytes) -> None:
        """Send a frame; returns at once. What a process that dies does not read is lost."""
        if self._link is None:
            self._early.append(content)
        else:
            self._link.send(content)

    def warn(self, number: int) -> None:
        """Show it the number of a call that is to end. Not before it has said something."""
        if self._flag is not None:
            self._flag.show(number)

    def kill(self) -> None:
        """Kill it now, and what it started in its process group; may be called again."""
        self.killed = True
        self._strike()

    def _strike(self) -> None:
        # It is reaped in this thread and not before `_bury`: until then its id is nobody else's.
        if self._popen is not None and self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    # In a thread of its own ---------------------------------------------------------------------

    def _keep(self) -> None:
        """Start the process, and wait until it is dead.

        For Linux the parent of a process is the thread that started it: when that ends, the
        parent-death signal comes. So this thread lives as long as the process.
        """
        try:
            popen, ours, flag = _start()
        except OSError as error:
            self._tell(self._finish, _unborn(error))
            return
        self._tell(self._attend, popen, ours, flag)
        with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
            os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
        self._tell(self._bury, popen)

    def _tell(self, told: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(told, *arguments)

    # On the loop --------------------------------------------------------------------------------

    def _attend(self, popen: "subprocess.Popen[bytes]", ours: socket.socket, flag: Flag) -> None:
        self._popen, self._flag = popen, flag
        self._link = Link(ours, self._hear, self._lose, limit=self._limit)
        for content in self._early:
            self._link.send(content)
        self._early.clear()
        if self.killed:
            self._strike()

    def _lose(self) -> None:
        """It ends, or nobody can talk to it any more."""
        self._cut = True
        self._loop.call_later(_LINGER_S, self._strike)

    def _bury(self, popen: "subprocess.Popen[bytes]") -> None:
        """Hear what it said at last, kill what it left behind, reap it."""
        if self._link is not None:
            self._link.drain()
            self._link.close()
        if self._flag is not None:
            self._flag.close()
            self._flag = None
        self._strike()
        self._finish(_end(popen.wait()))

    def _finish(self, end: End) -> None:
        self._cut = True
        self._ended(end)


def _start() -> "tuple[subprocess.Popen[bytes], socket.socket, Flag]":
    """Run `inside` with one end of a socket, a flag, our environment and output, and nothing else of ours.

    By its path, so that nobody's `__main__` is imported again; -P keeps its folder off the import
    path. In a process group of its own, which can be killed with all it has started, and which a
    Ctrl-C in the terminal does not reach.
    """
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as otherwise:
        otherwise.enter_context(ours)
        flag = otherwise.enter_context(contextlib.closing(Flag()))
        given = (theirs.fileno(), flag.fileno())
        command = (sys.executable, "-P", inside.__file__, *map(str, given), str(os.getpid()))
        popen = subprocess.Popen(command, pass_fds=given, stdin=subprocess.DEVNULL, process_group=0)
        otherwise.pop_all()
    return popen, ours, flag


def _unborn(error: Exception) -> End:
    return End(None, f"could not be started: {error}")


def _end(code: int) -> End:
    if code >= 0:
        return End(code, f"exited with {code}")
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    return End(code, f"killed by signal {-code}{name}")
