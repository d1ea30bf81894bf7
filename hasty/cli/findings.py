"""What `hasty doctor` finds: each is a line that says how something is, and what to do about it."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from hasty.cli.voice import printable


class Level(StrEnum):
    """How much it matters."""

    #: As it should be.
    OK = "ok"
    #: It works; it may not be what is wanted.
    WARN = "warn"
    #: It does not work.
    FAIL = "fail"


_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


class Finding(NamedTuple):
    """How one thing is."""

    level: Level
    about: str
    found: str
    #: What to do about it, where something is to be done.
    advice: str | None = None


def ok(about: str, found: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Level.OK, about, found)


def warn(about: str, found: str, advice: str) -> Finding:
    """Return that something works, and may not be what is wanted."""
    return Finding(Level.WARN, about, found, advice)


def fail(about: str, found: str, advice: str) -> Finding:
    """Return that something does not work."""
    return Finding(Level.FAIL, about, found, advice)


def lines(findings: Iterable[Finding]) -> Table:
    """Show findings, a line each, the advice below what it is for."""
    grid = Table.grid(padding=(0, 2))
    for each in findings:
        text = printable(each.found) + (f"\n-> {printable(each.advice)}" if each.advice else "")
        grid.add_row(Text(each.level, style=_STYLES[each.level]), each.about, Text(text))
    return grid
