"""The command line, put together."""

from collections.abc import Callable

import typer

from hasty import __version__
from hasty.cli import breaking, doctor, events, handlers, jobs, listing, pools, server, submitting, waiting
from hasty.cli import keys as keys_
from hasty.cli import schedules as schedules_
from hasty.cli import webhooks as webhooks_
from hasty.cli.exits import Exit
from hasty.cli.group import Commands
from hasty.cli.reaching import AsJson
from hasty.cli.voice import Voice

_JOBS, _OPERATING, _RUNNING = "Jobs", "Looking at a hasty, and changing it", "Running one"

_EPILOG = "\n".join(["Exit codes:", *(f"{code:>3d}  {code.meaning}" for code in Exit)])

_EPILOG_OF_JOBS = (
    "Exit codes: 0 ok or finished, 1 failed, 2 to be changed first, 3 cancelled, 4 refused, 5 try later, "
    "6 not found, 7 not allowed, 8 not ended within; `hasty --help` says more."
)

app = typer.Typer(
    name="hasty",
    cls=Commands,
    help="A durable job service for work keyed by a thing.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version_command(*, as_json: AsJson = False) -> None:
    """Print the version."""
    voice = Voice(as_json=as_json)
    voice.record({"version": __version__})
    voice.tell(__version__)


_COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    _JOBS: {
        "submit": submitting.submit_command,
        "get": jobs.get_command,
        "wait": waiting.wait_command,
        "result": jobs.result_command,
        "ls": listing.ls_command,
        "cancel": jobs.cancel_command,
        "rerun": submitting.rerun_command,
        "attempts": jobs.attempts_command,
        "events": events.events_command,
        "object": jobs.object_command,
    },
    _OPERATING: {
        "pools": pools.pools_command,
        "scale": pools.scale_command,
        "doctor": doctor.doctor_command,
    },
    _RUNNING: {
        "up": server.up_command,
        "down": server.down_command,
        "handlers": handlers.handlers_command,
        "deploy": server.deploy_command,
        "environment": server.environment_command,
        "bench": breaking.bench_command,
        "chaos": breaking.chaos_command,
        "version": version_command,
    },
}

for panel, commands in _COMMANDS.items():
    for name, command in commands.items():
        epilog = _EPILOG_OF_JOBS if panel is _JOBS else None
        app.command(name, rich_help_panel=panel, epilog=epilog)(command)

app.add_typer(schedules_.app, name="schedules", rich_help_panel=_OPERATING)
app.add_typer(keys_.app, name="keys", rich_help_panel=_RUNNING)
app.add_typer(webhooks_.app, name="webhooks", rich_help_panel=_OPERATING)


def main() -> None:
    """Run the command line."""
    app()
