"""The commands of docs/cli.md, in its order, as something to run: each with what it must end with."""

import re
import shlex
from typing import NamedTuple

from tests.running import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text()

#: The ids that the page makes up, and the objects whose newest jobs they stand for.
OBJECTS = {
    "019b0a6e-6f0c-7c52-9d55-3d2f1a0c6b1e": "video-7",
    "019b0a70-1f3c-7d1e-8a52-0c9e5d7f2b44": "order-7",
    "019b0a71-2a4d-7e2f-9b63-1d0f6e8a3c55": "report-1",
    "019b0a72-3b5e-7f30-8c74-2e1f7f9b4d66": "video-8",
}

#: The file that the page names.
FILES = {"order.json": '{"items": ["tea", "milk"]}\n'}

#: Asked of the page, and changes the machine of who runs it.
_LEFT_OUT = {"--install-completion"}


class Documented(NamedTuple):
    """A command as it is typed."""

    #: Without `hasty`.
    words: tuple[str, ...]
    stdin: str | None
    code: int
    #: Whether it goes on until it is stopped.
    endless: bool

    def named(self, newest_of) -> tuple[str, ...]:
        """Return its words, with real ids in the place of those that are made up."""
        return tuple(newest_of(OBJECTS[word]) if word in OBJECTS else word for word in self.words)


def documented() -> list[Documented]:
    """Return every command of the page's blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    read = [_read(line) for block in blocks for line in block.splitlines()]
    return [command for command in read if command.words[0] not in _LEFT_OUT]


def _read(line: str) -> Documented:
    typed, _, comment = line.partition("#")
    fed, _, command = typed.rpartition("|")
    name, *words = shlex.split(command)
    assert name == "hasty", line
    said = re.match(r" exit code (\d+)", comment)
    return Documented(
        tuple(words),
        shlex.split(fed)[1] + "\n" if fed else None,
        int(said[1]) if said else 0,
        "until Ctrl-C" in comment,
    )
