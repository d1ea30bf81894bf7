"""Commands of those who run hasty: up, down, deploy, environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hasty.cli.reaching import AsJson
from hasty.cli.voice import Voice
from hasty.errors import AlreadyRunning, CannotStart
from hasty.settings import PREFIX, Settings

#: `hasty down` waits for the drain and so much longer.
_STOP_WITHIN_S = 60.0


@contextmanager
def server_extra() -> Iterator[None]:
    """Import what only a server needs. Raises CannotStart where that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "hasty":
            raise
        raise CannotStart(
            f"this needs what a server needs, and {error.name} is not installed: pip install 'hasty[server]'"
        ) from None


def setting(name: str) -> Any:
    """Make the option of a setting: the settings say what it means and what it is by default."""
    field = Settings.model_fields[name]
    shown = "~/.local/share/hasty" if name == "data_dir" else field.default
    default = "" if shown in (None, ()) else f" Default: {shown}."
    option = "--" + name.replace("_", "-")
    return typer.Option(
        f"{option}/--no-{option[2:]}" if field.annotation == bool | None else option,
        help=f"{field.description}{default} Variable: {PREFIX}{name.upper()}.",
        show_default=False,
    )


def joined(paths: list[str] | None) -> str | None:
    """Return what a repeated option named as the variable would say it."""
    return ",".join(paths) if paths else None


def up_command(
    *,
    http_host: Annotated[str | None, setting("http_host")] = None,
    http_port: Annotated[int | None, setting("http_port")] = None,
    data_dir: Annotated[Path | None, setting("data_dir")] = None,
    api_mongo_uri: Annotated[str | None, setting("api_mongo_uri")] = None,
    worker_mongo_uri: Annotated[str | None, setting("worker_mongo_uri")] = None,
    timeout_s: Annotated[float | None, setting("timeout_s")] = None,
    rerun_window_s: Annotated[float | None, setting("rerun_window_s")] = None,
    sleep_min_s: Annotated[float | None, setting("sleep_min_s")] = None,
    sleep_max_s: Annotated[float | None, setting("sleep_max_s")] = None,
    workers: Annotated[int | None, setting("workers")] = None,
    slots: Annotated[int | None, setting("slots")] = None,
    gateways: Annotated[int | None, setting("gateways")] = None,
    sync_slots: Annotated[int | None, setting("sync_slots")] = None,
    config: Annotated[Path | None, setting("config")] = None,
    handlers: Annotated[list[str] | None, setting("handlers")] = None,
    retention_days: Annotated[float | None, setting("retention_days")] = None,
    event_retention_s: Annotated[float | None, setting("event_retention_s")] = None,
    auth: Annotated[bool | None, setting("auth")] = None,
    rate_limit: Annotated[float | None, setting("rate_limit")] = None,
    drain: Annotated[float, typer.Option(help="Seconds that running jobs get to end on Ctrl-C.")] = 60.0,
) -> None:
    """Start everything on this machine; Ctrl-C stops it.

    Where it runs already, its workers are replaced one by one by such with the handlers and settings
    as they are now; no job loses an attempt.
    """
    given = {name: value for name, value in locals().items() if name != "drain"}
    settings = Settings.load(os.environ, {**given, "handlers": joined(handlers)})
    with server_extra():
        from hasty.local.folder import DataFolder
        from hasty.local.roll import roll
        from hasty.local.up import Up, tell
    try:
        Up(settings, drain, tell).run()
    except AlreadyRunning:
        roll(settings, DataFolder(settings.data_dir), tell)


def down_command(
    *,
    data_dir: Annotated[Path | None, setting("data_dir")] = None,
    within: Annotated[float, typer.Option(help="Seconds to wait until all is gone.")] = 60.0 + _STOP_WITHIN_S,
) -> None:
    """Stop what `hasty up` started.

    That is the hasty with this data folder.
    """
    settings = Settings.load(os.environ, {"data_dir": data_dir})
    with server_extra():
        from hasty.local.up import down, tell
    if not down(settings.data_dir, within, tell):
        raise CannotStart(f"hasty did not stop within {within:g} s")


def deploy_command(
    *,
    address: Annotated[
        str | None,
        typer.Option(
            help="Host and port of the cluster's head. Default: this machine.", envvar="RAY_ADDRESS"
        ),
    ] = None,
) -> None:
    """Put hasty onto a running Ray cluster.

    It is as the HASTY_* variables say. The nodes must have been started with the environment that
    `hasty environment` prints.
    """
    settings = Settings.load(os.environ)
    with server_extra():
        from hasty.local.handlers import check
        from hasty.local.keys import require_a_key
        from hasty.local.up import tell
        from hasty.store.mongo.server import check_replica_set
    # Not with the working directory: no node has it.
    for line in check(settings, os.environ):
        tell(line)
    for uri in {settings.jobs_uri, settings.ledger_uri}:
        check_replica_set(uri)
    require_a_key(settings, settings.jobs_uri)
    with server_extra():
        from hasty.cluster import system
    system.connect(address)
    system.deploy(settings, tell)
    tell(f"hasty is deployed: HTTP on port {settings.http_port} of the cluster's nodes")


def environment_command(*, as_json: AsJson = False) -> None:
    """Print the environment that a cluster's nodes need.

    Each node of a Ray cluster must be started in it. It is printed as shell exports.
    """
    with server_extra():
        from hasty.cluster.environment import node_environment
    voice = Voice(as_json=as_json)
    variables = dict(sorted(node_environment().items()))
    voice.record(variables)
    for name, value in variables.items():
        voice.tell(f"export {name}={value}")
