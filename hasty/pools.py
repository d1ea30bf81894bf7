"""Pools of workers: what an operator can say of each."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

#: The pool that always exists; it has the handlers that name no other.
DEFAULT_POOL = "default"

#: No pool has more workers than this.
MOST_WORKERS = 10_000

#: What the name of a pool looks like.
POOL_NAME = r"^[a-z][a-z0-9-]{0,30}$"

#: Ray counts in steps of this, and refuses what is less.
_STEP = 0.0001

#: More than any machine has; Ray itself fails to count far beyond.
_MOST_OF_A_NODE = 1_000
_MOST_BYTES = 100_000_000_000_000
_MOST_OF_A_RESOURCE = 1_000_000_000_000

#: Ray keeps an account of its own for these.
_HAVE_A_FIELD = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


# A label as Ray 2.60 takes it; it says so only when an actor starts.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL_KEY = re.compile(rf"(?:(?=.{{1,253}}/)(?:{_LABEL})(?:\.(?:{_LABEL}))*/)?{_LABEL}")
_LABEL_WANTED = re.compile(rf"!?(?:{_LABEL}|(?:in)?\({_LABEL}(?:, ?{_LABEL})*\))|")


def _pool_name(name: str) -> str:
    if not re.fullmatch(POOL_NAME, name):
        msg = "must be a letter and at most 30 letters, digits and hyphens, all of them lower-case"
        raise ValueError(msg)
    return name


def _resource_name(name: str) -> str:
    if name in _HAVE_A_FIELD:
        msg = f"is no custom resource; use the field {_HAVE_A_FIELD[name]}"
        raise ValueError(msg)
    return name


def _label_key(key: str) -> str:
    if not _LABEL_KEY.fullmatch(key):
        msg = "must be the name of a label, as in `market-type` or `ray.io/accelerator-type`"
        raise ValueError(msg)
    return key


def _label_wanted(value: str) -> str:
    if not _LABEL_WANTED.fullmatch(value):
        msg = "must be the value of a label, or as in `!spot`, `in(a, b)`, `!in(a, b)`"
        raise ValueError(msg)
    return value


PoolName = Annotated[str, AfterValidator(_pool_name)]
ResourceName = Annotated[str, Field(min_length=1), AfterValidator(_resource_name)]
Amount = Annotated[float, Field(ge=_STEP, le=_MOST_OF_A_RESOURCE)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelWanted = Annotated[str, AfterValidator(_label_wanted)]


class PoolSettings(BaseModel):
    """What an operator can set of one pool. None is what `resolved` finds out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_workers: int | None = Field(
        default=None,
        ge=1,
        le=MOST_WORKERS,
        description="Fewest workers; default: 1; of the pool `default`: `HASTY_WORKERS`.",
    )
    max_workers: int | None = Field(
        default=None, ge=1, le=MOST_WORKERS, description="Most workers; default: as many as `min_workers`."
    )
    slots: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Attempts at once in each worker; default: `HASTY_SLOTS`.",
    )
    sync_slots: int | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="Sync handlers at once in each worker; default: its whole CPUs, else `HASTY_SYNC_SLOTS`.",
    )
    # A worker that asks for nothing is no demand that an autoscaler could see.
    num_cpus: float = Field(
        default=0.1, ge=_STEP, le=_MOST_OF_A_NODE, description="CPUs that Ray sets aside for each worker."
    )
    num_gpus: float = Field(
        default=0,
        ge=0,
        le=_MOST_OF_A_NODE,
        description="GPUs that Ray sets aside for each worker; above 1 only whole ones.",
    )
    memory: int | None = Field(
        default=None,
        gt=0,
        le=_MOST_BYTES,
        description="Memory that Ray sets aside for each worker, in bytes.",
    )
    resources: dict[ResourceName, Amount] = Field(
        default={}, description="Custom resources that Ray sets aside for each worker, and how much of each."
    )
    labels: dict[LabelKey, LabelWanted] = Field(
        default={}, description="Labels that a worker's node must have."
    )
    # Credentials may stand in its env_vars.
    runtime_env: dict[str, Any] = Field(
        default={},
        repr=False,
        description="Ray's runtime environment of the workers: packages, variables, an image.",
    )

    @field_validator("num_gpus")
    @classmethod
    def _can_be_counted(cls, gpus: float) -> float:
        if 0 < gpus < _STEP or (gpus > 1 and not gpus.is_integer()):
            msg = f"must be 0, a share from {_STEP} to 1, or a whole number"
            raise ValueError(msg)
        return gpus

    @field_validator("runtime_env")
    @classmethod
    def _is_json(cls, given: dict[str, Any]) -> dict[str, Any]:
        try:
            plain: dict[str, Any] = json.loads(json.dumps(given, allow_nan=False))
        except (TypeError, ValueError):
            # Their own words show values.
            msg = "must be JSON: no dates and times, no infinite numbers"
            raise ValueError(msg) from None
        return plain

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.min_workers and self.max_workers and self.max_workers < self.min_workers:
            msg = "max_workers is less than min_workers"
            raise ValueError(msg)
        return self

    def resolved(self, *, workers: int, slots: int, sync_slots: int | None) -> Self:
        """Return the same, with what was left open as given here or as its other fields imply.

        `sync_slots` stays None where it is to be the number of the machine's cores.
        """
        least = self.min_workers or workers
        return self.model_copy(
            update={
                "min_workers": least,
                "max_workers": self.max_workers or least,
                "slots": self.slots or slots,
                "sync_slots": self.sync_slots or int(self.num_cpus) or sync_slots,
            }
        )


class PoolPlan(NamedTuple):
    """How large a pool may be, and how much each of its workers takes on."""

    min_workers: int
    max_workers: int
    slots: int


class Plan(NamedTuple):
    """What was deployed last."""

    #: Greater with each deployment: who was started under a smaller one is replaced.
    generation: int
    pools: Mapping[str, PoolPlan]
    #: What workers are started with, as whoever starts them understands it.
    settings: str = ""


class Roster(NamedTuple):
    """How many workers a pool has."""

    #: So many there should be.
    size: int
    #: So many there may be: also those that are to leave, while they still have jobs.
    extent: int
    #: Somebody said how many, under this generation of the plan; 0: nobody did.
    pinned_under: int = 0


def worker_names(pool: str, first: int, count: int) -> tuple[str, ...]:
    """Name the workers of a pool from the `first` on, up to `count` in all."""
    return tuple(f"{_WORKER}{pool}-{position}" for position in range(first, count))


def pool_of(worker: str) -> str:
    """Return the pool that a worker's name tells."""
    return worker.removeprefix(_WORKER).rpartition("-")[0]


#: What the names of workers begin with.
_WORKER = "hasty-worker-"
