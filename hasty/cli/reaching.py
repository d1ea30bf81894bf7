"""Which hasty is spoken to, and with which key."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hasty.cli.group import note_as_json
from hasty.errors import CannotStart
from hasty.settings import PREFIX, Settings

if TYPE_CHECKING:
    from hasty.client import AsyncClient, Client

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Where hasty listens. Default: this machine, the port of HASTY_HTTP_PORT.",
        envvar=f"{PREFIX}URL",
        show_default=False,
    ),
]

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="File with the API key; without it the variable HASTY_API_KEY. Never an option of its own: "
        "others on this machine see command lines.",
        show_default=False,
    ),
]

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Write JSON lines, and nothing else, to standard output; problems as JSON to standard error.",
        callback=note_as_json,
        is_eager=True,
    ),
]


def url_of(url: str | None) -> str:
    """Return where hasty listens: as said, else on this machine. Raises CannotStart."""
    return url or f"http://127.0.0.1:{Settings.load(os.environ).http_port}"


def key_of(file: Path | None) -> str | None:
    """Read the key from a file; None without one. Raises CannotStart where there is none in it."""
    if file is None:
        return None
    try:
        key = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"cannot read the API key from {file}: {error}") from None
    if not key:
        raise CannotStart(f"there is no API key in {file}")
    return key


#: Who types is told soon that nothing answers.
_RETRIES = 2

#: Who waits does so over a new start of hasty, which takes less than so many seconds.
_PATIENCE: dict[str, Any] = {"timeout": 60.0, "retries": 30}


@contextmanager
def reach(url: str | None, key_file: Path | None, *, patient: bool = False) -> Iterator["Client"]:
    """Speak to hasty; `patient`: also over a new start of it."""
    # httpx takes longer to import than most commands to run.
    from hasty.client import Client

    patience: dict[str, Any] = _PATIENCE if patient else {"retries": _RETRIES}
    with Client(url_of(url), api_key=key_of(key_file), **patience) as client:
        yield client


@asynccontextmanager
async def reach_async(url: str | None, key_file: Path | None) -> AsyncIterator["AsyncClient"]:
    """Speak to hasty about several things at once, for as long as they take."""
    from hasty.client import AsyncClient

    async with AsyncClient(url_of(url), api_key=key_of(key_file), **_PATIENCE) as client:
        yield client
