"""`hasty events`: what happens to jobs, as it happens."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hasty.cli import options
from hasty.cli.cells import how_far, moment, status_text, told
from hasty.cli.reaching import AsJson, KeyFile, Url, reach
from hasty.cli.voice import Voice, printable

if TYPE_CHECKING:
    from hasty.client import Event


def events_command(
    job_id: Annotated[
        str | None,
        typer.Argument(metavar="[JOB_ID]", help="Id of a job. Default: all jobs.", show_default=False),
    ] = None,
    *,
    object_id: options.OfObject = None,
    handler: options.OfHandler = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="EVENT_ID", help="Go on after this event. Default: from now.", show_default=False
        ),
    ] = None,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Follow what happens to jobs.

    Until Ctrl-C; of one job from its beginning until it has ended.
    """
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file, patient=True) as client:
        for event in client.events(job_id, last_event_id=after, object_id=object_id, handler=handler):
            voice.record(event)
            voice.tell(line(event))


def line(event: "Event") -> Text:
    """Return an event in one line."""
    if event.type == "gap":
        return Text("gap: what was before is no longer kept", style="yellow")
    start = f"{moment(event.at)} {printable(event.job_id)} "
    about = [f"{event.object_id} ({event.handler})"]
    if event.attempt:
        about.append(f"attempt {event.attempt}")
    about += [part for part in (how_far(event.progress), told(event.error)) if part]
    return Text(start) + status_text(event.status or "") + Text(f" {printable(', '.join(about))}")
