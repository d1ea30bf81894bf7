"""Answers that were given under a client's key, in MongoDB: each stands on the job that it names.

by_key    by index `keys`, unique over all jobs
attach    majority, unless the key is taken, or the job has enough of them
"""

from collections.abc import Collection, Sequence

from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from hasty.store.base import KEYS_KEPT, Attachment, Keyed
from hasty.store.mongo.connection import Document, clear_answers, duplicates
from hasty.store.mongo.documents import entry_of, job_of

KEY_INDEX = IndexModel(
    [("keys.key", ASCENDING)],
    name="keys",
    unique=True,
    partialFilterExpression={"keys.key": {"$exists": True}},
)


class MongoKeyed:
    """That part of `hasty.store.base.JobStore`."""

    _jobs: AsyncCollection[Document]

    async def by_key(self, keys: Collection[str]) -> dict[str, Keyed]:
        """See `JobStore`."""
        wanted = set(keys)
        answers: dict[str, Keyed] = {}
        with clear_answers():
            async for found in self._jobs.find({"keys.key": {"$in": list(wanted)}}, hint="keys"):
                job = job_of(found)
                for entry in found["keys"]:
                    if entry["key"] in wanted:
                        answers[entry["key"]] = Keyed(job, entry["fingerprint"], entry["made"])
        return answers

    async def attach(self, attachments: Sequence[Attachment]) -> None:
        """See `JobStore`."""
        with clear_answers():
            try:
                await self._jobs.bulk_write([_noting(each) for each in attachments], ordered=False)
            except BulkWriteError as error:
                duplicates(error)


def _noting(attachment: Attachment) -> UpdateOne:
    key, fingerprint, job_id = attachment
    free = {"_id": job_id, "keys.key": {"$ne": key}, f"keys.{KEYS_KEPT - 1}": {"$exists": False}}
    return UpdateOne(free, {"$push": {"keys": entry_of(key, fingerprint, made=False)}})
