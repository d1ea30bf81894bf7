"""Two Registries on one MongoDB: the database decides, whoever asks and whenever."""

import asyncio
import random
from collections import Counter

from hasty.actors.registry import Registry
from hasty.clock import SystemClock
from hasty.errors import Unreachable
from hasty.job import Window
from hasty.messages import Accepted, Admit, Refused, Request
from hasty.store.mongo import MongoJobStore
from hasty.store.mongo.connection import connect

OBJECTS = 1_000
CLIENTS = 32

#: What a Gateway sends at once.
BATCH = 500


class NoDispatcher:
    """Nobody runs what is admitted here."""

    async def enqueue(self, _message):
        raise Unreachable


async def test_two_registries_admit_no_object_twice(mongo_uri, database):
    """A thousand objects, 32 clients that want each, half of them at either Registry."""
    requests = [
        Request(f"{object_id}-{client}", f"object-{object_id}", "sleep", 46.0, Window(300.0))
        for object_id in range(OBJECTS)
        for client in range(CLIENTS)
    ]
    random.Random(1).shuffle(requests)
    _, name = database
    async with connect(mongo_uri) as one, connect(mongo_uri) as other:
        registries = [
            Registry(MongoJobStore(client, name), NoDispatcher(), SystemClock()) for client in (one, other)
        ]

        async def ask(registry, share):
            answers = []
            for start in range(0, len(share), BATCH):
                batch = tuple(share[start : start + BATCH])
                answers += zip(batch, (await registry.admit(Admit(batch))).answers, strict=True)
            return answers

        # Each of them has two Gateways.
        shares = [(registries[n % 2], requests[n::4]) for n in range(4)]
        answered = [
            pair for answers in await asyncio.gather(*(ask(*share) for share in shares)) for pair in answers
        ]
        admitted = Counter(request.object_id for request, answer in answered if isinstance(answer, Accepted))
        assert set(admitted.values()) == {1}
        assert len(admitted) == OBJECTS
        assert sum(isinstance(answer, Refused) for _, answer in answered) == OBJECTS * (CLIENTS - 1)
        assert await one[name]["jobs"].count_documents({}) == OBJECTS
