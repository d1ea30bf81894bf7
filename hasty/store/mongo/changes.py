"""The log of changes in MongoDB: a change stream on the jobs, opened and read by plain commands.

A reader of the driver's own hands out one document at a time, which costs ten times as much as
the whole of what is read here.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from hasty.errors import HistoryLost, StoreUnavailable
from hasty.job import Progress, Status
from hasty.messages import EventType
from hasty.store.base import Change, Reading
from hasty.store.mongo.connection import Document, clear_answers, from_text

if TYPE_CHECKING:
    from pymongo.asynchronous.client_session import AsyncClientSession

#: So many changes at once, at most.
_AT_ONCE = 1_000

#: The server answers when it has waited for as long as it should; but before it waits it looks through
#: its whole log, in which others may have written much.
_ANSWER_S = 60.0

#: What the server says where its log does not reach back to a token, or is another one.
_LOST = frozenset(
    {
        9,  # FailedToParse: it is no token
        15,  # Overflow: the same
        260,  # InvalidResumeToken
        280,  # ChangeStreamFatalError
        286,  # ChangeStreamHistoryLost
    }
)

#: And numbers of assertions, many of them, each for something that a token lacks.
_FIRST_ASSERTION = 40_000

_UPDATED = "updateDescription.updatedFields"

#: Whatever shows in an event, and nothing else: of a job that waits its turn much is written.
_PIPELINE: list[Document] = [
    {
        "$match": {
            "$or": [
                {"operationType": "insert"},
                *(
                    {"operationType": "update", f"{_UPDATED}.{name}": {"$exists": True}}
                    for name in ("status", "attempt", "progress")
                ),
            ]
        }
    },
    {
        "$project": {
            "at": "$wallTime",
            "job_id": "$documentKey._id",
            "object_id": "$fullDocument.object_id",
            "handler": "$fullDocument.handler",
            "status": {"$ifNull": ["$fullDocument.status", f"${_UPDATED}.status"]},
            "attempt": f"${_UPDATED}.attempt",
            "run_at": f"${_UPDATED}.run_at",
            "progress": f"${_UPDATED}.progress",
            "error": f"${_UPDATED}.error",
        }
    },
]


class ChangeStream:
    """See `hasty.store.base.LogReader`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str, token: str | None) -> None:
        """Read from behind `token`; None: from now on. Nothing is asked yet."""
        self._client = client
        self._database = client[database]
        self._token = token
        self._session: AsyncClientSession | None = None
        self._cursor = 0

    async def open(self) -> str:
        """Return the token of where it begins."""
        start = {} if self._token is None else {"startAfter": {"_data": self._token}}
        stages = [{"$changeStream": start}, *_PIPELINE]
        wanted = {"aggregate": "jobs", "pipeline": stages, "cursor": {"batchSize": 0}}
        # A cursor belongs to the session it was opened in.
        self._session = self._client.start_session(causal_consistency=False)
        with clear_answers():
            try:
                opened = await self._ask(wanted)
            except OperationFailure as error:
                # Without a token it cannot be the token.
                raise (error if self._token is None else _meaning(error)) from error
        return self._note(opened)

    async def read(self, within_s: float) -> Reading:
        """See `LogReader`."""
        if not self._cursor:
            await self.open()
        more = {
            "getMore": self._cursor,
            "collection": "jobs",
            "batchSize": _AT_ONCE,
            "maxTimeMS": max(1, round(within_s * 1000)),
        }
        # The driver's own limit on an operation would be put in the place of `maxTimeMS`.
        with clear_answers(), pymongo.timeout(0):
            try:
                async with asyncio.timeout(within_s + _ANSWER_S):
                    found = await self._ask(more)
            except TimeoutError:
                raise StoreUnavailable("MongoDB did not answer in time") from None
            except OperationFailure as error:
                raise _meaning(error) from error
        token = self._note(found)
        if not self._cursor:
            raise HistoryLost("the jobs were dropped, or put in the place of others")
        return Reading([_change_of(change) for change in found["nextBatch"]], token)

    async def _ask(self, command: Document) -> Document:
        answer = await self._database.command(
            command, session=self._session, codec_options=self._client.codec_options
        )
        cursor: Document = answer["cursor"]
        return cursor

    def _note(self, cursor: Document) -> str:
        self._cursor = cursor["id"]
        token: str = cursor["postBatchResumeToken"]["_data"]
        return token

    async def close(self) -> None:
        """See `LogReader`."""
        session, cursor, self._session, self._cursor = self._session, self._cursor, None, 0
        if session is None:
            return
        with contextlib.suppress(PyMongoError):
            if cursor:
                await self._database.command({"killCursors": "jobs", "cursors": [cursor]}, session=session)
        await session.end_session()


def _meaning(error: OperationFailure) -> Exception:
    code = error.code or 0
    lost = code in _LOST or code >= _FIRST_ASSERTION
    return HistoryLost(f"MongoDB cannot go on from there ({code})") if lost else error


def _change_of(found: dict[str, Any]) -> Change:
    progress = found.get("progress")
    status = found.get("status")
    attempt = found.get("attempt")
    if status is None:
        # It stays what it was: scheduled, for another time, or running, in another attempt.
        status = "scheduled" if "run_at" in found else "running"
    return Change(
        EventType.PROGRESS if progress is not None else EventType(f"job.{status}"),
        found["at"],
        found["job_id"],
        Status(status),
        attempt,
        Progress(**progress) if progress is not None else None,
        from_text(found.get("error")),
        found.get("object_id"),
        found.get("handler"),
    )
