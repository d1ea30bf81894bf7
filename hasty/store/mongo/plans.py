"""What was deployed, and how many workers there are: two documents of collection meta.

deploy    one more generation
enroll    of no later epoch
"""

from collections.abc import Mapping

from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection

from hasty.pools import Plan, PoolPlan, Roster
from hasty.store.mongo.connection import Document, clear_answers
from hasty.store.mongo.documents import plan_of


class MongoPlans:
    """That half of `hasty.store.base.JobStore`."""

    _meta: AsyncCollection[Document]

    async def prepare_rosters(self) -> None:
        """Let there be a document, so that of two that enroll none has to insert it."""
        nobody = {"$setOnInsert": {"epoch": 0, "pools": {}}}
        await self._meta.update_one({"_id": "rosters"}, nobody, upsert=True)

    async def deploy(self, pools: Mapping[str, PoolPlan], settings: str) -> Plan:
        """See `JobStore`."""
        kept = {name: list(pool) for name, pool in pools.items()}
        with clear_answers():
            found = await self._meta.find_one_and_update(
                {"_id": "plan"},
                {"$inc": {"generation": 1}, "$set": {"pools": kept, "settings": settings}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        assert found is not None
        return plan_of(found)

    async def plan(self) -> Plan | None:
        """See `JobStore`."""
        with clear_answers():
            found = await self._meta.find_one({"_id": "plan"})
        return plan_of(found) if found is not None else None

    async def rosters(self) -> dict[str, Roster]:
        """See `JobStore`."""
        with clear_answers():
            found = await self._meta.find_one({"_id": "rosters"})
        return {name: Roster(*roster) for name, roster in found["pools"].items()} if found is not None else {}

    async def enroll(self, rosters: Mapping[str, Roster], epoch: int) -> bool:
        """See `JobStore`."""
        written = {"epoch": epoch, "pools": {name: list(roster) for name, roster in rosters.items()}}
        with clear_answers():
            result = await self._meta.update_one(
                {"_id": "rosters", "epoch": {"$lte": epoch}}, {"$set": written}
            )
        return result.matched_count == 1
