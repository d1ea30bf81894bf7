"""The events in MongoDB: database hasty_api, collection events, and one document of collection meta.

position  the newest event with a token, or the document `herald`, which outlives the events
reader    a change stream on the jobs: see `hasty.store.mongo.changes`
add       ordered, majority + journal             unique `_id`, the number, lets one of two racers win
keep      majority, if of no earlier number
skip      two gaps; of two who lose the same, one wins
page      by `_id`, or by index `of_job`

Only the last event of what was added together has a token, and it is inserted last. So whoever
goes on from there gives those that were cut off before it the numbers that they have.
"""

import contextlib
import logging
from collections.abc import Collection, Sequence

from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from hasty.errors import StoreUnavailable, Superseded
from hasty.job import Progress, Status
from hasty.messages import Event, EventType
from hasty.store.base import LEAP, About, Excerpt, Position, Wanted
from hasty.store.mongo.changes import ChangeStream
from hasty.store.mongo.connection import (
    Document,
    clear_answers,
    duplicates,
    from_text,
    server_time,
    to_text,
)
from hasty.telemetry import RetentionUnchanged, emit

_OF_JOB = IndexModel([("job_id", ASCENDING), ("_id", ASCENDING)], name="of_job")

_EXPIRY = "expiry"

#: Another time of keeping was said before.
_INDEX_OPTIONS_CONFLICT = 85

_UNAUTHORIZED = 13

#: Where few are asked for, so many numbers are looked through at once.
_LOOKED_THROUGH = 5_000

_NEWEST = {"_id": DESCENDING}


