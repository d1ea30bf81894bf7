"""The jobs in MongoDB: database hasty_api, collections jobs and meta.

newest    highest run of each object             one seek each in index `run_of_object`
get       jobs by id; existing: their ids, from the index
insert    unordered, majority + journal          unique `run_of_object` lets one of two racers win
extend    raise expires_at where still there
sweep     keys from index `queue` alone, then the jobs that are not held yet
mark      w:1, if live and of no later epoch
settle    majority, if live                      unsets `live`: the job leaves index `queue`
*_epoch   one document, compared and set on the server's own clock
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import (
    ASCENDING,
    DESCENDING,
    AsyncMongoClient,
    IndexModel,
    ReturnDocument,
    UpdateOne,
    WriteConcern,
)
from pymongo.errors import BulkWriteError

from hasty.dispatch import Mark, Settle
from hasty.errors import CannotStart
from hasty.job import Job, Status, Work
from hasty.store.base import Found, settled_fields
from hasty.store.mongo.connection import (
    Document,
    clear_answers,
    duplicates,
    from_text,
    server_time,
    to_text,
)

#: Raised with every change of the indexes or of a document's shape.
SCHEMA = 1

_INDEXES = [
    IndexModel([("object_id", ASCENDING), ("run", DESCENDING)], name="run_of_object", unique=True),
    # `live` leads so that a sweep is answered from the index alone; it is constant, so that a job
    # moves no key until it ends.
    IndexModel(
        [("live", ASCENDING), ("priority", ASCENDING), ("accepted_at", ASCENDING), ("_id", ASCENDING)],
        name="queue",
        partialFilterExpression={"live": True},
    ),
    IndexModel(
        [("idempotency_key", ASCENDING)],
        name="idempotency_key",
        unique=True,
        partialFilterExpression={"idempotency_key": {"$type": "string"}},
    ),
    # Only what has ended is forgotten, however long it waited for its turn.
    IndexModel(
        [("expires_at", ASCENDING)],
        name="expiry",
        expireAfterSeconds=0,
        partialFilterExpression={"ended_at": {"$exists": True}},
    ),
]

#: A sweep reads so many jobs at once, and no more of them once it has so many bytes.
_READ_AT_ONCE = 500
_SWEPT_BYTES = 64 * 1024 * 1024

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_ORDER = {"live": 1, "priority": 1, "accepted_at": 1, "_id": 1}


class MongoJobStore:
    """See `hasty.store.base.JobStore`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_api") -> None:
        """Use `client`; nothing is sent yet."""
        self._client = client
        self._jobs = client[database]["jobs"]
        self._quick = self._jobs.with_options(write_concern=WriteConcern(w=1, j=False))
        self._meta = client[database]["meta"]

    async def prepare(self) -> None:
        """See `JobStore`. Raises CannotStart when a later release has been here."""
        with clear_answers():
            schema = await self._meta.find_one({"_id": "schema"})
            if schema is not None and schema["version"] > SCHEMA:
                found = schema["version"]
                msg = f"the database is of schema {found}, this hasty knows {SCHEMA}: use the newer release"
                raise CannotStart(msg)
            await self._jobs.create_indexes(_INDEXES)
            await self._meta.update_one(
                {"_id": "dispatcher"},
                {"$setOnInsert": {"epoch": 0, "holder": None, "lease_until": _LONG_AGO}},
                upsert=True,
            )
            await self._meta.update_one({"_id": "schema"}, {"$max": {"version": SCHEMA}}, upsert=True)

    async def server_time(self) -> datetime:
        """See `JobStore`."""
        return await server_time(self._client)

    async def newest(self, object_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        pipeline: list[Mapping[str, Any]] = [
            {"$match": {"object_id": {"$in": list(object_ids)}}},
            {"$sort": {"object_id": 1, "run": -1}},
            {"$group": {"_id": "$object_id", "job": {"$first": "$$ROOT"}}},
        ]
        with clear_answers():
            cursor = await self._jobs.aggregate(pipeline, hint="run_of_object")
            return {found["_id"]: _job(found["job"]) async for found in cursor}

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        with clear_answers():
            cursor = self._jobs.find({"_id": {"$in": list(job_ids)}})
            return {found["_id"]: _job(found) async for found in cursor}

    async def existing(self, job_ids: Collection[str]) -> set[str]:
        """See `JobStore`."""
        with clear_answers():
            cursor = self._jobs.find({"_id": {"$in": list(job_ids)}}, {"_id": 1}, hint="_id_")
            return {found["_id"] async for found in cursor}

    async def insert(self, jobs: Sequence[Job]) -> set[str]:
        """See `JobStore`."""
        taken: set[int] = set()
        with clear_answers():
            try:
                await self._jobs.insert_many([_document(job) for job in jobs], ordered=False)
            except BulkWriteError as error:
                taken = duplicates(error)
        return {job.job_id for position, job in enumerate(jobs) if position not in taken}

    async def extend(self, job_ids: Collection[str], until: datetime) -> set[str]:
        """See `JobStore`."""
        chosen = {"_id": {"$in": list(job_ids)}}
        with clear_answers():
            await self._jobs.update_many(chosen, {"$max": {"expires_at": until}})
            return {found["_id"] async for found in self._jobs.find(chosen, {"_id": 1})}

    async def sweep(self, skip: Collection[str], limit: int) -> Found:
        """See `JobStore`."""
        with clear_answers():
            wanted: list[str] = []
            exhausted = True
            async for job_id in self._live_ids(len(skip) + limit + 1):
                if job_id in skip:
                    continue
                if len(wanted) == limit:
                    exhausted = False
                    break
                wanted.append(job_id)
            works, all_read = await self._works(wanted)
        return Found(works, exhausted and all_read)

    async def _works(self, job_ids: Sequence[str]) -> tuple[tuple[Work, ...], bool]:
        """Read those that are still live, in this order; the first ones only where they are heavy."""
        works: list[Work] = []
        weight = 0
        for start in range(0, len(job_ids), _READ_AT_ONCE):
            if weight > _SWEPT_BYTES:
                return tuple(works), False
            chosen = {"_id": {"$in": job_ids[start : start + _READ_AT_ONCE]}, "live": True}
            found = [_work(found) async for found in self._jobs.find(chosen, hint="_id_")]
            works += sorted(found, key=lambda work: work.order)
            weight += sum(work.weight for work in found)
        return tuple(works), True

    async def _live_ids(self, limit: int) -> AsyncIterator[str]:
        cursor = self._jobs.find({"live": True}, _ORDER, sort=_ORDER, limit=limit, hint="queue")
        async for found in cursor:
            yield found["_id"]

    async def mark(self, marks: Sequence[Mark], epoch: int) -> None:
        """See `JobStore`."""
        with clear_answers():
            await self._quick.bulk_write([_marking(mark, epoch) for mark in marks], ordered=False)

    async def settle(self, settlements: Sequence[Settle], epoch: int, until: datetime) -> None:
        """See `JobStore`."""
        with clear_answers():
            await self._jobs.bulk_write(
                [_settlement(settle, epoch, until) for settle in settlements], ordered=False
            )

    async def take_epoch(self, holder: str, lease_s: float) -> int | None:
        """See `JobStore`."""
        free = {"$or": [{"holder": holder}, {"$expr": {"$lt": ["$lease_until", "$$NOW"]}}]}
        taken = {
            "epoch": {"$add": ["$epoch", 1]},
            "holder": {"$literal": holder},
            "lease_until": _from_now(lease_s),
        }
        with clear_answers():
            found = await self._meta.find_one_and_update(
                {"_id": "dispatcher", **free},
                [{"$set": taken}],
                return_document=ReturnDocument.AFTER,
            )
        return int(found["epoch"]) if found is not None else None

    async def renew_epoch(self, epoch: int, lease_s: float) -> bool:
        """See `JobStore`."""
        with clear_answers():
            result = await self._meta.update_one(
                {"_id": "dispatcher", "epoch": epoch}, [{"$set": {"lease_until": _from_now(lease_s)}}]
            )
        return result.matched_count == 1


def _from_now(seconds: float) -> Document:
    """Compute on the server's clock: several machines need not agree on theirs."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def _document(job: Job) -> Document:
    document = {
        "_id": job.job_id,
        "object_id": job.object_id,
        "run": job.run,
        "handler": job.handler,
        "payload": to_text(job.payload),
        "status": str(job.status),
        "live": True,
        "priority": job.priority,
        "accepted_at": job.accepted_at,
        "opens_at": job.opens_at,
        "expires_at": job.expires_at,
        "timeout_s": job.timeout_s,
    }
    if job.idempotency_key is not None:
        document["idempotency_key"] = job.idempotency_key
    return document


def _job(found: Document) -> Job:
    return Job(
        job_id=found["_id"],
        object_id=found["object_id"],
        run=found["run"],
        handler=found["handler"],
        payload=from_text(found["payload"]),
        status=Status(found["status"]),
        priority=found["priority"],
        accepted_at=found["accepted_at"],
        opens_at=found["opens_at"],
        expires_at=found["expires_at"],
        timeout_s=found["timeout_s"],
        idempotency_key=found.get("idempotency_key"),
        started_at=found.get("started_at"),
        ended_at=found.get("ended_at"),
        attempt=found.get("attempt", 0),
        worker=found.get("worker"),
        result=from_text(found.get("result")),
        error=from_text(found.get("error")),
        epoch=found.get("epoch", 0),
    )


def _work(found: Document) -> Work:
    return Work(
        found["_id"],
        found["object_id"],
        found["run"],
        found["handler"],
        from_text(found["payload"]),
        found["priority"],
        found["accepted_at"],
        found["timeout_s"],
    )


def _marking(mark: Mark, epoch: int) -> UpdateOne:
    # {$not: {$gt}} also holds where no epoch was written yet.
    chosen = {"_id": mark.job_id, "live": True, "epoch": {"$not": {"$gt": epoch}}}
    shown = {
        "status": str(Status.RUNNING),
        "started_at": mark.at,
        "worker": mark.worker,
        "attempt": mark.attempt,
        "epoch": epoch,
    }
    return UpdateOne(chosen, {"$set": shown})


def _settlement(settle: Settle, epoch: int, until: datetime) -> UpdateOne:
    fields = settled_fields(settle.outcome)
    fields |= {
        "status": str(settle.outcome.status),
        "result": to_text(settle.outcome.result),
        "error": to_text(settle.outcome.error),
    }
    return UpdateOne(
        {"_id": settle.job_id, "live": True},
        {
            "$set": fields,
            "$max": {"epoch": epoch, "expires_at": until},
            "$unset": {"live": ""},
        },
    )
