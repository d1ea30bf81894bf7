"""A terminal for tests of the command line: its requests go to a transport, its output is kept."""

import json
from typing import Any, NamedTuple

import httpx
from typer.testing import CliRunner

from hasty.cli import app

URL = "http://hasty.test:8000"


class Said(NamedTuple):
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.out.splitlines()]

    @property
    def records(self) -> list[Any]:
        """Standard output as JSON lines; anything else on it is an error."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def problem(self) -> dict[str, Any]:
        """Standard error as one problem."""
        (line,) = self.err.splitlines()
        return json.loads(line)


def send_by(monkeypatch, transport) -> None:
    """Let every request of httpx take this way."""

    class Client(httpx.Client):
        def __init__(self, **how):
            super().__init__(**{**how, "transport": transport})

    class AsyncClient(httpx.AsyncClient):
        def __init__(self, **how):
            super().__init__(**{**how, "transport": transport})

    monkeypatch.setattr(httpx, "Client", Client)
    monkeypatch.setattr(httpx, "AsyncClient", AsyncClient)


def hasty(*words: str, stdin: str | None = None, **environment: str) -> Said:
    """Type a command; what nobody foresaw is raised."""
    result = CliRunner().invoke(
        app, words, input=stdin, env={"HASTY_URL": URL, **environment}, catch_exceptions=False
    )
    return Said(result.exit_code, result.stdout, result.stderr)
