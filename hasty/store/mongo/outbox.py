"""The outbox in MongoDB: database hasty_api, in the documents of the jobs themselves.

A job with a webhook is inserted with `hook_at`, when it is due, and `hook_host`. In the indexes are
those that have both `hook_at` and `ended_at`: the write that ends a job puts it there.

due       from index `outbox` alone, up to now; where hosts are left out, from index `outbox_hosts`
claim     majority, if still due: moves `hook_at` on, notes `hook_claim`; then read by that
record    majority, if `hook_claim` is mine, or if it was delivered and that is not known yet
log       by id
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from pymongo import ASCENDING, AsyncMongoClient, IndexModel, UpdateOne

from hasty.store.base import (
    DELIVERIES_KEPT,
    KEPT_AFTER_TRY,
    Delivery,
    DeliveryLog,
    DeliveryState,
    Due,
    Parcel,
    Told,
)
from hasty.store.mongo.connection import Document, clear_answers
from hasty.store.mongo.documents import job_of

#: Said so that an index can tell it: no job ended before.
_ENDED: Document = {"ended_at": {"$gt": datetime(1970, 1, 1, tzinfo=UTC)}}

_PARTIAL: Document = {"hook_at": {"$exists": True}, "ended_at": {"$exists": True}}

# All that is asked for is in the keys: a payload or a result is not read in passing.
_INDEXES = [
    IndexModel(
        [("hook_at", ASCENDING), ("hook_host", ASCENDING), ("ended_at", ASCENDING), ("_id", ASCENDING)],
        name="outbox",
        partialFilterExpression=_PARTIAL,
    ),
    # However much there is for a host that is left out, it is passed over in one step.
    IndexModel(
        [("hook_host", ASCENDING), ("hook_at", ASCENDING), ("ended_at", ASCENDING), ("_id", ASCENDING)],
        name="outbox_hosts",
        partialFilterExpression=_PARTIAL,
    ),
]

_KEYS = {"hook_host": 1}

_OF_LOG = dict.fromkeys(("webhook", "ended_at", "hook_at", "hook_claim", "deliveries"), 1)


class MongoOutbox:
    """See `hasty.store.base.Outbox`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_api") -> None:
        """Use `client`; nothing is sent yet."""
        self._jobs = client[database]["jobs"]

    async def prepare(self) -> None:
        """See `Outbox`."""
        with clear_answers():
            await self._jobs.create_indexes(_INDEXES)

    async def due(self, now: datetime, limit: int, but_hosts: Collection[str] = ()) -> tuple[Due, ...]:
        """See `Outbox`."""
        chosen = {"hook_at": {"$lte": now}, **_ENDED}
        with clear_answers():
            if but_hosts:
                chosen["hook_host"] = {"$nin": list(but_hosts)}
                cursor = self._jobs.find(chosen, _KEYS, limit=limit, hint="outbox_hosts")
            else:
                cursor = self._jobs.find(chosen, _KEYS, sort={"hook_at": 1}, limit=limit, hint="outbox")
            return tuple([Due(found["_id"], found["hook_host"]) async for found in cursor])

    async def claim(
        self, job_ids: Collection[str], claim: str, now: datetime, until: datetime
    ) -> tuple[Parcel, ...]:
        """See `Outbox`."""
        among = {"_id": {"$in": list(job_ids)}}
        taken = {"$set": {"hook_at": until, "hook_claim": claim}}
        with clear_answers():
            await self._jobs.update_many({**among, "hook_at": {"$lte": now}, **_ENDED}, taken, hint="_id_")
            mine = self._jobs.find({**among, "hook_claim": claim}, {"payload": 0}, hint="_id_")
            return tuple([_parcel(found) async for found in mine])

    async def record(self, told: Sequence[Told]) -> None:
        """See `Outbox`."""
        with clear_answers():
            await self._jobs.bulk_write([_recording(each) for each in told], ordered=False)

    async def log(self, job_id: str) -> DeliveryLog | None:
        """See `Outbox`."""
        with clear_answers():
            found = await self._jobs.find_one({"_id": job_id}, _OF_LOG)
        if found is None or "webhook" not in found:
            return None if found is None else DeliveryLog()
        deliveries = tuple(Delivery(**each) for each in found.get("deliveries", ()))
        waits = "ended_at" in found and "hook_claim" not in found
        return DeliveryLog(_state_of(found, deliveries), deliveries, found.get("hook_at") if waits else None)


def _parcel(found: Document) -> Parcel:
    return Parcel(job_of(found | {"payload": None}), found["hook_host"], found.get("hook_tries", 0))


def _recording(told: Told) -> UpdateOne:
    """Write down what came of a parcel."""
    update: Document = {
        "$push": {"deliveries": {"$each": [told.delivery._asdict()], "$slice": -DELIVERIES_KEPT}},
        "$inc": {"hook_tries": 1},
    }
    if told.next_at is None:
        update["$unset"] = dict.fromkeys(("hook_at", "hook_host", "hook_claim"), "")
    else:
        update["$set"] = {"hook_at": told.next_at}
        update["$unset"] = {"hook_claim": ""}
        update["$max"] = {"expires_at": told.next_at + KEPT_AFTER_TRY}
    unknown = {"deliveries.delivered": {"$ne": True}}
    counts = unknown if told.delivery.delivered else {"hook_claim": told.claim}
    return UpdateOne({"_id": told.job_id, **counts}, update)


def _state_of(found: Document, deliveries: Sequence[Delivery]) -> DeliveryState:
    if "ended_at" not in found:
        return DeliveryState.WAITING
    if "hook_at" in found:
        return DeliveryState.PENDING
    delivered = any(delivery.delivered for delivery in deliveries)
    return DeliveryState.DELIVERED if delivered else DeliveryState.GIVEN_UP