class MongoEventStore:
    """See `hasty.store.base.EventStore`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_api") -> None:
        """Use `client`; nothing is sent yet."""
        self._client = client
        self._database = database
        self._jobs = client[database]["jobs"]
        self._events = client[database]["events"]
        self._meta = client[database]["meta"]

    async def prepare(self, keep_s: float) -> None:
        """See `EventStore`."""
        seconds = max(1, round(keep_s))
        expiry = IndexModel([("at", ASCENDING)], name=_EXPIRY, expireAfterSeconds=seconds)
        with clear_answers():
            try:
                await self._events.create_indexes([_OF_JOB, expiry])
            except OperationFailure as error:
                if error.code != _INDEX_OPTIONS_CONFLICT:
                    raise
                await self._keep_for(seconds)

    async def _keep_for(self, seconds: int) -> None:
        """Change for how long events are kept, also those that there are."""
        changed = {"name": _EXPIRY, "expireAfterSeconds": seconds}
        try:
            await self._events.database.command({"collMod": "events", "index": changed})
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            # The role readWrite does not allow it.
            emit(RetentionUnchanged("events"), level=logging.WARNING)

    async def position(self) -> Position:
        """See `EventStore`."""
        with clear_answers():
            kept = await self._meta.find_one({"_id": "herald"})
            if kept is None:
                kept = await self._begin()
            cursor = self._events.find({"token": {"$exists": True}}, sort=_NEWEST, limit=1, hint="_id_")
            newest = [*await cursor.to_list(), kept | {"_id": kept["seq"]}]
        last = max(newest, key=lambda found: found["_id"])
        # Of the same number, what was kept may be from further on in the log.
        token = kept["token"] if kept["seq"] == last["_id"] else last["token"]
        return Position(last["_id"], last["at"], token)

    async def _begin(self) -> Document:
        """Let the log begin here and now, unless it does elsewhere; return where."""
        first = {"seq": 0, "at": await server_time(self._client), "token": await self._now()}
        with contextlib.suppress(DuplicateKeyError):  # another one was first, in the same moment
            await self._meta.update_one({"_id": "herald"}, {"$setOnInsert": first}, upsert=True)
        found = await self._meta.find_one({"_id": "herald"})
        if found is None:
            raise StoreUnavailable("MongoDB does not show yet where the log begins")
        return found

    async def _now(self) -> str:
        stream = ChangeStream(self._client, self._database, None)
        try:
            return await stream.open()
        finally:
            await stream.close()

    def reader(self, token: str) -> ChangeStream:
        """See `EventStore`."""
        return ChangeStream(self._client, self._database, token)

    async def about(self, job_ids: Collection[str], until: int) -> dict[str, About]:
        """See `EventStore`."""
        told: list[Document] = [
            {"$match": {"job_id": {"$in": list(job_ids)}, "_id": {"$lte": until}}},
            {"$sort": {"job_id": DESCENDING, "_id": DESCENDING}},
            {"$group": {"_id": "$job_id"} | {name: {"$first": f"${name}"} for name in About._fields}},
        ]
        with clear_answers():
            found = await (await self._events.aggregate(told, hint="of_job")).to_list()
            untold = list(set(job_ids) - {one["_id"] for one in found})
            if untold:
                shown = dict.fromkeys(About._fields, 1)
                found += await self._jobs.find({"_id": {"$in": untold}}, shown).to_list()
        return {one["_id"]: About(one["object_id"], one["handler"], one.get("attempt", 0)) for one in found}

    async def add(self, events: Sequence[Event], token: str) -> None:
        """See `EventStore`."""
        documents = [_document_of(event) for event in events]
        documents[-1]["token"] = token
        with clear_answers():
            while documents:
                try:
                    # In their order: what is there is always the first of them.
                    await self._events.insert_many(documents, ordered=True)
                except BulkWriteError as error:
                    duplicates(error)
                    documents = await self._left(documents)
                else:
                    return

    async def _left(self, documents: Sequence[Document]) -> list[Document]:
        """Return those that are not there. Raises Superseded where another one has the number."""
        numbers = {"$gte": documents[0]["_id"], "$lte": documents[-1]["_id"]}
        kept = {found["_id"]: found async for found in self._events.find({"_id": numbers})}
        left = []
        for document in documents:
            there = kept.get(document["_id"])
            if there is None:
                left.append(document)
            elif _identity(there) != _identity(document):
                raise Superseded(f"event {document['_id']} is another one")
        return left

    async def keep(self, position: Position) -> None:
        """See `EventStore`."""
        seq, at, token = position
        with clear_answers():
            await self._meta.update_one(
                {"_id": "herald", "seq": {"$lte": seq}}, {"$set": {"seq": seq, "at": at, "token": token}}
            )

    async def skip(self, lost: Position) -> None:
        """See `EventStore`."""
        token = await self._now()
        at = max(lost.at, await server_time(self._client))
        with clear_answers():
            newest = await self._events.find_one({}, {"_id": 1}, sort=_NEWEST)
            # Asked afterwards: whoever goes on from now on takes the number behind the newest.
            if (await self.position()) != lost:
                return
            seq = max(lost.seq, newest["_id"] if newest is not None else 0)
            here, there = (_document_of(Event(seq + n, EventType.GAP, at)) for n in (1, LEAP))
            try:
                await self._events.insert_many([here, there | {"token": token}], ordered=True)
            except BulkWriteError as error:
                # Another one leapt, or goes on from here.
                duplicates(error)

    async def page(self, after: int, until: int, wanted: Wanted, limit: int) -> Excerpt:
        """See `EventStore`."""
        if wanted.job_id is None and wanted != Wanted():
            until = min(until, after + _LOOKED_THROUGH)
        chosen: Document = {"_id": {"$gt": after, "$lte": until}}
        # A gap is about no job in particular.
        chosen |= {name: {"$in": [value, None]} for name, value in wanted._asdict().items() if value}
        return await self._excerpt(chosen, until, limit, "_id_" if wanted.job_id is None else "of_job")

    async def beginnings(self, job_ids: Collection[str], until: int, limit: int) -> Excerpt:
        """See `EventStore`."""
        chosen = {"_id": {"$lte": until}, "job_id": {"$in": [*job_ids, None]}}
        return await self._excerpt(chosen, until, limit, "of_job")

    async def _excerpt(self, chosen: Document, until: int, limit: int, hint: str) -> Excerpt:
        with clear_answers():
            cursor = self._events.find(chosen, sort={"_id": ASCENDING}, limit=limit, hint=hint)
            events = tuple([_event_of(found) async for found in cursor])
            # Asked afterwards: what expired meanwhile is missing too.
            oldest = await self._events.find_one({}, {"_id": 1}, sort={"_id": ASCENDING})
        if len(events) == limit:
            until = events[-1].seq
        return Excerpt(events, until, oldest["_id"] if oldest is not None else until + 1)


def _identity(document: Document) -> tuple[object, ...]:
    """Return what tells one change from another. What else is told of it may depend on who tells it."""
    return document["type"], document.get("job_id"), document["at"]


def _document_of(event: Event) -> Document:
    document: Document = {"_id": event.seq, "type": str(event.type), "at": event.at}
    if event.job_id is not None:
        document |= {
            "job_id": event.job_id,
            "object_id": event.object_id,
            "handler": event.handler,
            "attempt": event.attempt,
        }
    if event.progress is not None:
        document |= {"status": str(event.status), "progress": event.progress._asdict()}
    if event.error is not None:
        document["error"] = to_text(event.error)
    return document


def _event_of(found: Document) -> Event:
    kind = EventType(found["type"])
    if kind is EventType.GAP:
        return Event(found["_id"], kind, found["at"])
    progress = found.get("progress")
    return Event(
        found["_id"],
        kind,
        found["at"],
        found["job_id"],
        found["object_id"],
        found["handler"],
        Status(found.get("status") or kind.removeprefix("job.")),
        found["attempt"],
        Progress(**progress) if progress is not None else None,
        from_text(found.get("error")),
    )
