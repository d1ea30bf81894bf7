"""Refs to actors in the same loop, as their callers see them through Ray."""

import asyncio

from hasty.cluster.wire import pack, unpack


class Ref:
    """Calls an actor as Ray does: what is said travels as bytes, and a caller that leaves stops nothing."""

    def __init__(self, actor) -> None:
        self._actor = actor

    def __getattr__(self, method):
        async def call(*messages):
            # A task of its own: as in Ray, an error that nobody waits for any more is dropped.
            task = asyncio.ensure_future(self._call(method, [pack(message) for message in messages]))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            return await asyncio.shield(task)

        return call

    async def _call(self, method, messages):
        return unpack(pack(await getattr(self._actor, method)(*map(unpack, messages))))
