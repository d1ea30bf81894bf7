"""The flight recorder: which job's code was at work when a process died.

Every step of a handler's coroutine first writes its job and claim into a small memory-mapped
file, and clears them after. The file outlives the process, so the next one reads whose code
was on the loop at the end. What a handler starts beside its own coroutine (threads, tasks) is
not followed.
"""

import contextlib
import logging
import mmap
import os
import struct
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hasty.private import make_private
from hasty.telemetry import RecorderUnusable, emit

Result = TypeVar("Result")

#: Room for a job id and a claim; both are far shorter.
_ENTRY = 256

_NOTHING = bytes(_ENTRY)

#: Behind the entry: how often the system had killed for memory when this life began.
_KILLS = struct.Struct("<q")

#: Bytes of memory that a recorder needs.
SIZE = _ENTRY + _KILLS.size


class Trace(NamedTuple):
    """An attempt whose code was at work."""

    job_id: str
    claim: str


class FlightRecorder:
    """Writes who is at work into memory that outlives the process; one loop writes."""

    def __init__(self, memory: "mmap.mmap | bytearray") -> None:
        """Read what a predecessor left in `memory` (SIZE bytes); it stays there until `begin`."""
        self._memory = memory
        self.last = _read(bytes(memory[:_ENTRY]))
        (kills,) = _KILLS.unpack(memory[_ENTRY:SIZE])
        #: Whether the system killed a process for memory in the predecessor's life.
        self.memory_ran_out = 0 < kills <= _kills_for_memory()

    def begin(self) -> None:
        """Forget what the predecessor left: it has been dealt with."""
        self._memory[:_ENTRY] = _NOTHING
        self._memory[_ENTRY:SIZE] = _KILLS.pack(_kills_for_memory() + 1)
        self.last = None

    def follow(
        self, steps: Coroutine[Any, Any, Result], job_id: str, claim: str
    ) -> Coroutine[Any, Any, Result]:
        """Return a coroutine that does the same, and is on record while it does."""
        return _Followed(steps, self._memory, _written(job_id, claim))


def open_recorder(path: Path) -> FlightRecorder:
    """Open the recorder of this name on this machine. Never raises.

    Where the file cannot be used, it records in the process alone, and nobody is ever blamed.
    """
    try:
        return FlightRecorder(_mapped(path))
    except OSError as error:
        emit(RecorderUnusable(str(path), str(error)), level=logging.WARNING)
        return FlightRecorder(bytearray(SIZE))


def _mapped(path: Path) -> mmap.mmap:
    make_private(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        file.truncate(SIZE)
        return mmap.mmap(file.fileno(), SIZE)


def _kills_for_memory() -> int:
    """Count the processes that this machine's kernel has killed because memory ran out."""
    with contextlib.suppress(OSError), Path("/proc/vmstat").open() as counters:
        for line in counters:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _written(job_id: str, claim: str) -> bytes:
    return f"{job_id} {claim}".encode().ljust(_ENTRY, b"\0")


def _read(memory: bytes) -> Trace | None:
    """A step that was cut off while it wrote leaves words that name no attempt: they blame nobody."""
    words = memory.rstrip(b"\0").decode(errors="replace").split(" ")
    return Trace(*words) if len(words) == len(Trace._fields) else None


class _Followed(Coroutine[Any, Any, Result]):
    """A coroutine each of whose steps is on record."""

    __slots__ = ("_entry", "_memory", "_steps")

    def __init__(
        self, steps: Coroutine[Any, Any, Result], memory: "mmap.mmap | bytearray", entry: bytes
    ) -> None:
        self._steps = steps
        self._memory = memory
        self._entry = entry

    def send(self, value: Any) -> Any:
        self._memory[:_ENTRY] = self._entry
        try:
            return self._steps.send(value)
        finally:
            self._memory[:_ENTRY] = _NOTHING

    def throw(self, *error: Any) -> Any:
        self._memory[:_ENTRY] = self._entry
        try:
            return self._steps.throw(*error)
        finally:
            self._memory[:_ENTRY] = _NOTHING

    def close(self) -> None:
        self._steps.close()

    def __await__(self) -> Generator[Any, Any, Result]:
        raise TypeError("it is for a task, not to be awaited")
