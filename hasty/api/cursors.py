"""Cursors: where a list goes on, in a text that clients keep and do not read."""

import base64
import hashlib
import json
import re
from typing import Any

from hasty.errors import InvalidRequest
from hasty.store.base import JobFilter, Place

#: Raised by one whenever the meaning of a place changes.
_VERSION = 1

#: So many hexadecimal digits of a digest tell filters apart: it guards against mistakes only.
_DIGITS = 16

#: Longest cursor that is read, in characters.
CURSOR_LIMIT = 512

_MADE_UP = "is none that was given out"

_JOB_ID = re.compile(r"[!-~]{1,128}")
_MOST_RUNS = 2**53


def cursor_of(wanted: JobFilter, place: Place) -> str:
    """Return the cursor of a place in the list of what is wanted."""
    told = json.dumps([_VERSION, _digest(wanted), place], separators=(",", ":"))
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def place_in(cursor: str, wanted: JobFilter) -> Place:
    """Return the place that a cursor means. Raises InvalidRequest.

    It is not signed: who makes one up finds out nothing that a list would not tell.
    """
    version, digest, place = _parts(cursor)
    if version != _VERSION:
        raise _wrong("is of another release; begin anew")
    if digest != _digest(wanted):
        raise _wrong("belongs to a list with other filters; begin anew")
    match place:
        case bool():
            pass
        case int() if wanted.by_run and 0 < place < _MOST_RUNS:
            return place
        case str() if not wanted.by_run and _JOB_ID.fullmatch(place):
            return place
    raise _wrong(_MADE_UP)


def _parts(cursor: str) -> tuple[Any, Any, Any]:
    try:
        if len(cursor) > CURSOR_LIMIT:
            raise _wrong(_MADE_UP)
        padded = cursor + "=" * (-len(cursor) % 4)
        version, digest, place = json.loads(base64.b64decode(padded, altchars="-_", validate=True))
    except (ValueError, TypeError):
        raise _wrong(_MADE_UP) from None
    return version, digest, place


def _digest(wanted: JobFilter) -> str:
    told = json.dumps([sorted(wanted.statuses), *wanted[1:]], default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:_DIGITS]


def _wrong(what: str) -> InvalidRequest:
    return InvalidRequest(complaints=(("cursor", what),))
