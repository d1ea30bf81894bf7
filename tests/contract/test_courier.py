"""Couriers over a real MongoDB, who tell a real receiver over HTTP."""

import asyncio
from collections import Counter

import pytest

from hasty.actors.courier import Courier
from hasty.clock import SystemClock
from hasty.dispatch import Settle
from hasty.job import Outcome, Status
from hasty.outgoing.addresses import Allowed
from hasty.outgoing.sender import Sender
from hasty.store.base import DeliveryState
from hasty.store.mongo import MongoOutbox
from hasty.webhooks import new_secret, verify
from tests.contract.test_schedules import ended
from tests.unit.examples import a_job

SECRET = new_secret()
PATIENCE_S = 60


class Receiver:
    """Verifies what comes and counts it; how long an answer takes can be set."""

    def __init__(self):
        self.heard, self.takes_s, self.news = Counter(), 0.0, asyncio.Event()

    async def serve(self, reader, writer):
        head, _, _ = (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
        body = await reader.readexactly(int(headers["Content-Length"]))
        self.heard[verify(SECRET, headers, body).content["data"]["job_id"]] += 1
        self.news.set()
        await asyncio.sleep(self.takes_s)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def until(self, count):
        async with asyncio.timeout(PATIENCE_S):
            while len(self.heard) < count:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def receiver():
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, backlog=200)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    yield receiver
    server.close()


@pytest.fixture
async def sender():
    sender = Sender(Allowed(["127.0.0.1"]), timeout_s=10)
    yield sender
    await sender.close()


@pytest.fixture
async def start(database, sender):
    """Start Couriers, and end them with the test. Each makes the index for itself."""
    started = []

    def begin():
        courier = Courier(MongoOutbox(*database), sender.post, SystemClock(), secret=SECRET, timeout_s=1)
        started.append(asyncio.ensure_future(courier.serve()))
        return started[-1]

    yield begin
    await ended(*started)


async def end(jobs, receiver, count):
    now = SystemClock().now()
    names = [f"job-{n}" for n in range(count)]
    await jobs.insert([a_job(name, object_id=name, webhook=receiver.url) for name in names])
    outcome = Outcome(Status.FINISHED, now, {"n": 1}, None, 1, now, "w")
    await jobs.settle([Settle(name, outcome) for name in names], 1, now)
    return names


async def until_delivered(outbox, names):
    async with asyncio.timeout(PATIENCE_S):
        for name in names:
            while (await outbox.log(name)).state is not DeliveryState.DELIVERED:
                pass


async def test_three_couriers_tell_each_end_once(mongo_jobs, database, receiver, start):
    for _ in range(3):
        start()
    names = await end(mongo_jobs, receiver, 200)
    await until_delivered(MongoOutbox(*database), names)
    assert receiver.heard == dict.fromkeys(names, 1)


async def test_what_one_had_under_way_when_it_was_ended_is_told_by_another(
    mongo_jobs, database, receiver, start, monkeypatch
):
    """All of it waited for an answer; that the receiver has it is known to nobody."""
    monkeypatch.setattr("hasty.actors.courier._SET_OUT_WITHIN_S", 1)
    monkeypatch.setattr("hasty.actors.courier._WRITE_WITHIN_S", 1)
    receiver.takes_s = 5.0
    first = start()
    names = await end(mongo_jobs, receiver, 12)
    await receiver.until(8)
    await ended(first)
    receiver.takes_s = 0
    start()
    await until_delivered(MongoOutbox(*database), names)
    assert sorted(receiver.heard) == sorted(names)
    assert sorted(receiver.heard.values()) == [1] * 4 + [2] * 8
