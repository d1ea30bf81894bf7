"""What runs in a child: functions, one at a time, as the parent asks for them.

The parent runs this file by its path. So only the standard library is imported here, until the
parent's `sys.path` has arrived. A frame is four bytes of length, and so many bytes.

The parent sends a greeting (its path, how to prepare, how large a result may be), then calls. The
child answers READY or UNPREPARED, and each call with STARTED, then TOLD as often as its function
tells something, and then RETURNED or RAISED. It answers in JSON: what a user's function made is
never unpickled in the parent.

Both count the calls from 1. A warning is no frame, since nobody reads while a function runs: it is
the number of the call that is to end, in memory that the parent writes and the child can read. The
number of a call that is over warns nobody.
"""

import contextlib
import contextvars
import ctypes
import faulthandler
import functools
import io
import json
import mmap
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

#: The first byte of each answer.
READY, UNPREPARED, STARTED, TOLD, RETURNED, RAISED = b"R", b"U", b"S", b"T", b"V", b"E"

#: Bytes in front of a frame that say how long it is.
LENGTH = 4

#: Bytes of the number in the shared memory, in the machine's own order.
FLAG = 8

#: Bytes of JSON that a function may tell at a time. Linux takes so much whole or not at all: a
#: signal handler that raises in the middle of it leaves no half of a frame.
TOLD_LIMIT = 16 * 1024

#: What an error may say of itself, in characters.
_ERROR_LIMIT = 2_000

#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1

Functions = Mapping[str, Callable[..., Any]]


def framed(content: bytes) -> bytes:
    """Put its length before a frame."""
    return len(content).to_bytes(LENGTH) + content


class Line:
    """What a function has of its parent, for as long as it runs. For any of its threads."""

    def __init__(self, link: "_Link", number: int) -> None:
        """Lines are made by `_Link.line`."""
        self._link = link
        self._number = number

    def tell(self, value: Any) -> None:
        """Send a JSON value to the parent; waits only while the socket is full.

        Raises TypeError or ValueError for what is not JSON, and ValueError for more than TOLD_LIMIT
        bytes of it. When the function has ended nothing is sent any more, and nothing is raised; nor
        in a process that it forked.
        """
        told = TOLD + _told(value)
        with self._link.lock:
            if self._link.at == self._number:
                self._link.say(told)

    def warned(self) -> bool:
        """Return whether the call is to end. It costs a look into memory: ask as often as you like."""
        return self._link.flag.value == self._number


class _Link:
    """Our end of the socket, for all who write to it, and the memory that the parent writes."""

    def __init__(self, end: socket.socket, flag: ctypes.c_uint64) -> None:
        self._end = end
        self.flag = flag
        #: Reentrant, because a signal handler may tell something while its thread tells something.
        self.lock = threading.RLock()
        #: The number of the call whose function runs; 0 if none does.
        self.at = 0
        os.register_at_fork(after_in_child=self._leave)

    @contextlib.contextmanager
    def line(self, number: int) -> Iterator[Line]:
        """Let a call speak until this ends: a thread that goes on must not speak for the next one."""
        self.at = number
        try:
            yield Line(self, number)
        finally:
            with self.lock:
                self.at = 0

    def say(self, content: bytes) -> None:
        """Send a frame."""
        rest = memoryview(framed(content))
        while rest:
            rest = rest[self._end.send(rest) :]

    def _leave(self) -> None:
        """Belong to no fork: one that returned from the function would answer a second time."""
        self.at = 0
        self.lock = threading.RLock()  # a thread that held the old one is not here to release it
        with contextlib.suppress(OSError):  # a fork of a fork, or closed by the function
            os.close(self._end.detach())


def main(descriptor: int, memory: int, parent: int) -> None:
    """Serve the parent at the other end of the socket until it closes it."""
    _die_with(parent)
    _behave()
    end = _socket(descriptor)
    link = _Link(end, _shared(memory))
    with end.makefile("rb") as asked:
        _serve(asked, link)


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that started it dies, whatever runs here then."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before it was asked for
        os._exit(1)


def _behave() -> None:
    """Ignore Ctrl-C, which is for the supervisor; show at once what is printed; tell where a crash was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The thread that started this process may have had signals blocked.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is buffered is lost in a kill
    if sys.stderr is not None:
        faulthandler.enable()
    del sys.argv[1:]


def _socket(descriptor: int) -> socket.socket:
    """Return our end, which is nobody else's: not of programs started here.

    It blocks, whatever timeout sockets have by default in the parent, which made it.
    """
    ours = socket.socket(fileno=descriptor)
    ours.set_inheritable(False)
    ours.setblocking(True)
    return ours


def _shared(memory: int) -> ctypes.c_uint64:
    """Return the number in the shared memory: to read, as long as we live, and without its file.

    The module mmap would keep a descriptor, which a function could close, or find in its way.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    address = libc.mmap(None, FLAG, mmap.PROT_READ, mmap.MAP_SHARED, memory, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    os.close(memory)
    return ctypes.c_uint64.from_address(address)


def _serve(asked: BinaryIO, link: _Link) -> None:
    path, prepare, result_limit = pickle.loads(_next(asked))  # noqa: S301  our own parent wrote it
    sys.path[:] = path
    try:
        functions = pickle.loads(prepare)()  # noqa: S301  the same
    except BaseException as error:
        link.say(UNPREPARED + _described(error))
        raise
    link.say(READY)
    for number, call in enumerate(iter(functools.partial(_next, asked), b""), start=1):
        # Said before anything of the call is touched: what happens from here on is its own doing.
        link.say(STARTED)
        with link.line(number) as line:
            answer = _answer(functions, call, line, result_limit)
        link.say(answer)


def _next(asked: BinaryIO) -> bytes:
    """Return the next frame; an empty one when the parent has closed."""
    return asked.read(int.from_bytes(asked.read(LENGTH)))


def _answer(functions: Functions, call: bytes, line: Line, limit: int) -> bytes:
    """Perform a call. All that a function may do wrong, also exit, is that call's failure."""
    try:
        name, arguments = pickle.loads(call)  # noqa: S301  our own parent wrote it
        # In a context of its own: what it sets there is not for the next call.
        result = contextvars.copy_context().run(functions[name], line, *arguments)
    except BaseException as error:  # noqa: BLE001  see above
        return RAISED + _described(error)
    return _returned(result, limit)


def _returned(result: Any, limit: int) -> bytes:
    """A result that cannot be sent is a failure of its call."""
    try:
        text = _written(result)
    except Exception as error:  # noqa: BLE001  the result may be of a user's own class
        return RAISED + _error("BadResult", f"not JSON: {_text(error)}")
    if len(text) > limit:
        return RAISED + _error("BadResult", f"{len(text)} bytes, over the limit of {limit}")
    return RETURNED + text


def _told(value: Any) -> bytes:
    """What cannot be told is an error of whoever tells it."""
    try:
        text = _written(value)
    except RecursionError as error:
        raise ValueError("not JSON: nested too deeply") from error
    if len(text) > TOLD_LIMIT:
        raise ValueError(f"{len(text)} bytes of JSON, over the limit of {TOLD_LIMIT}")
    return text


def _written(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def _described(error: BaseException) -> bytes:
    return _error(type(error).__name__, _text(error))


def _text(error: BaseException) -> str:
    """Let an error say what it is, if it can."""
    with contextlib.suppress(Exception):
        return str(error)
    return ""


def _error(kind: str, text: str) -> bytes:
    return json.dumps([kind[:_ERROR_LIMIT], text[:_ERROR_LIMIT]]).encode()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
