"""The API keys in memory: what a store of them promises, in plain Python."""

import dataclasses
from collections.abc import Collection
from datetime import datetime

from hasty.keys import ApiKey
from hasty.store.base.keys import MOST_LISTED


class MemoryKeys:
    """See `hasty.store.base.KeyStore`."""

    def __init__(self) -> None:
        """Start empty."""
        self.keys: dict[str, ApiKey] = {}

    async def prepare(self) -> None:
        """See `KeyStore`."""

    async def add(self, key: ApiKey, now: datetime) -> bool:
        """See `KeyStore`."""
        if await self.named(key.name, now) not in (None, key):
            return False
        return self.keys.setdefault(key.id, key) == key

    async def find(self, key_ids: Collection[str]) -> dict[str, ApiKey]:
        """See `KeyStore`."""
        return {key_id: self.keys[key_id] for key_id in key_ids if key_id in self.keys}

    async def named(self, name: str, now: datetime) -> ApiKey | None:
        """See `KeyStore`."""
        return next((key for key in self.keys.values() if key.name == name and key.live(now)), None)

    async def listed(self) -> tuple[ApiKey, ...]:
        """See `KeyStore`."""
        newest = sorted(self.keys.values(), key=lambda key: (key.created_at, key.id), reverse=True)
        return tuple(newest[:MOST_LISTED])

    async def any_live(self, now: datetime) -> bool:
        """See `KeyStore`."""
        return any(key.live(now) for key in self.keys.values())

    async def revoke(self, name: str, now: datetime) -> ApiKey | None:
        """See `KeyStore`."""
        key = await self.named(name, now)
        if key is None:
            return None
        self.keys[key.id] = dataclasses.replace(key, revoked_at=now)
        return self.keys[key.id]

    async def rotate(self, before: ApiKey, after: ApiKey, now: datetime) -> bool:
        """See `KeyStore`."""
        kept = self.keys.get(before.id)
        if kept is None:
            return False
        if kept.live(now) and kept.credentials[0] == before.credentials[0]:
            kept = self.keys[kept.id] = dataclasses.replace(kept, credentials=after.credentials)
        return kept.credentials[0] == after.credentials[0]
