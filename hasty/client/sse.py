"""Server-Sent Events, from bytes to messages (WHATWG HTML, section 9.2.6). Pieces may be cut anywhere."""

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\n|\r")

#: Times of more digits are cut off.
_DIGITS = 9


class Message(NamedTuple):
    """One message of a stream."""

    type: str
    data: str


class EventParser:
    """Takes one connection's bytes as they come."""

    def __init__(self) -> None:
        """Start a new stream."""
        # A byte order mark may stand at the very beginning.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._after_return = False
        self._fields: list[tuple[str, str]] = []
        self._id: str | None = None
        #: The last id that the stream has told so far; it stays until there is another.
        self.last_id: str | None = None
        #: When to come back after a break, in seconds, as far as the stream has told.
        self.retry_s = 0.0

    def feed(self, piece: bytes) -> Iterator[Message]:
        """Yield the messages that this piece completes; `last_id` is that of each as it is yielded."""
        *lines, self._rest = _LINE_END.split(self._rest + self._decoded(piece))
        for line in lines:
            message = self._line(line)
            if message is not None:
                yield message

    def _decoded(self, piece: bytes) -> str:
        """Return the text of a piece, without the second half of a line end that was cut in two."""
        text = self._decoder.decode(piece)
        if not text:
            return text
        half = self._after_return and text.startswith("\n")
        self._after_return = text.endswith("\r")
        return text[half:]

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value[:_DIGITS]) / 1000
        elif name in {"data", "event"}:
            self._fields.append((name, value))
        return None

    def _dispatch(self) -> Message | None:
        """End a message. One without data is none, but its id counts."""
        fields, self._fields, self.last_id = self._fields, [], self._id
        data = [value for name, value in fields if name == "data"]
        kind = [value for name, value in fields if name == "event"]
        return Message((kind or [""])[-1] or "message", "\n".join(data)) if data else None
