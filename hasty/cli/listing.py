"""`hasty ls`: jobs, newest first; once, or again and again."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live

from hasty.cli import options, tables
from hasty.cli.cells import moment
from hasty.cli.given import read_duration, read_labels, read_since
from hasty.cli.reaching import AsJson, KeyFile, Url, reach
from hasty.cli.voice import Voice, printable
from hasty.clock import SystemClock
from hasty.errors import TryAgainLater
from hasty.job import Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hasty.client import Job

Read = Callable[[], "list[Job]"]


def ls_command(
    *,
    status: Annotated[
        list[Status] | None,
        typer.Option(help="Only those that stand so; may be repeated.", show_default=False),
    ] = None,
    handler: options.OfHandler = None,
    object_id: options.OfObject = None,
    label: options.WithLabels = None,
    since: options.Since = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="With --watch: the time between two looks.")
    ] = "2s",
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    With --json and --watch each is written again when it has changed.
    """
    voice, every_s = Voice(as_json=as_json), read_duration("--every", every) or 0.0
    chosen: dict[str, Any] = {
        "status": [str(each) for each in status or ()],
        "handler": handler,
        "object_id": object_id,
        "labels": read_labels("--label", label),
        "accepted_after": read_since("--since", since, SystemClock()),
        "limit": limit,
    }
    with reach(url, api_key_file) as client:

        def read() -> list["Job"]:
            return list(client.list(**chosen))

        if not watch:
            voice.show(read(), tables.jobs)
        elif voice.out.is_terminal and not as_json:
            _refresh(read, voice, every_s)
        else:
            _tell_changes(read, voice, every_s)


def _refresh(read: Read, voice: Voice, every_s: float) -> None:
    """Show one table, which is always that of the last look."""
    shown: RenderableType = ""
    with Live(console=voice.out, auto_refresh=False) as live:
        while True:
            try:
                table = tables.jobs(read())
                table.caption = f"at {moment(SystemClock().now())}; Ctrl-C to end"
                shown = table
            except TryAgainLater as error:
                shown = printable(error)
            live.update(shown, refresh=True)
            time.sleep(every_s)


def _tell_changes(read: Read, voice: Voice, every_s: float) -> None:
    """Show each job when it is new, and whenever something about it has changed."""
    seen: dict[str, Job] = {}
    while True:
        try:
            found = read()
        except TryAgainLater as error:
            voice.note(printable(error))
        else:
            changed = [job for job in reversed(found) if seen.get(job.id) != job]
            # What is no longer among the newest does not come back.
            seen = {job.id: job for job in found}
            if changed:
                voice.show(changed, tables.jobs)
        time.sleep(every_s)
