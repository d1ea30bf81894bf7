"""The API keys: what a store of them promises."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from hasty.keys import ApiKey

#: So many are listed at most.
MOST_LISTED = 1_000


class KeyStore(Protocol):
    """The API keys: their records, never their secrets. A record stays when its key has ended."""

    async def prepare(self) -> None:
        """Create what the store needs (indexes). Idempotent; to be called before anything is added."""
        ...

    async def add(self, key: ApiKey, now: datetime) -> bool:
        """Keep a new key, unless a live one has its name; say whether it is kept. Durable then.

        Of two that add the same name, one wins. Adding the same key again changes nothing.
        """
        ...

    async def find(self, key_ids: Collection[str]) -> dict[str, ApiKey]:
        """Return those of these keys that there are, live or not; durable, never rolled back."""
        ...

    async def named(self, name: str, now: datetime) -> ApiKey | None:
        """Return the live key of this name."""
        ...

    async def listed(self) -> tuple[ApiKey, ...]:
        """Return the keys, live or not, the newest first: the first `MOST_LISTED`."""
        ...

    async def any_live(self, now: datetime) -> bool:
        """Tell whether there is a live key."""
        ...

    async def revoke(self, name: str, now: datetime) -> ApiKey | None:
        """End the live key of this name for good, and free the name; return it as it is then. Durable."""
        ...

    async def rotate(self, before: ApiKey, after: ApiKey, now: datetime) -> bool:
        """Give a live key the secrets of `after`, if its newest one is still that of `before`.

        Says whether it has them. Durable then; of two that rotate the same key, one wins. Asking
        again changes nothing.
        """
        ...
