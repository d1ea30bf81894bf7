"""How the command line speaks: tables and lines for people, JSON lines for programs."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TextIO, TypeVar

from pydantic_core import to_jsonable_python
from rich.console import Console, RenderableType

Shown = TypeVar("Shown")

#: Where nobody looks at lines, none is folded or cut.
_WIDE = 10_000


class _Console(Console):
    """A console that says when nobody reads it any more; rich would end the process."""

    def on_broken_pipe(self) -> None:
        """Let the command end."""
        raise BrokenPipeError


def console(file: TextIO) -> Console:
    """Return a console for a stream: colours only on a terminal, and none with NO_COLOR.

    What it is given is shown as it is: square brackets and colons in it mean nothing.
    """
    width = None if file.isatty() else _WIDE
    return _Console(file=file, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


class Voice:
    """What a command says. With `as_json` standard output has JSON lines and nothing else."""

    def __init__(self, *, as_json: bool) -> None:
        """Speak for programs, or for people."""
        self.as_json = as_json
        self.out = console(sys.stdout)
        self.err = console(sys.stderr)

    def tell(self, what: RenderableType) -> None:
        """Say something to people, on standard output."""
        if not self.as_json:
            self.out.print(what)

    def note(self, line: str) -> None:
        """Say something to people that is no part of the answer, on standard error."""
        if not self.as_json:
            self.err.print(line, soft_wrap=True)

    def record(self, what: Any) -> None:
        """Hand something to programs, as one line."""
        if self.as_json:
            print(in_one_line(what), flush=True)  # noqa: T201  the command line's voice

    def show(self, things: Iterable[Shown], how: Callable[[list[Shown]], RenderableType]) -> None:
        """Show several things: a line of JSON each, or all of them as `how` makes them look."""
        if self.as_json:
            for thing in things:
                self.record(thing)
        else:
            self.tell(how(list(things)))


def in_one_line(what: Any) -> str:
    """Return JSON without a line break. What it has no word for is told as text."""
    return json.dumps(to_jsonable_python(what, by_alias=True, fallback=str))


def printable(text: object) -> str:
    """Return a text that does nothing to a terminal: what is not to be seen is written as its number."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode()
        for each in str(text)
    )


def fall_silent() -> None:
    """Write the rest to nowhere, so that the end of the process does not stumble over it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
