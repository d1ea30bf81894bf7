"""The API keys in MongoDB: database hasty_api, collection api_keys.

add      majority + journal            unique `live_name` lets one of two racers win
find     by id
named    by `live_name`
revoke   majority, if live             and `live_name` goes
rotate   majority, if live and its newest secret is still the known one

A key has its `live_name` until it is revoked. One that has expired keeps it until somebody wants it.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from hasty.keys import ApiKey, Credential, Scope
from hasty.store.base.keys import MOST_LISTED
from hasty.store.mongo.connection import Document, clear_answers

_INDEXES = [
    IndexModel(
        [("live_name", ASCENDING)],
        name="live_name",
        unique=True,
        partialFilterExpression={"live_name": {"$exists": True}},
    ),
    IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)], name="newest"),
]


class MongoKeys:
    """See `hasty.store.base.KeyStore`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_api") -> None:
        """Use `client`; nothing is sent yet."""
        self._keys = client[database]["api_keys"]

    async def prepare(self) -> None:
        """See `KeyStore`."""
        with clear_answers():
            await self._keys.create_indexes(_INDEXES)

    async def add(self, key: ApiKey, now: datetime) -> bool:
        """See `KeyStore`."""
        over = {"live_name": key.name, "expires_at": {"$lte": now}}
        with clear_answers():
            await self._keys.update_many(over, {"$unset": {"live_name": ""}})
            try:
                await self._keys.insert_one(_document_of(key))
            except DuplicateKeyError:
                found = await self._keys.find_one({"_id": key.id})
                return found is not None and _key_of(found) == key
        return True

    async def find(self, key_ids: Collection[str]) -> dict[str, ApiKey]:
        """See `KeyStore`."""
        with clear_answers():
            cursor = self._keys.find({"_id": {"$in": list(key_ids)}})
            return {found["_id"]: _key_of(found) async for found in cursor}

    async def named(self, name: str, now: datetime) -> ApiKey | None:
        """See `KeyStore`."""
        with clear_answers():
            found = await self._keys.find_one({"live_name": name, **_unexpired(now)})
        return _key_of(found) if found is not None else None

    async def listed(self) -> tuple[ApiKey, ...]:
        """See `KeyStore`."""
        with clear_answers():
            cursor = self._keys.find(sort={"created_at": -1, "_id": -1}, limit=MOST_LISTED)
            return tuple([_key_of(found) async for found in cursor])

    async def any_live(self, now: datetime) -> bool:
        """See `KeyStore`."""
        with clear_answers():
            found = await self._keys.find_one({"live_name": {"$exists": True}, **_unexpired(now)})
        return found is not None

    async def revoke(self, name: str, now: datetime) -> ApiKey | None:
        """See `KeyStore`."""
        with clear_answers():
            found = await self._keys.find_one_and_update(
                {"live_name": name, **_unexpired(now)},
                {"$set": {"revoked_at": now}, "$unset": {"live_name": ""}},
                return_document=ReturnDocument.AFTER,
            )
        return _key_of(found) if found is not None else None

    async def rotate(self, before: ApiKey, after: ApiKey, now: datetime) -> bool:
        """See `KeyStore`."""
        known = {
            "_id": before.id,
            "live_name": before.name,
            "credentials.0.digest": before.credentials[0].digest,
            **_unexpired(now),
        }
        with clear_answers():
            if (await self._keys.update_one(known, {"$set": _secrets_of(after)})).matched_count:
                return True
            # It may have been done when this was asked before.
            found = await self._keys.find_one({"_id": before.id})
        return found is not None and _key_of(found).credentials[0] == after.credentials[0]


def _unexpired(now: datetime) -> Document:
    return {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]}


def _secrets_of(key: ApiKey) -> Document:
    kept = [
        {"digest": credential.digest, "made_at": credential.made_at, "until": credential.until}
        for credential in key.credentials
    ]
    return {"credentials": kept, "expires_at": key.expires_at}


def _document_of(key: ApiKey) -> Document:
    return {
        "_id": key.id,
        "name": key.name,
        "live_name": key.name,
        "scopes": sorted(key.scopes),
        **_secrets_of(key),
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "rate": key.rate,
    }


def _key_of(document: Document) -> ApiKey:
    credentials: list[dict[str, Any]] = document["credentials"]
    return ApiKey(
        id=document["_id"],
        name=document["name"],
        scopes=frozenset(map(Scope, document["scopes"])),
        credentials=tuple(Credential(**credential) for credential in credentials),
        created_at=document["created_at"],
        revoked_at=document["revoked_at"],
        rate=document["rate"],
    )
