"""Records of API keys, remembered for a moment: not every request asks MongoDB for its key."""

import asyncio
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.errors import StoreUnavailable, TryAgainLater
from hasty.keys import ApiKey
from hasty.store.base import KeyStore

#: A record is believed for so long: what is revoked or rotated is so everywhere after this.
FRESH_S = 5.0

#: And for so long while MongoDB gives no clear answer.
GRACE_S = 300.0

#: Who has a record waits no longer than this for MongoDB to say that it still holds.
_PATIENCE_S = 0.5

#: Who has none waits as for any other read.
_ANSWER_S = 5.0

#: Records that are remembered, at most; and, apart from them, ids that do not exist.
_MOST_KNOWN = 10_000
_MOST_UNKNOWN = 10_000

#: Ids that wait to be looked up for the first time, at most.
_MOST_STRANGERS = 1_000


Kept = TypeVar("Kept")


class _Known(NamedTuple):
    key: ApiKey
    at: float


class _Answer(NamedTuple):
    """What MongoDB says of an id."""

    clear: bool
    key: ApiKey | None = None


class Keyring:
    """Finds keys by their ids. See the constants for how long and how many.

    Ids that do not exist are kept apart from keys, and wait apart from them: however many are
    tried, they push out no key, and no key that is known waits behind them.
    """

    def __init__(self, keys: KeyStore, clock: Clock) -> None:
        """Know nothing yet."""
        self._keys = keys
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._unknown: dict[str, float] = {}
        #: Whether the last question had no clear answer.
        self._away = False
        self._renewing: set[str] = set()
        self._familiar: Batcher[str, _Answer] = Batcher(self._look_up)
        self._strangers: Batcher[str, _Answer] = Batcher(self._look_up, capacity=_MOST_STRANGERS)

    async def find(self, key_id: str) -> ApiKey | None:
        """Return the record with this id, live or not; None if there is none.

        Raises TryAgainLater when neither memory nor MongoDB can tell.
        """
        now = self._clock.monotonic()
        known = self._known.get(key_id)
        if known is not None:
            return known.key if now - known.at < FRESH_S else await self._renewed(key_id, known, now)
        if now - self._unknown.get(key_id, -math.inf) < FRESH_S:
            return None
        return await self._ask(self._strangers, key_id, _ANSWER_S)

    async def _renewed(self, key_id: str, known: _Known, now: float) -> ApiKey | None:
        """Ask again for a record that is not fresh; without an answer it is good for a while longer."""
        if now - known.at >= GRACE_S:
            return await self._ask(self._familiar, key_id, _ANSWER_S)
        if self._away:
            self._ask_in_passing(key_id)
            return known.key
        try:
            return await self._ask(self._familiar, key_id, _PATIENCE_S)
        except TryAgainLater:
            return known.key

    def _ask_in_passing(self, key_id: str) -> None:
        """Nobody waits for a MongoDB that is away, but somebody must notice that it is back."""
        if key_id not in self._renewing:
            self._renewing.add(key_id)
            self._familiar.post((key_id,))

    async def _ask(self, batcher: Batcher[str, _Answer], key_id: str, within_s: float) -> ApiKey | None:
        try:
            async with asyncio.timeout(within_s):
                answer = await batcher.submit(key_id)
        except TimeoutError:
            self._away, answer = True, _Answer(clear=False)
        if not answer.clear:
            raise StoreUnavailable("MongoDB gave no clear answer about the API key")
        return answer.key

    async def _look_up(self, key_ids: Sequence[str]) -> list[_Answer]:
        """Ask for these ids, and remember what is said of them."""
        now = self._clock.monotonic()
        try:
            found = await self._keys.find(set(key_ids))
        except TryAgainLater:
            self._away = True
            return [_Answer(clear=False)] * len(key_ids)
        finally:
            self._renewing.difference_update(key_ids)
        self._away = False
        for key_id in set(key_ids):
            self._remember(key_id, found.get(key_id), now)
        return [_Answer(clear=True, key=found.get(key_id)) for key_id in key_ids]

    def _remember(self, key_id: str, key: ApiKey | None, now: float) -> None:
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)
        if key is not None:
            _keep(self._known, key_id, _Known(key, now), _MOST_KNOWN)
        else:
            _keep(self._unknown, key_id, now, _MOST_UNKNOWN)


def _keep(memory: dict[str, Kept], key_id: str, what: Kept, most: int) -> None:
    """Keep something as the newest; what was kept the longest gives way."""
    while len(memory) >= most:
        del memory[next(iter(memory))]
    memory[key_id] = what
