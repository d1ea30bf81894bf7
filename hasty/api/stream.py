"""Events as a stream of Server-Sent Events, as HTML's standard defines it."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hasty.api.hub import Hub
from hasty.api.listener import Listener
from hasty.api.schemas import ProgressView
from hasty.errors import Draining
from hasty.job import Status
from hasty.messages import Event, EventType
from hasty.store.base import Wanted

#: Where nothing happens, something is sent all the same: who is gone is noticed, who waits is not cut off.
HEARTBEAT_S = 10.0

#: Then a stream ends, and the client comes back: with an API key that is still good.
_LONGEST_S = 3_600.0

#: Whoever takes nothing for so long is taken for gone.
_STUCK_S = 60.0

#: A client that was cut off is to come back after so many milliseconds.
_RETRY_MS = 1_000

#: So many events are kept as they are sent, for all who follow the same.
_BLOCKS = 2_048


class EventView(BaseModel):
    """An event as clients see it: the `data` of it, in one line."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="Its place in the order of all events; also the `id` of the stream.")
    type: EventType = Field(description="Also the `event` of the stream.")
    at: datetime = Field(description="When hasty took note of it.")
    job_id: str | None = Field(default=None, description="With a gap it is null, as all that follow.")
    object_id: str | None = None
    handler: str | None = None
    status: Status | None = Field(default=None, description="How the job stood then.")
    attempt: int = 0
    progress: ProgressView | None = None
    error: dict[str, Any] | None = None

    @classmethod
    def of(cls, event: Event) -> Self:
        """Show an event."""
        progress = event.progress
        return cls(
            id=str(event.seq),
            **event._asdict() | {"progress": progress and ProgressView(**progress._asdict())},
        )


class _Same:
    """An event as a key: that very one, whatever it says."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event

    def __hash__(self) -> int:
        return id(self.event)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.event is other.event


@functools.lru_cache(_BLOCKS)
def _block(same: _Same) -> bytes:
    event = same.event
    data = EventView.of(event).model_dump_json()
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode()


def block(event: Event) -> bytes:
    """Return an event as it is sent."""
    return _block(_Same(event))


class EventStream(Response):
    """The answer to whoever follows events. It ends when hasty stops; a client comes back and misses nothing.

    One that leaves is noticed by its server, which cancels this, or when something is sent.
    """

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, wanted: Wanted, after: int | None) -> None:
        """Send what is wanted: all after that event, or all from now on."""
        self.status_code = 200
        self.background = None
        # Some proxies keep back what they are not told to pass on.
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._hub = hub
        self._wanted = wanted
        self._after = after

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send until it is over. Raises EventsOff, Unreachable before anything is sent."""
        with await self._listen() as listener, contextlib.suppress(_Stuck):
            await _send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _write(send, _beginning(listener))
            until = _now() + _LONGEST_S
            while _now() < until and (events := await _next(listener)) is not None:
                await _write(send, b"".join(map(block, events)) or _heartbeat(listener))
                if (last := await self.end(events, listener)) is not None:
                    await _write(send, last)
                    break
            await _send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _listen(self) -> Listener:
        return await self._hub.listen(self._wanted, self._after)

    async def end(self, _events: Sequence[Event], _listener: Listener) -> bytes | None:
        """Return what is still to be sent, if the stream is over after these."""
        return None


class JobStream(EventStream):
    """The events of one job, until its last."""

    def __init__(
        self, hub: Hub, job_id: str, after: int | None, ended: Callable[[], Awaitable[bool]]
    ) -> None:
        """Begin behind `after`, or with the first that is kept. `ended` looks whether the job has."""
        super().__init__(hub, Wanted(job_id=job_id), after)
        self._ended = ended
        self._overdue = False

    async def _listen(self) -> Listener:
        listener = await self._hub.listen(self._wanted, self._after or 0)
        # Of a job that is older than what is kept, the first that is kept is the first that is wanted.
        listener.strict = self._after is not None
        return listener

    async def end(self, events: Sequence[Event], listener: Listener) -> bytes | None:
        """See `EventStream`. Of a job that ended long ago, or in a gap, the last event is not kept."""
        if any(event.final for event in events):
            return b""
        if events or not self._hub.live or not await self._ended():
            self._overdue = False
        elif self._overdue:
            return block(listener.gap())
        else:
            # It may have ended a moment ago. At the next heartbeat, its event would have come.
            self._overdue = True
        return None


class _Stuck(Exception):  # a signal, which nobody sees
    """The client takes nothing."""


async def _send(send: Send, message: Message) -> None:
    try:
        async with asyncio.timeout(_STUCK_S):
            await send(message)
    except TimeoutError:
        raise _Stuck from None


async def _write(send: Send, body: bytes) -> None:
    if body:
        await _send(send, {"type": "http.response.body", "body": body, "more_body": True})


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _next(listener: Listener) -> Sequence[Event] | None:
    """Return what comes next, nothing when it is time for a heartbeat, None when it is time to go."""
    try:
        return await listener.next(HEARTBEAT_S)
    except Draining:
        return None


def _beginning(listener: Listener) -> bytes:
    """Say from where the client is to go on, if it is cut off before it has heard anything."""
    return f"retry: {_RETRY_MS}\n{_place(listener)}\n".encode()


def _heartbeat(listener: Listener) -> bytes:
    """Say that all is well, and how far that is: what is not wanted need not be looked through again."""
    return f": \n{_place(listener)}\n".encode()


def _place(listener: Listener) -> str:
    return f"id: {listener.cursor}\n" if listener.strict else ""
