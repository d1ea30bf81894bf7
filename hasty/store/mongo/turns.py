"""Jobs that are scheduled since they were accepted, in MongoDB.

waiting   by index `turns`: due, and live
begin     majority, if live and without its turn   `turns` gives way to `queues`
put_off   majority, if live and without its turn
hasten    by index `followed`
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from pymongo import ASCENDING, IndexModel
from pymongo.asynchronous.collection import AsyncCollection

from hasty.job import Job, Work
from hasty.store.base import Off
from hasty.store.mongo.connection import Document, clear_answers
from hasty.store.mongo.documents import NEVER_RAN, QUEUED, beginning, job_of, putting_off, work_of

TURN_INDEXES = [
    # With `live`, so that they are counted without reading them.
    IndexModel(
        [("turn_due", ASCENDING), ("live", ASCENDING)], name="turns", partialFilterExpression=NEVER_RAN
    ),
    IndexModel([("follows", ASCENDING)], name="followed", partialFilterExpression=NEVER_RAN),
]


class MongoTurns:
    """That part of `hasty.store.base.JobStore`."""

    _jobs: AsyncCollection[Document]

    async def waiting(self, now: datetime, limit: int) -> tuple[Job, ...]:
        """See `JobStore`."""
        due = {"turn_due": {"$lte": now}, "live": True}
        with clear_answers():
            cursor = self._jobs.find(due, sort={"turn_due": 1}, limit=limit, hint="turns")
            return tuple([job_of(found) async for found in cursor])

    async def begin(self, jobs: Sequence[Job]) -> tuple[Work, ...]:
        """See `JobStore`."""
        chosen = {"_id": {"$in": [job.job_id for job in jobs]}, "queue": QUEUED}
        with clear_answers():
            await self._jobs.bulk_write([beginning(job) for job in jobs], ordered=False)
            return tuple([work_of(found) async for found in self._jobs.find(chosen)])

    async def put_off(self, offs: Sequence[Off]) -> None:
        """See `JobStore`."""
        with clear_answers():
            await self._jobs.bulk_write([putting_off(off) for off in offs], ordered=False)

    async def hasten(self, followed: Collection[str], now: datetime) -> None:
        """See `JobStore`."""
        later = {"follows": {"$in": list(followed)}, "turn_due": {"$gt": now}, "live": True}
        with clear_answers():
            await self._jobs.update_many(later, {"$set": {"turn_due": now}}, hint="followed")
