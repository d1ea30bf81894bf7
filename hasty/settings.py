"""All settings, parsed once at the edge and handed down."""

import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from hasty.errors import CannotStart
from hasty.pools import DEFAULT_POOL, PoolName, PoolSettings
from hasty.webhooks import keys_of

#: Settings are read from environment variables of this prefix: HASTY_TIMEOUT_S and so on.
PREFIX = "HASTY_"

#: What is handed down to those alone who need it.
SECRETS = ("api_mongo_uri", "worker_mongo_uri", "webhook_secret")

_MOST_POOLS = 64

#: A host, by its name. One that looks like an address is meant as one, and must be right.
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_ALL_DIGITS = re.compile(r"[0-9.]+")

#: Who can reach it can log in to this machine.
_LOOPBACK = "127.0.0.1"

#: What TOML takes for a key without quotes.
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def _default_data_dir() -> Path:
    return Path.home() / ".local" / "share" / "hasty"


class Settings(BaseModel):
    """What an operator can set. Times are in seconds; fractions are allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    config: Path | None = Field(None, description="TOML file of settings; variables and options win over it.")
    http_host: str = Field("127.0.0.1", description="Address the HTTP server listens on.")
    http_port: int = Field(8000, ge=1, le=65535, description="Port the HTTP server listens on.")
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Folder of the embedded MongoDB, logs and run files; one running hasty each.",
    )
    api_mongo_uri: SecretStr | None = Field(
        None, description="MongoDB of the jobs (database hasty_api); without it one is started."
    )
    worker_mongo_uri: SecretStr | None = Field(
        None, description="MongoDB of the ledger (database hasty_worker); default: the jobs' one."
    )
    timeout_s: float = Field(46, gt=0, le=86_400, description="Longest an attempt may run.")
    rerun_window_s: float = Field(
        300, ge=0, le=31_536_000, description="Time in which an object's next job is refused."
    )
    sleep_min_s: float = Field(15, ge=0, le=86_400, description="Shortest sleep of the built-in handler.")
    sleep_max_s: float = Field(45, ge=0, le=86_400, description="Longest sleep of the built-in handler.")
    workers: int = Field(2, ge=1, le=10_000, description="Number of workers in the pool `default`.")
    slots: int = Field(4000, ge=1, le=100_000, description="Attempts at once in each worker.")
    sync_slots: int | None = Field(
        None,
        ge=1,
        le=1_000,
        description="Sync handlers at once in each worker, each in its own process; default: the cores.",
    )
    gateways: int = Field(1, ge=1, le=1_000, description="Number of Gateway replicas.")
    handlers: tuple[str, ...] = Field(
        (), description="Modules with handlers, by their import paths, separated by commas."
    )
    instance: str | None = Field(
        None,
        max_length=64,
        description="Name of this hasty; its Dispatcher need not wait for a lease held under it.",
    )
    retention_days: float = Field(7, ge=1, le=3_650, description="Days a job is kept after its end.")
    webhook_secret: SecretStr | None = Field(
        None,
        description="Secret that webhooks are signed with, or several; `hasty up` makes one.",
    )
    webhook_allow: tuple[str, ...] = Field(
        (), description="Hosts and networks that webhooks may reach though they are not public."
    )
    webhook_timeout_s: float = Field(
        10, gt=0, le=60, description="Longest that a webhook's receiver takes to answer."
    )
    event_retention_s: float = Field(
        86_400,
        ge=0,
        le=31_536_000,
        description="Seconds an event is kept for those who come back for it; 0: there are no events.",
    )
    pools: dict[PoolName, PoolSettings] = Field(
        {}, max_length=_MOST_POOLS, description="Pools of workers by their names, as JSON."
    )
    max_backlog: int = Field(
        1_000_000,
        ge=1,
        le=1_000_000_000,
        description="About so many jobs may wait; who asks for another is told to come back.",
    )
    auth: bool | None = Field(
        None, description="Whether requests need an API key; default: unless http_host is 127.0.0.1."
    )
    rate_limit: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Requests per second of each API key that has no rate of its own, in each Gateway.",
    )

    @field_validator("http_host")
    @classmethod
    def _serve_can_listen_there(cls, host: str) -> str:
        # Serve's replicas listen on the same host, and HAProxy reaches them by 127.0.0.1.
        if host not in {"127.0.0.1", "0.0.0.0"}:  # noqa: S104
            msg = "must be 127.0.0.1 (this machine only) or 0.0.0.0 (every interface)"
            raise ValueError(msg)
        return host

    @field_validator("handlers", "webhook_allow", mode="before")
    @classmethod
    def _split_at_commas(cls, given: Any) -> Any:
        if isinstance(given, str):
            return [part.strip() for part in given.split(",") if part.strip()]
        return given

    @field_validator("handlers")
    @classmethod
    def _are_import_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if not all(part.isidentifier() for path in paths for part in path.split(".")):
            msg = "must be import paths of modules, as in `import shop.jobs`"
            raise ValueError(msg)
        return paths

    @field_validator("webhook_secret")
    @classmethod
    def _are_secrets(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            keys_of(secret.get_secret_value())
        return secret

    @field_validator("webhook_allow")
    @classmethod
    def _are_hosts_or_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            try:
                ip_network(entry)
            except ValueError:
                if not _HOST.fullmatch(entry) or _ALL_DIGITS.fullmatch(entry):
                    msg = "must be hosts, addresses or networks, as in `hooks.example,10.1.0.0/16`"
                    raise ValueError(msg) from None
        return entries

    @field_validator("pools", mode="before")
    @classmethod
    def _read_json(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given)
        except ValueError as error:
            msg = f"is not JSON: {error}"
            raise ValueError(msg) from None

    @model_validator(mode="after")
    def _default_pool_has_room(self) -> Self:
        pool = self.pools.get(DEFAULT_POOL, PoolSettings())
        if pool.min_workers is None and (pool.max_workers or self.workers) < self.workers:
            msg = f"max_workers of the pool {DEFAULT_POOL} is less than workers, its min_workers"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _sleep_bounds_are_in_order(self) -> Self:
        if self.sleep_min_s > self.sleep_max_s:
            msg = "sleep_min_s is greater than sleep_max_s"
            raise ValueError(msg)
        return self

    @field_serializer("api_mongo_uri", "worker_mongo_uri", "webhook_secret", when_used="json")
    def _reveal(self, secret: SecretStr | None) -> str | None:
        return secret.get_secret_value() if secret else None

    @field_serializer("handlers", "webhook_allow", when_used="json")
    def _join(self, paths: tuple[str, ...]) -> str:
        return ",".join(paths)

    @field_serializer("pools", when_used="json")
    def _write_json(self, pools: dict[str, PoolSettings]) -> str:
        return json.dumps({name: pool.model_dump(exclude_defaults=True) for name, pool in pools.items()})

    @classmethod
    def load(cls, environment: Mapping[str, str], given: Mapping[str, Any] | None = None) -> Self:
        """Read the settings from `HASTY_*` variables; what is `given` (and not None) wins.

        `config`, of either, names a TOML file: what neither of them sets is taken from there. Afterwards
        it is None, for nobody needs the file any more.

        Raises CannotStart with one line that names the setting and what is wrong with it.
        """
        said = {name: environment.get(PREFIX + name.upper(), "") for name in cls.model_fields}
        nearer: dict[str, Any] = {name: value for name, value in said.items() if value}
        nearer.update({name: value for name, value in (given or {}).items() if value is not None})
        file = nearer.pop("config", None)
        written = _read(Path(file)) if file else {}
        try:
            return cls(**{**written, **nearer})
        except ValidationError as invalid:
            files = dict.fromkeys(written.keys() - nearer.keys(), str(file))
            raise CannotStart(_one_line(invalid, files)) from None

    def to_environment(self) -> dict[str, str]:
        """Return the variables from which `load` reads these settings again.

        Over any other environment, too: what is not set is there and empty, and no file is named.
        """
        values = self.model_dump(mode="json") | {"config": None}
        return {PREFIX + name.upper(): "" if value is None else str(value) for name, value in values.items()}

    def without_secrets(self) -> Self:
        """Return the same, for a process that is to know no database, and to sign nothing."""
        return self.model_copy(update=dict.fromkeys(SECRETS))

    @property
    def all_pools(self) -> dict[str, PoolSettings]:
        """Every pool, the default one first, with all that can be known of it before it runs.

        Only `sync_slots` and `memory` may still be None.
        """
        return {
            name: pool.resolved(
                workers=self.workers if name == DEFAULT_POOL else 1,
                slots=self.slots,
                sync_slots=self.sync_slots,
            )
            for name, pool in {DEFAULT_POOL: PoolSettings(), **self.pools}.items()
        }

    @property
    def needs_keys(self) -> bool:
        """Whether requests need an API key."""
        return self.http_host != _LOOPBACK if self.auth is None else self.auth

    @property
    def webhooks_enabled(self) -> bool:
        """Whether a job may have a webhook: there is a secret to sign it with."""
        return self.webhook_secret is not None

    @property
    def jobs_uri(self) -> str:
        """Where hasty_api lives. Raises CannotStart while no URI is known."""
        if self.api_mongo_uri is None:
            msg = "HASTY_API_MONGO_URI is not set: it names the MongoDB replica set that keeps the jobs"
            raise CannotStart(msg)
        return self.api_mongo_uri.get_secret_value()

    @property
    def ledger_uri(self) -> str:
        """Where hasty_worker lives."""
        return self.worker_mongo_uri.get_secret_value() if self.worker_mongo_uri else self.jobs_uri


def _read(file: Path) -> dict[str, Any]:
    """Return what stands in a file of settings; what is empty there counts as not set."""
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise CannotStart(f"cannot read the settings in {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CannotStart(f"{file} is not TOML: it is not UTF-8") from None
    except ValueError as error:
        raise CannotStart(f"{file} is not TOML: {error}") from None
    if "config" in values:
        raise CannotStart(f"{file}: config: a file of settings names no other")
    return {name: value for name, value in values.items() if value != ""}


def _one_line(invalid: ValidationError, files: Mapping[str, str]) -> str:
    """Name each wrong setting without showing values: one of them may be a secret."""
    errors = invalid.errors(include_input=False, include_url=False)
    return "; ".join(f"{_where(error['loc'], files)}: {_what(error)}" for error in errors)


def _where(path: tuple[int | str, ...], files: Mapping[str, str]) -> str:
    """Name a setting as it is spelt where it is to be changed: in its file, or as a variable."""
    if not path:
        return "settings"
    first, *inner = (_as_key(str(part)) for part in path if part != "[key]")
    file = files.get(str(path[0]))
    names = [PREFIX + first.upper(), ".".join(inner)] if file is None else [file, ".".join([first, *inner])]
    return ": ".join(name for name in names if name)


def _as_key(name: str) -> str:
    """Return a name as TOML wants it; in one line, whatever it is."""
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)


def _what(error: ErrorDetails) -> str:
    if error["type"] != "extra_forbidden":
        return error["msg"].removeprefix("Value error, ")
    *above, name = error["loc"]
    known = (PoolSettings if above else Settings).model_fields
    near = get_close_matches(str(name).lower(), known, 1)
    return "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
