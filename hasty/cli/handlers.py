"""`hasty handlers`: those of this machine's modules, or those of a hasty that runs."""

import os
from typing import Annotated

import typer

from hasty.cli import tables
from hasty.cli.reaching import AsJson, KeyFile, Url, reach
from hasty.cli.server import joined, setting
from hasty.cli.voice import Voice, printable
from hasty.local.handlers import check, with_working_directory
from hasty.settings import Settings


def handlers_command(
    *,
    handlers: Annotated[list[str] | None, setting("handlers")] = None,
    running: Annotated[
        bool,
        typer.Option("--running", help="List those of the hasty that runs at the URL; imports nothing."),
    ] = False,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Import the handlers and say what they are.

    As `hasty up` does first; nothing is started. With --running those of a hasty that runs are listed.
    """
    voice = Voice(as_json=as_json)
    if running:
        with reach(url, api_key_file) as client:
            voice.show(client.handlers(), tables.handlers)
        return
    settings = Settings.load(os.environ, {"handlers": joined(handlers)})
    for line in check(settings, with_working_directory(os.environ)):
        voice.record({"line": line})
        voice.tell(printable(line))
