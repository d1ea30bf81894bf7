"""What was asked over HTTP, what came back, and when: the saboteur's own memory."""

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from hasty.clock import Clock

#: hasty itself gives up on a request after 10 s; a client that waits longer waits for HAProxy.
_GIVE_UP_S = 15.0

_HEAD = "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"

_OK, _CREATED, _BAD_REQUEST = 200, 201, 400


class Reply(NamedTuple):
    """What came over the wire; `status` is None where nothing whole did."""

    status: int | None
    message: Any = None


class Answer(NamedTuple):
    """One request and its answer. Times are wall time."""

    method: str
    object_id: str
    #: What a GET asked about, what a 201 named; None otherwise.
    job_id: str | None
    sent_at: datetime
    received_at: datetime
    reply: Reply

    @property
    def accepted(self) -> bool:
        """Whether a job was acknowledged."""
        return self.method == "POST" and self.reply.status == _CREATED

    @property
    def refused(self) -> bool:
        """Whether hasty itself said no."""
        return self.reply.status == _BAD_REQUEST and self.reply.message is not None

    @property
    def shown(self) -> bool:
        """Whether a job was shown."""
        return self.method == "GET" and self.reply.status == _OK and self.reply.message is not None

    @property
    def clear(self) -> bool:
        """Whether a client knows more than before. HAProxy's own 404 and 500, a 503, a cut: not clear."""
        return self.accepted or self.refused or self.shown


class Client:
    """Asks one hasty on this machine; every request is a connection of its own."""

    def __init__(self, port: int, clock: Clock) -> None:
        """Ask 127.0.0.1:`port`."""
        self._port = port
        self._clock = clock

    async def post(self, object_id: str) -> Answer:
        """Ask for a job."""
        sent_at = self._clock.now()
        reply = await self._exchange("POST", "/", json.dumps({"object_id": object_id}))
        job_id = reply.message["job_id"] if reply.status == _CREATED else None
        return Answer("POST", object_id, job_id, sent_at, self._clock.now(), reply)

    async def get(self, object_id: str, job_id: str) -> Answer:
        """Ask how a job stands."""
        sent_at = self._clock.now()
        reply = await self._exchange("GET", f"/{job_id}")
        return Answer("GET", object_id, job_id, sent_at, self._clock.now(), reply)

    async def _exchange(self, method: str, path: str, body: str = "") -> Reply:
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                return _reply(await self._send(method, path, body))
        except (OSError, TimeoutError):
            return Reply(None)

    async def _send(self, method: str, path: str, body: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write((_HEAD.format(method=method, path=path, length=len(body)) + body).encode())
            return await reader.read()
        finally:
            writer.close()


def _reply(raw: bytes) -> Reply:
    """Read an answer. A body that is not hasty's JSON, or not whole, is nothing to rely on."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status = head[9:12]
    if not status.isdigit():
        return Reply(None)
    try:
        return Reply(int(status), json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return Reply(None if int(status) == _CREATED else int(status))


def count(answers: Iterable[Answer]) -> dict[str, int]:
    """Sort the answers to POST into accepted, refused and not clear."""
    posts = [answer for answer in answers if answer.method == "POST"]
    accepted, refused = (sum(map(is_it, posts)) for is_it in (_accepted, _refused))
    return {"accepted": accepted, "refused": refused, "no clear answer": len(posts) - accepted - refused}


def _accepted(answer: Answer) -> bool:
    return answer.accepted


def _refused(answer: Answer) -> bool:
    return answer.refused
