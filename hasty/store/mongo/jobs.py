"""The jobs in MongoDB: database hasty_api, collections jobs and meta.

newest    highest run of each object, in brief   one seek each in index `run_of_object`
get       jobs by id; brief: without their weight; existing: their ids, from the index
insert    unordered, majority + journal          unique `run_of_object` lets one of two racers win
extend    raise expires_at where still there
backlog   keys of `queues` and `turns` alone, no further than asked
sweep     keys from index `queue` alone, then the jobs that are not held yet
mark      w:1, if queued and of no later epoch; note: w:1, if queued
postpone  majority, if live                      `queue` gives way to `run_at`: from index to index
wake      majority, if due                       and back
overdue   by index `patience`; excuse takes a job out of it
settle    majority, if live                      the job leaves all three

A job is `live` until it ends. While it may be given to a worker, `queue` names its pool.
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
    WriteConcern,
)
from pymongo.errors import BulkWriteError, OperationFailure

from hasty.dispatch import Mark, Postpone, Settle
from hasty.errors import CannotStart
from hasty.job import Job, Status, Work
from hasty.messages import Progressed
from hasty.pools import DEFAULT_POOL
from hasty.store.base import Found
from hasty.store.mongo.connection import Document, clear_answers, duplicates, server_time
from hasty.store.mongo.documents import (
    LIGHT,
    QUEUED,
    document_of,
    job_of,
    light_of,
    marking,
    noting,
    postponement,
    settlement,
    work_of,
)
from hasty.store.mongo.keyed import KEY_INDEX, MongoKeyed
from hasty.store.mongo.plans import MongoPlans
from hasty.store.mongo.routes import LIST_INDEXES
from hasty.store.mongo.turns import TURN_INDEXES, MongoTurns

#: Raised with every change of the indexes or of a document's shape.
SCHEMA = 4

_INDEXES = [
    IndexModel([("object_id", ASCENDING), ("run", DESCENDING)], name="run_of_object", unique=True),
    # A sweep is answered from the index alone, and a job moves no key while it is in the queue.
    IndexModel(
        [("queue", ASCENDING), ("priority", ASCENDING), ("accepted_at", ASCENDING), ("_id", ASCENDING)],
        name="queues",
        # Not by type: a query by value would not be taken for a part of that.
        partialFilterExpression={"queue": {"$exists": True}},
    ),
    IndexModel(
        [("run_at", ASCENDING)], name="scheduled", partialFilterExpression={"run_at": {"$exists": True}}
    ),
    IndexModel(
        [("give_up_at", ASCENDING)],
        name="patience",
        partialFilterExpression={"give_up_at": {"$exists": True}},
    ),
    KEY_INDEX,
    *TURN_INDEXES,
    *LIST_INDEXES,
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

_INDEX_NOT_FOUND = 27

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_ORDER = {"queue": 1, "priority": 1, "accepted_at": 1, "_id": 1}


class MongoJobStore(MongoPlans, MongoTurns, MongoKeyed):
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
            if schema is not None and schema["version"] < SCHEMA:
                await self._migrate()
            await self._jobs.create_indexes(_INDEXES)
            await self._meta.update_one(
                {"_id": "dispatcher"},
                {"$setOnInsert": {"epoch": 0, "holder": None, "lease_until": _LONG_AGO}},
                upsert=True,
            )
            await self.prepare_rosters()
            await self._meta.update_one({"_id": "schema"}, {"$max": {"version": SCHEMA}}, upsert=True)

    async def _migrate(self) -> None:
        """Bring what an earlier release wrote up to this schema. Idempotent, like what it belongs to."""
        # Schema 1: one queue, which every live job was in.
        before_pools = {
            "live": True,
            **{name: {"$exists": False} for name in ("queue", "run_at", "turn_due")},
        }
        await self._jobs.update_many(before_pools, {"$set": {"queue": DEFAULT_POOL, "pool": DEFAULT_POOL}})
        await self._drop("queue")
        # Schema 2: a key for which no way in was built.
        await self._drop("idempotency_key")

    async def _drop(self, index: str) -> None:
        try:
            await self._jobs.drop_index(index)
        except OperationFailure as error:
            # Or another, who does the same, was first.
            if error.code != _INDEX_NOT_FOUND:
                raise

    async def server_time(self) -> datetime:
        """See `JobStore`."""
        return await server_time(self._client)

    async def newest(self, object_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        pipeline: list[Mapping[str, Any]] = [
            {"$match": {"object_id": {"$in": list(object_ids)}}},
            {"$sort": {"object_id": 1, "run": -1}},
            {"$group": {"_id": "$object_id", "job": {"$first": "$$ROOT"}}},
            # Not before: it would read every run.
            {"$project": {f"job.{name}": 0 for name in LIGHT}},
        ]
        with clear_answers():
            cursor = await self._jobs.aggregate(pipeline, hint="run_of_object")
            return {found["_id"]: light_of(found["job"]) async for found in cursor}

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        with clear_answers():
            cursor = self._jobs.find({"_id": {"$in": list(job_ids)}})
            return {found["_id"]: job_of(found) async for found in cursor}

    async def brief(self, job_ids: Collection[str]) -> dict[str, Job]:
        """See `JobStore`."""
        with clear_answers():
            cursor = self._jobs.find({"_id": {"$in": list(job_ids)}}, LIGHT, hint="_id_")
            return {found["_id"]: light_of(found) async for found in cursor}

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
                await self._jobs.insert_many([document_of(job) for job in jobs], ordered=False)
            except BulkWriteError as error:
                taken = duplicates(error)
        return {job.job_id for position, job in enumerate(jobs) if position not in taken}

    async def extend(self, job_ids: Collection[str], until: datetime) -> set[str]:
        """See `JobStore`."""
        chosen = {"_id": {"$in": list(job_ids)}}
        with clear_answers():
            await self._jobs.update_many(chosen, {"$max": {"expires_at": until}})
            # One that was deleted a moment ago may be shown still, but not as extended.
            kept = self._jobs.find(chosen | {"expires_at": {"$gte": until}}, {"_id": 1})
            return {found["_id"] async for found in kept}

    async def sweep(self, pool: str, skip: Collection[str], limit: int) -> Found:
        """See `JobStore`."""
        with clear_answers():
            wanted: list[str] = []
            exhausted = True
            async for job_id in self._queued_ids(pool, len(skip) + limit + 1):
                if job_id in skip:
                    continue
                if len(wanted) == limit:
                    exhausted = False
                    break
                wanted.append(job_id)
            works, all_read = await self._works(wanted)
        return Found(works, exhausted and all_read)

    async def _works(self, job_ids: Sequence[str]) -> tuple[tuple[Work, ...], bool]:
        """Read those that are still in the queue, in this order; the first ones only where they are heavy."""
        works: list[Work] = []
        weight = 0
        for start in range(0, len(job_ids), _READ_AT_ONCE):
            if weight > _SWEPT_BYTES:
                return tuple(works), False
            chosen = {"_id": {"$in": job_ids[start : start + _READ_AT_ONCE]}, "queue": QUEUED}
            found = [work_of(found) async for found in self._jobs.find(chosen, hint="_id_")]
            works += sorted(found, key=lambda work: work.order)
            weight += sum(work.weight for work in found)
        return tuple(works), True

    async def _queued_ids(self, pool: str, limit: int) -> AsyncIterator[str]:
        cursor = self._jobs.find({"queue": pool}, _ORDER, sort=_ORDER, limit=limit, hint="queues")
        async for found in cursor:
            yield found["_id"]

    async def backlog(self, limit: int) -> int:
        """See `JobStore`."""
        # By value, not by `$exists`: that would read every job to see that it is not null.
        queued, waiting = {"queue": {"$gte": ""}}, {"turn_due": {"$gte": _LONG_AGO}, "live": True}
        with clear_answers():
            count = await self._jobs.count_documents(queued, limit=limit, hint="queues")
            if count >= limit:
                return count
            return count + await self._jobs.count_documents(waiting, limit=limit - count, hint="turns")

    async def mark(self, marks: Sequence[Mark], epoch: int) -> None:
        """See `JobStore`."""
        with clear_answers():
            await self._quick.bulk_write([marking(mark, epoch) for mark in marks], ordered=False)

    async def note(self, notes: Sequence[Progressed]) -> None:
        """See `JobStore`."""
        with clear_answers():
            await self._quick.bulk_write([noting(note) for note in notes], ordered=False)

    async def postpone(self, postpones: Sequence[Postpone], epoch: int) -> None:
        """See `JobStore`."""
        with clear_answers():
            await self._jobs.bulk_write([postponement(each, epoch) for each in postpones], ordered=False)

    async def wake(self, now: datetime, limit: int) -> tuple[Work, ...]:
        """See `JobStore`."""
        due = {"run_at": {"$lte": now}}
        queued = {"queue": {"$ifNull": ["$pool", DEFAULT_POOL]}, "status": str(Status.QUEUED)}
        with clear_answers():
            cursor = self._jobs.find(due, {"_id": 1}, sort={"run_at": 1}, limit=limit, hint="scheduled")
            ids = [found["_id"] async for found in cursor]
            if not ids:
                return ()
            chosen = {"_id": {"$in": ids}}
            await self._jobs.update_many(chosen | due, [{"$set": queued}, {"$unset": ["run_at"]}])
            return tuple([work_of(found) async for found in self._jobs.find(chosen | {"queue": QUEUED})])

    async def overdue(self, now: datetime, limit: int) -> tuple[Work, ...]:
        """See `JobStore`."""
        with clear_answers():
            cursor = self._jobs.find({"give_up_at": {"$lte": now}}, limit=limit, hint="patience")
            return tuple([work_of(found) async for found in cursor])

    async def excuse(self, job_ids: Collection[str]) -> None:
        """See `JobStore`."""
        with clear_answers():
            await self._jobs.update_many({"_id": {"$in": list(job_ids)}}, {"$unset": {"give_up_at": ""}})

    async def settle(self, settlements: Sequence[Settle], epoch: int, until: datetime) -> None:
        """See `JobStore`."""
        with clear_answers():
            updates = [update for settle in settlements for update in settlement(settle, epoch, until)]
            await self._jobs.bulk_write(updates, ordered=False)

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

    async def adopt(self, pools: Collection[str], skip: Collection[str] = ()) -> int:
        """See `JobStore`."""
        but = {"_id": {"$nin": list(skip)}} if skip else {}
        others = {"$exists": True, "$nin": list(pools)}
        with clear_answers():
            moved = await self._jobs.update_many(
                {"queue": others, **but}, {"$set": {"queue": DEFAULT_POOL, "pool": DEFAULT_POOL}}
            )
        return moved.modified_count


def _from_now(seconds: float) -> Document:
    """Compute on the server's clock: several machines need not agree on theirs."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}
