"""`hasty keys`: the API keys of a hasty, whether it runs or not."""

import os
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table

from hasty.cli.cells import Rows, moment
from hasty.cli.given import read_duration, wrong
from hasty.cli.reaching import AsJson
from hasty.cli.server import server_extra, setting
from hasty.cli.voice import Voice
from hasty.errors import CannotStart, StoreUnavailable
from hasty.keys import MOST_SECRETS, NAME, ApiKey, Scope, mint, rotate
from hasty.settings import Settings

if TYPE_CHECKING:
    from hasty.store.mongo import MongoKeys

Answer = TypeVar("Answer")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.", show_default=False)]
Uri = Annotated[str | None, setting("api_mongo_uri")]
DataDir = Annotated[Path | None, setting("data_dir")]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="DURATION", help="For how long it is good, as in 90d.", show_default=False
    ),
]

#: More than anybody waits, and less than what a date can hold.
_MOST_DURATION = timedelta(days=36_500)

_SHOWN_ONCE = "this is the key; it is shown only now:"

app = typer.Typer(
    help="API keys: add, list, revoke, rotate.", no_args_is_help=True, pretty_exceptions_enable=False
)


@app.command("add")
def add_command(
    name: Name,
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE,...",
            help="What it may do: read, write (and read), admin (and both). Default: read,write.",
            show_default=False,
        ),
    ] = None,
    expires: Expires = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1_000_000, help="Requests per second, in each Gateway.", show_default=False
        ),
    ] = None,
    api_mongo_uri: Uri = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is written to standard output, once; what is kept of it is a hash."""
    if not NAME.fullmatch(name):
        raise wrong("NAME", "must be up to 63 letters, digits, dots, hyphens and underscores")
    scopes, lifetime = _scopes(scope or ["read,write"]), _duration("--expires", expires)

    async def add(keys: "MongoKeys", now: datetime) -> tuple[ApiKey, str]:
        key, text = mint(name, scopes, now, lifetime=lifetime, rate=rate)
        await keys.prepare()
        try:
            added = await keys.add(key, now)
        except StoreUnavailable as error:
            # Its secret is not shown, so nobody can have it.
            raise StoreUnavailable(
                f"{error}: if there is a key {name} now, revoke it, and add another"
            ) from None
        if not added:
            raise CannotStart(f"there is a key {name} already: rotate it, or revoke it first")
        return key, text

    _hand_over(Voice(as_json=as_json), *_ask(api_mongo_uri, data_dir, add, create=True))


@app.command("list")
def list_command(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also keys that have ended.")] = False,
    api_mongo_uri: Uri = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the keys, the newest first; no secrets."""

    async def look(keys: "MongoKeys", now: datetime) -> tuple[list[ApiKey], datetime]:
        return [key for key in await keys.listed() if everything or key.live(now)], now

    found, now = _ask(api_mongo_uri, data_dir, look)
    Voice(as_json=as_json).show([_described(key, now) for key in found], _table)


@app.command("revoke")
def revoke_command(
    name: Name, *, api_mongo_uri: Uri = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """End a key for good; its name is free then. Gateways know it within seconds."""

    async def revoke(keys: "MongoKeys", now: datetime) -> tuple[ApiKey, datetime]:
        return await _known(keys.revoke(name, now), name), now

    voice = Voice(as_json=as_json)
    key, now = _ask(api_mongo_uri, data_dir, revoke)
    voice.record(_described(key, now))
    voice.tell(f"{name} is revoked")


@app.command("rotate")
def rotate_command(
    name: Name,
    *,
    overlap: Annotated[
        str, typer.Option(metavar="DURATION", help="For how long the old secret is good, too.")
    ] = "24h",
    expires: Expires = None,
    api_mongo_uri: Uri = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, as `add` does. Without --expires it lasts as long as the old one did."""
    meanwhile = _duration("--overlap", overlap) or timedelta(0)
    lifetime = _duration("--expires", expires)

    async def turn(keys: "MongoKeys", now: datetime) -> tuple[ApiKey, str]:
        before = await _known(keys.named(name, now), name)
        after, text = rotate(before, now, overlap=meanwhile, lifetime=lifetime)
        if len(after.credentials) > MOST_SECRETS:
            raise CannotStart(
                f"{name} has {MOST_SECRETS} secrets that are still good: wait for an overlap to end, or end "
                "all of them by --overlap 0"
            )
        if not await keys.rotate(before, after, now):
            raise CannotStart(f"{name} was changed meanwhile: look at it, and try again")
        return after, text

    _hand_over(Voice(as_json=as_json), *_ask(api_mongo_uri, data_dir, turn))


def _ask(
    uri: str | None,
    data_dir: Path | None,
    question: Callable[["MongoKeys", datetime], Coroutine[Any, Any, Answer]],
    *,
    create: bool = False,
) -> Answer:
    """Put a question to the keys of the hasty that is meant."""
    settings = Settings.load(os.environ, {"api_mongo_uri": uri, "data_dir": data_dir})
    with server_extra():
        from hasty.local.keys import ask, keys_database
    with keys_database(settings, create=create) as found:
        return ask(found, question)


async def _known(asked: Coroutine[Any, Any, ApiKey | None], name: str) -> ApiKey:
    key = await asked
    if key is None:
        raise CannotStart(f"there is no key {name}, or it has ended: `hasty keys list --all` shows all")
    return key


def _scopes(given: list[str]) -> list[Scope]:
    try:
        return [Scope(word.strip()) for text in given for word in text.split(",")]
    except ValueError:
        raise wrong("--scope", f"must be of {', '.join(Scope)}, separated by commas") from None


def _duration(option: str, text: str | None) -> timedelta | None:
    seconds = read_duration(option, text)
    if seconds is None:
        return None
    if seconds > _MOST_DURATION / timedelta(seconds=1):
        raise wrong(option, f"must be at most {_MOST_DURATION.days}d")
    return timedelta(seconds=seconds)


def _hand_over(voice: Voice, key: ApiKey, text: str) -> None:
    """Show a key this once: nothing else on standard output, so that it can be piped."""
    voice.record(_described(key, key.credentials[0].made_at) | {"key": text})
    voice.note(f"{key.name} ({', '.join(sorted(key.scopes))}): {_SHOWN_ONCE}")
    if not voice.as_json:
        # By no table and no folding: it must be whole, however narrow the terminal is.
        print(text, flush=True)  # noqa: T201  the command line's voice


def _described(key: ApiKey, now: datetime) -> dict[str, Any]:
    state = "live" if key.live(now) else "revoked" if key.revoked_at is not None else "expired"
    return {
        "name": key.name,
        "id": key.id,
        "scopes": sorted(key.scopes),
        "state": state,
        "rate": key.rate,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "secrets": len(key.in_force(now)) if state == "live" else 0,
    }


def _table(described: list[dict[str, Any]]) -> Table:
    rows = Rows("NAME", "ID", "SCOPES", "STATE", "RATE", "CREATED", "EXPIRES", "SECRETS")
    for key in described:
        rows.add(
            key["name"],
            key["id"],
            ",".join(key["scopes"]),
            key["state"],
            None if key["rate"] is None else f"{key['rate']:g}/s",
            moment(key["created_at"]),
            moment(key["expires_at"]),
            key["secrets"],
        )
    return rows.table
