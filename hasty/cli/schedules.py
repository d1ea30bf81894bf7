"""`hasty schedules`: recurring jobs."""

from typing import Annotated, Literal

import typer

from hasty.cli import options, tables
from hasty.cli.given import read_duration, read_json, read_labels, wrong
from hasty.cli.reaching import AsJson, KeyFile, Url, reach
from hasty.cli.voice import Voice

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.", show_default=False)]

Cron = Annotated[
    str | None,
    typer.Option("--cron", metavar="EXPRESSION", help="When, as in '*/5 * * * *'.", show_default=False),
]

Every = Annotated[
    str | None,
    typer.Option(
        "--every", metavar="DURATION", help="The time between two, as in 90 or 5m.", show_default=False
    ),
]

Missed = Annotated[
    Literal["skip", "once"],
    typer.Option("--missed", help="What becomes of those that fell into a time when hasty was down."),
]

app = typer.Typer(help="Recurring jobs: list, add, pause, resume, delete.", no_args_is_help=True)


@app.command("list")
def list_command(*, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """List the schedules: when each fires next, and what came of the last time."""
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        voice.show(client.schedules(), tables.schedules)


@app.command("add")
def add_command(
    name: Name,
    object_id: options.ObjectId,
    *,
    cron: Cron = None,
    every: Every = None,
    timezone: Annotated[str, typer.Option(help="Whose clock the cron expression means.")] = "UTC",
    missed: Missed = "skip",
    paused: Annotated[bool, typer.Option("--paused", help="Do not fire before it is resumed.")] = False,
    handler: options.HandlerName = "sleep",
    payload: options.Payload = None,
    timeout: options.Timeout = None,
    priority: options.Priority = 0,
    label: options.Labels = None,
    on_conflict: options.Conflict = "reject",
    webhook: options.Webhook = None,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Have a job submitted again and again. Adding the same again changes nothing."""
    if (cron is None) == (every is None):
        raise wrong("--cron", "give a cron expression, or --every, one of the two")
    voice = Voice(as_json=as_json)
    job = {
        "object_id": object_id,
        "handler": handler,
        "payload": read_json("--payload", payload),
        "timeout": read_duration("--timeout", timeout),
        "priority": priority,
        "labels": read_labels("--label", label),
        "on_conflict": on_conflict,
        "webhook": webhook,
    }
    with reach(url, api_key_file) as client:
        made = client.create_schedule(
            name,
            job=job,
            cron=cron,
            interval=read_duration("--every", every),
            timezone=timezone,
            missed=missed,
            paused=paused,
        )
    voice.show([made], tables.schedules)


@app.command("pause")
def pause_command(
    name: Name, *, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Let a schedule fire no more, until it is resumed. Jobs that there are go on."""
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        voice.show([client.pause_schedule(name)], tables.schedules)


@app.command("resume")
def resume_command(
    name: Name, *, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Let a schedule fire again."""
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        voice.show([client.resume_schedule(name)], tables.schedules)


@app.command("delete")
def delete_command(
    name: Name, *, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Delete a schedule. Jobs that there are go on."""
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        client.delete_schedule(name)
    voice.record({"name": name, "deleted": True})
    voice.tell(f"{name} is deleted")
