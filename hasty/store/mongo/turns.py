"""Jobs that are scheduled since they were accepted, in MongoDB.

standing  highest run that waits, or had its turn   two seeks in the indexes of `STANDING`
waiting   by index `turns`: due, and live
begin     majority, if live and without its turn   `turns` gives way to `queues`
put_off   majority, if live and without its turn
hasten    by index `followed`
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.collection import AsyncCollection

from hasty.job import Job, Work
from hasty.store.base import Off
from hasty.store.mongo.connection import Document, clear_answers
from hasty.store.mongo.documents import (
    HAD_TURN,
    LIGHT,
    NEVER_RAN,
    QUEUED,
    beginning,
    job_of,
    light_of,
    putting_off,
    work_of,
)

#: In these an object's jobs are in the order of their runs, but for those that were passed over: of them
#: there may be very many. Where both are read, in this order: a job goes from the first to the second,
#: and whoever looks into the second last does not miss it.
STANDING = ((NEVER_RAN, "waiting_of_object"), (HAD_TURN, "turned_of_object"))

TURN_INDEXES = [
    # With `live`, so that they are counted without reading them.
    IndexModel(
        [("turn_due", ASCENDING), ("live", ASCENDING)], name="turns", partialFilterExpression=NEVER_RAN
    ),
    IndexModel([("follows", ASCENDING)], name="followed", partialFilterExpression=NEVER_RAN),
    *(
        IndexModel([("object_id", ASCENDING), ("run", DESCENDING)], name=name, partialFilterExpression=jobs)
        for jobs, name in STANDING
    ),
]

#: More at once would only open connections.
_SEEKS_AT_ONCE = 16


class MongoTurns:
    """That part of `hasty.store.base.JobStore`."""

    _jobs: AsyncCollection[Document]

    async def standing(self, below: Mapping[str, int]) -> dict[str, Job]:
        """See `JobStore`."""
        objects = list(below.items())
        found: list[Job | None] = []
        with clear_answers():
            for first in range(0, len(objects), _SEEKS_AT_ONCE):
                some = objects[first : first + _SEEKS_AT_ONCE]
                found += await asyncio.gather(*(self._standing(*each) for each in some))
        return {job.object_id: job for job in found if job is not None}

    async def _standing(self, object_id: str, run: int) -> Job | None:
        chosen, highest = {"object_id": object_id, "run": {"$lt": run}}, {"run": DESCENDING}
        seeks = [
            await self._jobs.find_one(chosen | jobs, LIGHT, sort=highest, hint=index)
            for jobs, index in STANDING
        ]
        # Of one that is met in both, as it was found last.
        found = [light_of(each) for each in reversed(seeks) if each is not None]
        return max(found, key=lambda job: job.run, default=None)

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
