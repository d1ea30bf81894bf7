"""Exit codes: what a job's end, an error or a signal is to the script that called `hasty`."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Self

from hasty.errors import (
    AlreadyEnded,
    CannotStart,
    FixTheRequest,
    Forbidden,
    HastyError,
    JobCancelled,
    JobRefused,
    ScheduleExists,
    TooManySchedules,
    TryAgainLater,
    Unauthorized,
    WaitTimeout,
)


class Exit(IntEnum):
    """How a command ended. The numbers are stable; the table in docs/cli.md is this one."""

    OK = 0, "It did what it was asked; a job that was waited for has finished."
    FAILED = 1, "A job has failed; `doctor` found something broken; or something unforeseen happened."
    USAGE = 2, "You must change something first: the command line, the request, or this machine."
    CANCELLED = 3, "A job was cancelled, or overran its timeout."
    REFUSED = 4, "Not as things stand: the rerun window is shut, the job has ended, a schedule has this name."
    TRY_LATER = 5, "hasty cannot be reached, or is not ready; the same command may succeed later."
    NOT_FOUND = 6, "There is no such job, object, handler, pool or schedule."
    NOT_ALLOWED = 7, "The API key is missing, unknown, expired, or not enough for this."
    NOT_ENDED = 8, "The time of `--within` was over before the job ended; it goes on."
    INTERRUPTED = 130, "Ctrl-C; jobs are left alone."
    BROKEN_PIPE = 141, "Whoever read the output has stopped reading."

    meaning: str

    def __new__(cls, number: int, meaning: str) -> Self:
        """Make a member of a number and what it means."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member


#: From the best to the worst: of several, the last one that occurred is told.
_BY_WEIGHT = (
    Exit.OK,
    Exit.CANCELLED,
    Exit.FAILED,
    Exit.NOT_ENDED,
    Exit.REFUSED,
    Exit.NOT_FOUND,
    Exit.USAGE,
    Exit.NOT_ALLOWED,
    Exit.TRY_LATER,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
)

_OF_STATUS = {"finished": Exit.OK, "failed": Exit.FAILED, "cancelled": Exit.CANCELLED}

#: The statuses of jobs that have ended.
FINAL = frozenset(_OF_STATUS)

#: Beside every code that begins with `unknown_`.
_NOT_FOUND = frozenset({"not_found", "no_webhook"})

#: The first that fits counts.
_OF_KIND: tuple[tuple[type[HastyError], Exit], ...] = (
    (JobRefused, Exit.REFUSED),
    (AlreadyEnded, Exit.REFUSED),
    (ScheduleExists, Exit.REFUSED),
    (TooManySchedules, Exit.REFUSED),
    (Unauthorized, Exit.NOT_ALLOWED),
    (Forbidden, Exit.NOT_ALLOWED),
    (WaitTimeout, Exit.NOT_ENDED),
    (JobCancelled, Exit.CANCELLED),
    (TryAgainLater, Exit.TRY_LATER),
    (FixTheRequest, Exit.USAGE),
    (CannotStart, Exit.USAGE),
)


def of_status(status: str) -> Exit:
    """Return the code for a job that stands so. One that has not ended has done nothing wrong."""
    return _OF_STATUS.get(status, Exit.OK)


def of_error(error: HastyError) -> Exit:
    """Return the code for an error."""
    if error.code.startswith("unknown_") or error.code in _NOT_FOUND:
        return Exit.NOT_FOUND
    return next((code for kind, code in _OF_KIND if isinstance(error, kind)), Exit.FAILED)


def worst(codes: Iterable[Exit]) -> Exit:
    """Return the code that tells of several things at once."""
    return max(codes, key=_BY_WEIGHT.index, default=Exit.OK)
