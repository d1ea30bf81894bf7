"""What a client does, as steps that somebody else makes: the same for one that blocks and one that awaits.

A course is a generator. It yields a step, gets back what came of it, and returns what it was for. It
touches no socket and no clock. See `hasty.client.drivers` for who makes the steps.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import httpx

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Send a request, read the answer. Gives an `Answer`."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: For so long, in seconds, there may be silence on the wire.
    within_s: float = 30.0
    #: And for so much longer before the answer begins: the server was asked to hold it.
    held_s: float = 0.0


class Open(NamedTuple):
    """Send a request, and read no more than the head of the answer. Gives an `Answer`; ends what was open."""

    call: Call


class Read(NamedTuple):
    """Read on in what is open. Gives bytes: none at its end; or what went wrong."""


class Pause(NamedTuple):
    """Let time pass."""

    seconds: float


class Now(NamedTuple):
    """Gives seconds since some moment, which never go back."""


class Item(NamedTuple, Generic[Value]):
    """Hand this to who iterates."""

    value: Value


#: What comes of a request: an answer of whatever status, or why there is none.
Answer = httpx.Response | httpx.RequestError

Step = Call | Open | Read | Pause | Now

#: Steps that lead to one value.
Course = Generator[Step, Any, Value]

#: Steps that lead to one value after another.
Series = Generator[Step | Item[Value], Any, None]
