"""`hasty doctor`: looks at this machine and at a running hasty, and says what to do."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hasty.cli.exits import Exit
from hasty.cli.findings import Finding, Level, fail, lines
from hasty.cli.reaching import AsJson, KeyFile, Url, key_of
from hasty.cli.voice import Voice
from hasty.clock import SystemClock
from hasty.errors import CannotStart
from hasty.settings import Settings

if TYPE_CHECKING:
    import httpx

#: An answer that takes longer is none.
_WITHIN_S = 10.0


def doctor_command(*, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Look at this machine and at a running hasty.

    Say how each thing is, and where something is wrong, what to do. Exit code 1 where something does not
    work. That nothing runs is no fault, unless a URL says so.
    """
    # It takes the network and half of the standard library.
    from hasty.cli.machine import look_at_machine

    voice, (settings, wrong) = Voice(as_json=as_json), _settings()
    there, port = _running(url or f"http://127.0.0.1:{settings.http_port}", api_key_file, wanted=bool(url))
    serves = port == settings.http_port and there[0].level is Level.OK
    findings = [*wrong, *look_at_machine(settings, serves=serves), *there]
    for each in findings:
        voice.record(each._asdict())
    voice.tell(lines(findings))
    raise typer.Exit(Exit.FAILED if any(each.level is Level.FAIL for each in findings) else Exit.OK)


def _settings() -> tuple[Settings, list[Finding]]:
    """Read the settings; where they cannot be read, return what is wrong, and go on with none."""
    try:
        return Settings.load(os.environ), []
    except CannotStart as error:
        return Settings.load({}), [fail("settings", str(error), "set it right: `hasty up` would not start")]


def _running(url: str, key_file: Path | None, *, wanted: bool) -> tuple[list[Finding], int | None]:
    """Say how the hasty at the URL is; also at which port of this machine it is, if it is here."""
    import httpx

    from hasty.cli.running import look_at_running
    from hasty.client.address import address, api_key
    from hasty.client.drivers import options

    where = address(url)
    with httpx.Client(**options(where, api_key(key_of(key_file))), timeout=_WITHIN_S) as http:
        found = look_at_running(http, SystemClock(), wanted=wanted)
        return found, _port(http.base_url) if where.here else None


def _port(url: "httpx.URL") -> int:
    """Return the port that a URL means: httpx leaves out the one of its scheme."""
    return url.port or {"http": 80, "https": 443}[url.scheme]
