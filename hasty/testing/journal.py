"""What happened in a simulation, in order: enough to see why it went wrong."""

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

#: Entries kept; older ones fall out.
_KEPT = 200_000

#: An entry is cut to so many characters: a message can carry a whole batch.
_WIDTH = 400


class Journal:
    """Notes what happens, with the virtual time. Nothing is made into text before somebody reads it."""

    def __init__(self, time: Callable[[], float]) -> None:
        """Start empty."""
        self._time = time
        self._entries: deque[tuple[float, tuple[Any, ...]]] = deque(maxlen=_KEPT)

    def note(self, *what: Any) -> None:
        """Note something that will not change any more."""
        self._entries.append((self._time(), what))

    def lines(self, last: int = _KEPT) -> list[str]:
        """Return the last entries as text, the oldest first."""
        first = max(0, len(self._entries) - last)
        return [self._line(entry) for entry in itertools.islice(self._entries, first, None)]

    @staticmethod
    def _line(entry: tuple[float, tuple[Any, ...]]) -> str:
        at, what = entry
        text = " ".join(map(_show, what))
        return f"{at:10.4f}  {text if len(text) <= _WIDTH else text[:_WIDTH] + ' …'}"


def _show(thing: Any) -> str:
    """Show a thing the same way in every process: the order of a set depends on the process."""
    if isinstance(thing, str):
        return thing
    if isinstance(thing, set | frozenset):
        return "{" + ", ".join(sorted(map(_show, thing))) + "}"
    if isinstance(thing, dict):
        return "{" + ", ".join(sorted(f"{_show(key)}: {_show(value)}" for key, value in thing.items())) + "}"
    if isinstance(thing, tuple | list):
        fields = getattr(thing, "_fields", None)
        inside = ", ".join(map(_show, thing))
        return f"{type(thing).__name__}({inside})" if fields else f"({inside})"
    return repr(thing)
