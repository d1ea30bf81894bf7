"""What runs in a child: functions, one at a time, as the parent asks for them.

The parent runs this file by its path. So only the standard library is imported here, until the
parent's `sys.path` has arrived. A frame is four bytes of length, and so many bytes.

The parent sends a greeting (its path, how to prepare, how large a result may be), then calls. The
child answers READY or UNPREPARED, and each call with STARTED and then RETURNED or RAISED. It
answers in JSON: what a user's function made is never unpickled in the parent.
"""

import contextlib
import ctypes
import faulthandler
import io
import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

#: The first byte of each answer.
READY, UNPREPARED, STARTED, RETURNED, RAISED = b"R", b"U", b"S", b"V", b"E"

#: Bytes in front of a frame that say how long it is.
LENGTH = 4

#: What an error may say of itself, in characters.
_ERROR_LIMIT = 2_000

#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1

Functions = Mapping[str, Callable[..., Any]]


def framed(content: bytes) -> bytes:
    """Put its length before a frame."""
    return len(content).to_bytes(LENGTH) + content


def main(descriptor: int, parent: int) -> None:
    """Serve the parent at the other end of the socket until it closes it."""
    _die_with(parent)
    _behave()
    parent_end = _socket(descriptor)
    with parent_end.makefile("rb") as asked, parent_end.makefile("wb", buffering=0) as answers:
        _serve(asked, answers)


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
    """Return our end, which is nobody else's: not of programs started here, not of forks."""
    ours = socket.socket(fileno=descriptor)
    ours.set_inheritable(False)
    # A fork that returned from the function would answer a second time.
    os.register_at_fork(after_in_child=lambda: os.close(descriptor))
    return ours


def _serve(asked: BinaryIO, answers: io.RawIOBase) -> None:
    path, prepare, result_limit = pickle.loads(_next(asked))  # noqa: S301  our own parent wrote it
    sys.path[:] = path
    try:
        functions = pickle.loads(prepare)()  # noqa: S301  the same
    except BaseException as error:
        _say(answers, UNPREPARED + _described(error))
        raise
    _say(answers, READY)
    while call := _next(asked):
        # Said before anything of the call is touched: what happens from here on is its own doing.
        _say(answers, STARTED)
        _say(answers, _answer(functions, call, result_limit))


def _next(asked: BinaryIO) -> bytes:
    """Return the next frame; an empty one when the parent has closed."""
    return asked.read(int.from_bytes(asked.read(LENGTH)))


def _say(answers: io.RawIOBase, content: bytes) -> None:
    rest = memoryview(framed(content))
    while rest:
        rest = rest[answers.write(rest) :]


def _answer(functions: Functions, call: bytes, limit: int) -> bytes:
    """Perform a call. All that a function may do wrong, also exit, is that call's failure."""
    try:
        name, arguments = pickle.loads(call)  # noqa: S301  our own parent wrote it
        result = functions[name](*arguments)
    except BaseException as error:  # noqa: BLE001  see above
        return RAISED + _described(error)
    return _returned(result, limit)


def _returned(result: Any, limit: int) -> bytes:
    """A result that cannot be sent is a failure of its call."""
    try:
        text = json.dumps(result, allow_nan=False, ensure_ascii=False).encode()
    except Exception as error:  # noqa: BLE001  the result may be of a user's own class
        return RAISED + _error("BadResult", f"not JSON: {_text(error)}")
    if len(text) > limit:
        return RAISED + _error("BadResult", f"{len(text)} bytes, over the limit of {limit}")
    return RETURNED + text


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
    main(int(sys.argv[1]), int(sys.argv[2]))
