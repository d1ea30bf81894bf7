"""Handlers by name: what hasty knows of each, and how it is called."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hasty.errors import BadResult, CannotStart, FixTheHandler, InvalidRequest
from hasty.handlers.context import JobContext
from hasty.handlers.shapes import Shape
from hasty.handlers.signature import UNTYPED, Signature
from hasty.job import Json, Window
from hasty.pools import DEFAULT_POOL
from hasty.retry import full_jitter_s

#: A job is given up when it killed its worker so often, unless its handler says otherwise.
MAX_CRASHES = 3

#: So many digits of a version are plenty to tell two sets of handlers apart.
_VERSION_DIGITS = 16


class Retrying(NamedTuple):
    """What happens after an attempt failed."""

    #: So many attempts follow, at most.
    retries: int
    #: The bound of the first wait, in seconds; it doubles with each failure, up to the cap.
    backoff_s: float = 1.0
    backoff_cap_s: float = 300.0
    #: Only after errors of these classes.
    on: tuple[type[BaseException], ...] = (Exception,)

    def follows(self, error: BaseException) -> bool:
        """Whether an attempt that ended with this error may be followed by another.

        A payload that does not fit, or a result of a wrong type, is no different the next time.
        """
        return self.retries > 0 and isinstance(error, self.on) and not isinstance(error, _NEVER_BETTER)

    def wait_s(self, failures: int) -> float:
        """Return how long to wait after so many failures, in seconds."""
        return full_jitter_s(failures, self.backoff_s, self.backoff_cap_s)


_NEVER_BETTER = (InvalidRequest, BadResult)

#: An attempt that fails is the last.
NEVER = Retrying(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function registered under a name, with the limits its jobs get."""

    name: str
    #: As the user wrote it.
    function: Callable[..., Any]
    #: Longest an attempt may run, in seconds.
    timeout_s: float
    #: When the object's next job is admitted.
    window: Window
    #: Longest an attempt may run that asks for more time; None: no longer than any other.
    max_timeout_s: float | None = None
    #: Longest silence between two reports of progress, in seconds; None: any.
    stall_timeout_s: float | None = None
    #: How long a handler that was stopped may take to end.
    grace_s: float = 5.0
    #: A job that killed its worker so often is given up.
    max_crashes: int = MAX_CRASHES
    retry: Retrying = NEVER
    pool: str = DEFAULT_POOL
    #: Longest wait for the first start, in seconds; None: any.
    queue_timeout_s: float | None = None
    signature: Signature = UNTYPED

    @property
    def is_async(self) -> bool:
        """Whether it runs in its worker's loop; one that is not blocks, and needs a process."""
        return self.signature.is_async

    @property
    def payload(self) -> Shape:
        """What its payload must look like."""
        return self.signature.payload

    @property
    def result(self) -> Shape:
        """What its result must look like."""
        return self.signature.result

    @property
    def longest_s(self) -> float:
        """Longest that any attempt may run, in seconds."""
        return max(self.timeout_s, self.max_timeout_s or 0.0)

    @property
    def limits(self) -> list[Json]:
        """All that was said of it, for comparing."""
        others = {"function", "signature", "retry"}
        said = [getattr(self, each.name) for each in fields(self) if each.name not in others]
        return [*said, *self.retry[:-1], sorted(error.__qualname__ for error in self.retry.on)]

    @property
    def where(self) -> str:
        """The function's full name."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    async def call(self, context: JobContext, payload: Json) -> Json:
        """Perform an attempt of an async handler.

        Raises InvalidRequest or BadResult, which name the field, and whatever the function raises.
        """
        if not self.is_async:
            raise FixTheHandler(f"{self.name} is not async, and this worker runs async handlers only")
        return self.result.dump(await self.function(*self.signature.arguments(context, payload)))

    def call_sync(self, context: JobContext, payload: Json) -> Json:
        """Perform an attempt of a handler that is not async; blocks. Raises as `call` does."""
        return self.result.dump(self.function(*self.signature.arguments(context, payload)))


class Handlers(Mapping[str, Handler]):
    """The handlers of one hasty, by name."""

    def __init__(self, *handlers: Handler) -> None:
        """Take handlers with different names. Raises CannotStart if two have the same."""
        self._by_name: dict[str, Handler] = {}
        for handler in handlers:
            first = self._by_name.setdefault(handler.name, handler)
            if first is not handler:
                told = f"two handlers are named {handler.name!r}: {first.where} and {handler.where}"
                raise CannotStart(f"{told}; give one of them another name")

    def __getitem__(self, name: str) -> Handler:
        """Return the handler of this name; KeyError if there is none."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._by_name)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_name)

    @cached_property
    def version(self) -> str:
        """Tell this set from others: the same for the same names, limits and source files, anywhere.

        The files are those in which the handlers are defined, as they are when this is first
        asked; what those import from elsewhere does not count.
        """
        limits = [handler.limits for handler in self.values()]
        sources = {_source(handler.function) for handler in self.values()}
        told = json.dumps([sorted(limits), sorted(sources)])
        return hashlib.sha256(told.encode()).hexdigest()[:_VERSION_DIGITS]


def _source(function: Callable[..., Any]) -> str:
    """Return a digest of the file that defines a function; empty where there is no such file."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except (TypeError, OSError):  # it wraps what is no function
        return ""
    if file is None or not Path(file).is_file():
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
