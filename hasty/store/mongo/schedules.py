"""The schedules in MongoDB: database hasty_api, collection schedules.

create    majority + journal       unique `_id`, the name, and unique `key`
known     by `key` or `_id`; find, page: by `_id`
due       by index `due`, in which only those are that have something ahead of them
advance   majority, if of the version before
delete    majority
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from pymongo import ASCENDING, AsyncMongoClient, IndexModel, UpdateOne
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import DuplicateKeyError

from hasty.errors import StoreUnavailable
from hasty.schedule import Cron, Fired, Firing, FiringOutcome, Interval, Missed, Schedule
from hasty.store.base import Listed
from hasty.store.mongo.connection import Document, clear_answers, from_text, to_text

_INDEXES = [
    IndexModel([("due_at", ASCENDING)], name="due", partialFilterExpression={"due_at": {"$exists": True}}),
    IndexModel(
        [("key", ASCENDING)], name="key", unique=True, partialFilterExpression={"key": {"$exists": True}}
    ),
]

#: No more are read at once when they have so many bytes.
_READ_BYTES = 16 * 1024 * 1024

#: Who is in the way of a new schedule may be gone when it is looked for.
_INSERTS = 5


class MongoScheduleStore:
    """See `hasty.store.base.ScheduleStore`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_api") -> None:
        """Use `client`; nothing is sent yet."""
        self._schedules = client[database]["schedules"]

    async def prepare(self) -> None:
        """See `ScheduleStore`."""
        with clear_answers():
            await self._schedules.create_indexes(_INDEXES)

    async def create(self, schedule: Schedule) -> Schedule:
        """See `ScheduleStore`."""
        with clear_answers():
            for _ in range(_INSERTS):
                try:
                    await self._schedules.insert_one(_document_of(schedule))
                except DuplicateKeyError:
                    if (known := await self._known(schedule)) is not None:
                        return known
                else:
                    return schedule
        raise StoreUnavailable("others who create and delete this schedule kept winning")

    async def known(self, schedule: Schedule) -> Schedule | None:
        """See `ScheduleStore`."""
        with clear_answers():
            return await self._known(schedule)

    async def _known(self, schedule: Schedule) -> Schedule | None:
        found = None
        if schedule.idempotency_key is not None:
            found = await self._schedules.find_one({"key": schedule.idempotency_key}, hint="key")
        found = found or await self._schedules.find_one({"_id": schedule.name})
        return _schedule_of(found) if found is not None else None

    async def count(self) -> int:
        """See `ScheduleStore`."""
        with clear_answers():
            return await self._schedules.count_documents({}, hint="_id_")

    async def find(self, name: str) -> Schedule | None:
        """See `ScheduleStore`."""
        with clear_answers():
            found = await self._schedules.find_one({"_id": name})
        return _schedule_of(found) if found is not None else None

    async def page(self, after: str, limit: int) -> Listed:
        """See `ScheduleStore`."""
        with clear_answers():
            return await _read(self._schedules.find({"_id": {"$gt": after}}, sort={"_id": 1}), limit)

    async def due(self, now: datetime, limit: int, skip: Collection[str]) -> tuple[Schedule, ...]:
        """See `ScheduleStore`."""
        chosen: Document = {"due_at": {"$lte": now}}
        if skip:
            chosen["_id"] = {"$nin": list(skip)}
        with clear_answers():
            found = await _read(self._schedules.find(chosen, sort={"due_at": 1}, hint="due"), limit)
        return found.schedules

    async def advance(self, changed: Sequence[Schedule]) -> int:
        """See `ScheduleStore`."""
        if not changed:
            return 0
        with clear_answers():
            result = await self._schedules.bulk_write([_change(each) for each in changed], ordered=False)
        return result.matched_count

    async def delete(self, name: str) -> bool:
        """See `ScheduleStore`."""
        with clear_answers():
            return (await self._schedules.delete_one({"_id": name})).deleted_count == 1


async def _read(cursor: AsyncCursor[Document], limit: int) -> Listed:
    """Read the first of what a query finds, and see whether there is more."""
    schedules: list[Schedule] = []
    size = 0
    async with cursor.limit(limit + 1):
        async for found in cursor:
            if len(schedules) == limit or size > _READ_BYTES:
                return Listed(tuple(schedules), more=True)
            schedules.append(_schedule_of(found))
            size += len(found["job"])
    return Listed(tuple(schedules), more=False)


def _document_of(schedule: Schedule) -> Document:
    """Return a new schedule as it is inserted."""
    document: Document = {
        "_id": schedule.name,
        "uid": schedule.uid,
        "missed": str(schedule.missed),
        "job": to_text(schedule.job),
        "created_at": schedule.created_at,
        "fingerprint": schedule.fingerprint,
        "version": schedule.version,
        "paused": schedule.paused,
    }
    if isinstance(schedule.timing, Cron):
        document |= schedule.timing._asdict()
    else:
        document["every_ms"] = schedule.timing.every_ms
    if schedule.idempotency_key is not None:
        document["key"] = schedule.idempotency_key
    return document | {name: value for name, value in _ahead(schedule).items() if value is not None}


def _ahead(schedule: Schedule) -> Document:
    """Return what changes with a schedule's firings; None for what is not there."""
    last = schedule.last
    return {
        "due_at": schedule.due_at,
        "next_at": schedule.next_at,
        "pending": schedule.pending._asdict() if schedule.pending is not None else None,
        "last": last._asdict() | {"outcome": str(last.outcome)} if last is not None else None,
    }


def _change(schedule: Schedule) -> UpdateOne:
    """Put a schedule in the place of the version before it."""
    ahead = _ahead(schedule)
    there = {name: value for name, value in ahead.items() if value is not None}
    gone = dict.fromkeys(ahead.keys() - there.keys(), "")
    changes: Document = {"$set": {"version": schedule.version, "paused": schedule.paused, **there}}
    if gone:
        changes["$unset"] = gone
    return UpdateOne({"_id": schedule.name, "uid": schedule.uid, "version": schedule.version - 1}, changes)


def _schedule_of(found: Document) -> Schedule:
    """Return the schedule that a document tells of."""
    timing: Cron | Interval = (
        Cron(found["expression"], found["timezone"])
        if "expression" in found
        else Interval(found["every_ms"], found["created_at"])
    )
    pending, last = found.get("pending"), found.get("last")
    return Schedule(
        name=found["_id"],
        uid=found["uid"],
        timing=timing,
        missed=Missed(found["missed"]),
        job=from_text(found["job"]),
        created_at=found["created_at"],
        fingerprint=found["fingerprint"],
        idempotency_key=found.get("key"),
        version=found["version"],
        paused=found["paused"],
        next_at=found.get("next_at"),
        pending=Firing(**pending) if pending is not None else None,
        last=Fired(**last | {"outcome": FiringOutcome(last["outcome"])}) if last is not None else None,
    )
