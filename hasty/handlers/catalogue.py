"""Handlers by name: what hasty knows of each, and how it is called."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hasty.errors import CannotStart, FixTheHandler
from hasty.handlers.context import JobContext
from hasty.handlers.shapes import Shape
from hasty.handlers.signature import UNTYPED, Signature
from hasty.job import Json

#: A job is given up when it killed its worker so often, unless its handler says otherwise.
MAX_CRASHES = 3

#: So many digits of a version are plenty to tell two sets of handlers apart.
_VERSION_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function registered under a name, with the limits its jobs get."""

    name: str
    #: As the user wrote it.
    function: Callable[..., Any]
    #: Longest an attempt may run, in seconds.
    timeout_s: float
    #: Time in which the object's next job is refused, in seconds from acceptance.
    rerun_window_s: float
    #: A job that killed its worker so often is given up.
    max_crashes: int = MAX_CRASHES
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
        limits = [
            (handler.name, handler.timeout_s, handler.rerun_window_s, handler.max_crashes)
            for handler in self.values()
        ]
        sources = {_source(handler.function) for handler in self.values()}
        told = json.dumps([sorted(limits), sorted(sources)])
        return hashlib.sha256(told.encode()).hexdigest()[:_VERSION_DIGITS]


def _source(function: Callable[..., Any]) -> str:
    """Return a digest of the file that defines a function; empty where there is no such file."""
    file = inspect.getsourcefile(inspect.unwrap(function))
    if file is None or not Path(file).is_file():
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
