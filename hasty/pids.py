"""What tells a process from a later one that was given the same number."""

from pathlib import Path


def started(pid: int) -> int:
    """Return when a process started, in clock ticks since the system's boot.

    Unlike a time of day it stays the same when the clock is set or slewed. Raises ProcessLookupError
    where there is no such process. Source: field 22 of /proc/<pid>/stat, proc(5).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    # The second field, the name, is in parentheses and may hold anything.
    return int(stat.rpartition(")")[2].split()[19])
