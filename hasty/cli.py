"""The command line."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hasty import __version__
from hasty.chaos.command import chaos_command
from hasty.errors import AlreadyRunning, CannotStart
from hasty.local.folder import DataFolder
from hasty.local.handlers import check, with_working_directory
from hasty.local.roll import roll
from hasty.local.up import Up, down, tell
from hasty.scaling import Pools, parse_size
from hasty.settings import PREFIX, Settings
from hasty.store.mongo.server import check_replica_set

#: Exit code when something outside hasty must change first.
CANNOT_START = 2

#: `hasty down` waits for the drain and so much longer.
_STOP_WITHIN_S = 60.0

app = typer.Typer(
    name="hasty",
    help="A durable job service for work keyed by a thing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.command("chaos")(chaos_command)


def _setting(name: str) -> Any:
    """Make the option of a setting: the settings say what it means and what it is by default."""
    field = Settings.model_fields[name]
    shown = "~/.local/share/hasty" if name == "data_dir" else field.default
    default = "" if shown in (None, ()) else f" Default: {shown}."
    return typer.Option(
        "--" + name.replace("_", "-"),
        help=f"{field.description}{default} Variable: {PREFIX}{name.upper()}.",
        show_default=False,
    )


@app.command("up")
def up_command(
    *,
    http_host: Annotated[str | None, _setting("http_host")] = None,
    http_port: Annotated[int | None, _setting("http_port")] = None,
    data_dir: Annotated[Path | None, _setting("data_dir")] = None,
    api_mongo_uri: Annotated[str | None, _setting("api_mongo_uri")] = None,
    worker_mongo_uri: Annotated[str | None, _setting("worker_mongo_uri")] = None,
    timeout_s: Annotated[float | None, _setting("timeout_s")] = None,
    rerun_window_s: Annotated[float | None, _setting("rerun_window_s")] = None,
    sleep_min_s: Annotated[float | None, _setting("sleep_min_s")] = None,
    sleep_max_s: Annotated[float | None, _setting("sleep_max_s")] = None,
    workers: Annotated[int | None, _setting("workers")] = None,
    slots: Annotated[int | None, _setting("slots")] = None,
    gateways: Annotated[int | None, _setting("gateways")] = None,
    sync_slots: Annotated[int | None, _setting("sync_slots")] = None,
    config: Annotated[Path | None, _setting("config")] = None,
    handlers: Annotated[list[str] | None, _setting("handlers")] = None,
    retention_days: Annotated[float | None, _setting("retention_days")] = None,
    drain: Annotated[float, typer.Option(help="Seconds that running jobs get to end on Ctrl-C.")] = 60.0,
) -> None:
    """Start everything on this machine; Ctrl-C stops it.

    Where it runs already, its workers are replaced one by one by such with the handlers and settings
    as they are now; no job loses an attempt.
    """
    given = {name: value for name, value in locals().items() if name != "drain"}
    settings = Settings.load(os.environ, {**given, "handlers": _joined(handlers)})
    up = Up(settings, drain, tell)
    try:
        up.run()
    except AlreadyRunning:
        roll(settings, DataFolder(settings.data_dir), tell)


def _joined(paths: list[str] | None) -> str | None:
    """Return what a repeated option named as the variable would say it."""
    return ",".join(paths) if paths else None


@app.command("handlers")
def handlers_command(
    *,
    handlers: Annotated[list[str] | None, _setting("handlers")] = None,
) -> None:
    """Import the handlers, as `hasty up` does first, and say what they are; starts nothing."""
    settings = Settings.load(os.environ, {"handlers": _joined(handlers)})
    for line in check(settings, with_working_directory(os.environ)):
        tell(line)


@app.command("down")
def down_command(
    *,
    data_dir: Annotated[Path | None, _setting("data_dir")] = None,
    within: Annotated[float, typer.Option(help="Seconds to wait until all is gone.")] = 60.0 + _STOP_WITHIN_S,
) -> None:
    """Stop the hasty that was started by `hasty up` with this data folder."""
    settings = Settings.load(os.environ, {"data_dir": data_dir})
    if not down(settings.data_dir, within, tell):
        raise CannotStart(f"hasty did not stop within {within:g} s")


@app.command("deploy")
def deploy_command(
    *,
    address: Annotated[
        str | None,
        typer.Option(
            help="Host and port of the cluster's head. Default: this machine.", envvar="RAY_ADDRESS"
        ),
    ] = None,
) -> None:
    """Put hasty onto a running Ray cluster, as the HASTY_* variables say.

    The nodes must have been started with the environment that `hasty environment` prints.
    """
    settings = Settings.load(os.environ)
    # Not with the working directory: no node has it.
    for line in check(settings, os.environ):
        tell(line)
    for uri in {settings.jobs_uri, settings.ledger_uri}:
        check_replica_set(uri)
    # Ray takes seconds to import; no other command needs it.
    from hasty.cluster import system  # noqa: PLC0415

    system.connect(address)
    system.deploy(settings, tell)
    tell(f"hasty is deployed: HTTP on port {settings.http_port} of the cluster's nodes")


@app.command("scale")
def scale_command(
    sizes: Annotated[
        list[str],
        typer.Argument(
            metavar="POOL=N...",
            help="A pool and how many workers it is to have; `auto`: as the settings say.",
        ),
    ],
    *,
    url: Annotated[
        str | None,
        typer.Option(help="Where hasty listens. Default: this machine.", envvar=f"{PREFIX}URL"),
    ] = None,
) -> None:
    """Let pools have other numbers of workers, while jobs run.

    New workers take jobs at once, the oldest first. Those that are too many end their jobs first. It
    holds until the next `hasty up` or `hasty deploy`.
    """
    wanted = [parse_size(size) for size in sizes]
    pools = Pools(url or f"http://127.0.0.1:{Settings.load(os.environ).http_port}")
    for pool, workers in wanted:
        tell(pools.resize(pool, workers))


@app.command("environment")
def environment_command() -> None:
    """Print the environment in which each node of a Ray cluster must be started, as shell exports."""
    from hasty.cluster.environment import node_environment  # noqa: PLC0415

    for name, value in sorted(node_environment().items()):
        tell(f"export {name}={value}")


@app.command("version")
def version_command() -> None:
    """Print the version."""
    tell(__version__)


def main() -> None:
    """Run the command line; what the operator must change is told in one line, with exit code 2."""
    try:
        app()
    except CannotStart as error:
        print(f"hasty: {error}", file=sys.stderr)  # noqa: T201  the command line's voice
        sys.exit(CANNOT_START)
