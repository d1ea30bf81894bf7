"""What people type, read: payloads, labels, durations, moments, sizes of pools."""

import json
import re
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from hasty.clock import Clock
from hasty.errors import InvalidRequest

#: More digits than any size has; and Python refuses to read very many.
_MOST_DIGITS = 9

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)([smhd]?)", re.ASCII)


def wrong(option: str, what: str) -> InvalidRequest:
    """Return the error for something typed that cannot be read."""
    return InvalidRequest(complaints=((option, what),))


def read_json(option: str, text: str | None) -> Any:
    """Read JSON: as it is given, from a file (`@file`), or from standard input (`-`).

    Raises InvalidRequest, which names the option.
    """
    if text is None:
        return None
    try:
        return json.loads(_text_of(option, text), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        hint = "" if text[:1] in {"-", "@"} else """; a string has quotes of its own: '"text"'"""
        raise wrong(option, f"is not JSON: {error}{hint}") from None


def _text_of(option: str, text: str) -> str:
    try:
        if text == "-":
            return sys.stdin.read()
        return Path(text[1:]).read_text() if text.startswith("@") else text
    except UnicodeDecodeError:
        raise wrong(option, "is not text in UTF-8") from None
    except OSError as error:
        raise wrong(option, f"cannot read {text[1:]}: {error.strerror}") from None


def _refuse_constant(name: str) -> None:
    msg = f"{name} is no number in it"
    raise ValueError(msg)


def read_labels(option: str, given: Iterable[str] | None) -> dict[str, str] | None:
    """Read `name=value` each. Raises InvalidRequest for what is not, and for a name given twice."""
    labels: dict[str, str] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise wrong(option, f"{text!r} is not name=value")
        if name in labels:
            raise wrong(option, f"{name} is given twice")
        labels[name] = value
    return labels or None


def read_duration(option: str, text: str | None) -> float | None:
    """Read seconds: `90`, `1.5`, `90s`, `5m`, `2h`, `1d`. Raises InvalidRequest for anything else."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise wrong(option, f"{text!r} is no duration: seconds, or as in 90s, 5m, 2h, 1d")
    return float(found[1]) * _UNITS_S[found[2]]


def read_moment(option: str, text: str | None) -> datetime | None:
    """Read a time with its zone (RFC 3339). Raises InvalidRequest for anything else."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise wrong(option, f"{text!r} is no time, as in 2026-01-02T15:04:05Z") from None
    if moment.tzinfo is None:
        raise wrong(option, f"{text!r} lacks its time zone: add Z for UTC, or as in +02:00")
    return moment


def read_since(option: str, text: str | None, clock: Clock) -> datetime | None:
    """Read a time, or how long ago it was. Raises InvalidRequest for anything else."""
    if text is None or not _DURATION.fullmatch(text):
        return read_moment(option, text)
    seconds = read_duration(option, text)
    assert seconds is not None
    try:
        return clock.now() - timedelta(seconds=seconds)
    except OverflowError:
        raise wrong(option, f"{text!r} is before all time") from None


def read_size(text: str) -> tuple[str, int | Literal["auto"]]:
    """Read `POOL=N` or `POOL=auto`. Raises InvalidRequest for anything else."""
    pool, _, size = text.partition("=")
    if pool and size == "auto":
        return pool, "auto"
    if pool and size.isascii() and size.isdigit() and len(size) <= _MOST_DIGITS:
        return pool, int(size)
    raise wrong("POOL=N", f"{text!r} is not POOL=N, as in default=8, nor POOL=auto")
