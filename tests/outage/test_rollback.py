"""A change of primary that rolls back what no majority had, under load."""

import asyncio

import bson
import pytest
from pymongo import WriteConcern

from tests.outage.servers import Member, replica_set
from tests.outage.system import running
from tests.outage.watcher import Watcher, eventually


@pytest.fixture(scope="module")
def servers():
    with replica_set(3) as servers:
        yield servers


def write_alone(member: Member) -> None:
    """Write as marks are written: nobody else need have it."""
    alone = member.client.test.get_collection("markers", write_concern=WriteConcern(w=1))
    alone.insert_one({"_id": "marker"})


def rolled_back(member: Member) -> list[dict]:
    """What the server itself took out again, and kept in files for people."""
    files = (member.folder / "rollback").glob("*/removed.*.bson")
    return [found for file in files for found in bson.decode_all(file.read_bytes())]


async def another_primary(members: list[Member]) -> Member:
    """Let that one take over which has the most of what was written."""

    async def elected():
        log = {await asyncio.to_thread(member.last_in_its_log): member for member in members}
        chosen = log[max(log)]
        return chosen if await asyncio.to_thread(chosen.step_up) else None

    return await eventually(elected, "another primary")


async def written_in_vain(namespace: str, old: Member, others: list[Member]) -> None:
    """Wait until the old primary has something that the others will never get."""

    async def written():
        there, *elsewhere = await asyncio.gather(
            *(asyncio.to_thread(member.ids, namespace) for member in [old, *others])
        )
        return there.difference(*elsewhere)

    await eventually(written, "a write that nobody else has")


async def accepted(answers, more: int) -> None:
    wanted = answers["accepted"] + more

    async def enough():
        return answers["accepted"] >= wanted

    await eventually(enough, f"{more} more to be accepted")


async def in_threads(call, members) -> None:
    await asyncio.gather(*(asyncio.to_thread(call, member) for member in members))


async def test_what_a_rollback_takes_back_was_promised_to_nobody(servers):
    old = servers.primary
    others = [member for member in servers.members if member is not old]
    async with running(servers.uri) as system, Watcher(system).watching() as watcher:
        async with system.load() as answers:
            await accepted(answers, 60)
            await in_threads(Member.cut_off, others)
            # The old primary still takes writes; what waits for a majority waits in vain.
            await in_threads(write_alone, [old])
            await written_in_vain(system.namespace("jobs"), old, others)
            await asyncio.sleep(1)  # the length of the partition is part of the example
            old.freeze()
            await another_primary(others)
            await in_threads(Member.reconnect, others)
            await accepted(answers, 60)
            old.thaw()
            lost = await eventually(lambda: asyncio.to_thread(rolled_back, old), "the rollback")
            await accepted(answers, 60)
        await system.settle_down()
        await system.check()
        await eventually(lambda: watcher.saw_the_end_of(system.accepted), "clients to see every end")
    assert {"_id": "marker"} in lost
    # Writes of hasty were among them, and not one that it had answered for.
    assert any("object_id" in found or "open" in found for found in lost)
    assert answers["refused"] > 60
