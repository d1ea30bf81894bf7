"""All settings, parsed once at the edge and handed down."""

from collections.abc import Mapping
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

from hasty.errors import CannotStart

#: Settings are read from environment variables of this prefix: HASTY_TIMEOUT_S and so on.
PREFIX = "HASTY_"


def _default_data_dir() -> Path:
    return Path.home() / ".local" / "share" / "hasty"


class Settings(BaseModel):
    """What an operator can set. Times are in seconds; fractions are allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

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
    workers: int = Field(2, ge=1, le=10_000, description="Number of worker actors.")
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

    @field_validator("http_host")
    @classmethod
    def _serve_can_listen_there(cls, host: str) -> str:
        # Serve's replicas listen on the same host, and HAProxy reaches them by 127.0.0.1.
        if host not in {"127.0.0.1", "0.0.0.0"}:  # noqa: S104
            msg = "must be 127.0.0.1 (this machine only) or 0.0.0.0 (every interface)"
            raise ValueError(msg)
        return host

    @field_validator("handlers", mode="before")
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

    @model_validator(mode="after")
    def _sleep_bounds_are_in_order(self) -> Self:
        if self.sleep_min_s > self.sleep_max_s:
            msg = "sleep_min_s is greater than sleep_max_s"
            raise ValueError(msg)
        return self

    @field_serializer("api_mongo_uri", "worker_mongo_uri", when_used="json")
    def _reveal(self, uri: SecretStr | None) -> str | None:
        return uri.get_secret_value() if uri else None

    @field_serializer("handlers", when_used="json")
    def _join(self, paths: tuple[str, ...]) -> str:
        return ",".join(paths)

    @classmethod
    def load(cls, environment: Mapping[str, str], given: Mapping[str, Any] | None = None) -> Self:
        """Read the settings from `HASTY_*` variables; what is `given` (and not None) wins.

        Raises CannotStart with one line that names the setting and what is wrong with it.
        """
        values: dict[str, Any] = {
            name: environment[PREFIX + name.upper()]
            for name in cls.model_fields
            if environment.get(PREFIX + name.upper())
        }
        values.update({name: value for name, value in (given or {}).items() if value is not None})
        try:
            return cls(**values)
        except ValidationError as invalid:
            raise CannotStart(_one_line(invalid)) from None

    def to_environment(self) -> dict[str, str]:
        """Return the variables from which `load` reads these settings again."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {PREFIX + name.upper(): str(value) for name, value in values.items()}

    def without_secrets(self) -> Self:
        """Return the same, for a process that is to know no database."""
        return self.model_copy(update={"api_mongo_uri": None, "worker_mongo_uri": None})

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


def _one_line(invalid: ValidationError) -> str:
    """Name each wrong setting without showing values: one of them may be a secret."""
    parts = []
    for error in invalid.errors(include_input=False, include_url=False):
        name = PREFIX + "_".join(str(part) for part in error["loc"]).upper() if error["loc"] else "settings"
        parts.append(f"{name}: {error['msg']}")
    return "; ".join(parts)
