"""Find and stop every process of one instance by the cookie in its environment."""

import os
import time
from collections.abc import Iterable

import psutil

#: Every process of an instance is started with this variable set to the instance's id, or to
#: the id, a slash and the name of a part, which can then be stopped alone.
COOKIE = "HASTY_INSTANCE"

_POLL_S = 0.05
#: A process is invisible for a moment while it executes another program; look again after this.
_SECOND_LOOK_S = 0.1


def processes_of(instance: str) -> list[psutil.Process]:
    """List this user's live processes with the cookie of `instance`, or of a part ("id/part").

    Never among them: the calling process and the processes above it, whatever they carry; what
    has exited but was not collected by its parent; what was started with an environment of its own.
    """
    if not instance:
        raise ValueError("an empty id would be everybody's")
    spared = _own_line()
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in spared and _carries(process, instance)
    ]


def stop_processes_of(instance: str, *, grace_s: float = 3.0, limit_s: float = 15.0) -> list[psutil.Process]:
    """Ask every process of `instance` to stop, kill what is left after `grace_s`.

    Returns once none is left, or after `limit_s` with those that could not be killed.
    """
    start = time.monotonic()
    asked: set[psutil.Process] = set()
    while remaining := _look_twice(instance):
        waited = time.monotonic() - start
        if waited > limit_s:
            break
        if waited > grace_s:
            _kill(remaining)
        else:
            _terminate(set(remaining) - asked)
            asked.update(remaining)
        time.sleep(_POLL_S)
    return remaining


def _look_twice(instance: str) -> list[psutil.Process]:
    """Believe that nothing is left only when two looks say so."""
    found = processes_of(instance)
    if found:
        return found
    time.sleep(_SECOND_LOOK_S)
    return processes_of(instance)


def _own_line() -> set[int]:
    this = psutil.Process()
    return {this.pid, *(above.pid for above in this.parents())}


def _carries(process: psutil.Process, instance: str) -> bool:
    try:
        return (
            process.uids().effective == os.geteuid()
            and _is_of(process.environ().get(COOKIE, ""), instance)
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, OSError):
        return False


def _is_of(cookie: str, instance: str) -> bool:
    return cookie == instance or cookie.startswith(f"{instance}/")


def _terminate(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
