"""The example receiver as it is run, and a Courier that tells it: over real HTTP, with real signatures."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from hasty.actors.courier import Courier
from hasty.actors.notice import notice, notice_id
from hasty.clock import SystemClock
from hasty.job import Job, Status
from hasty.outgoing.addresses import Allowed
from hasty.outgoing.sender import Sender
from hasty.store.base import DeliveryState
from hasty.store.memory import MemoryJobStore, MemoryOutbox
from hasty.webhooks import new_secret, sign
from tests.unit.examples import a_job

ROOT = Path(__file__).parents[2]
SECRET, NEXT_SECRET = new_secret(), new_secret()

#: Runs the example where nothing is installed but what `pip install hasty` brings.
PROGRAM = """
import runpy, sys
for name in ("ray", "pymongo", "bson", "fastapi", "starlette", "uvloop", "uuid_utils", "psutil", "cronsim"):
    sys.modules[name] = None
runpy.run_path("examples/receiver.py", run_name="__main__")
"""


class Example:
    """The example in a process of its own."""

    def __init__(self, folder):
        self.database = folder / "ends.db"
        self._log = (folder / "log").open("wb")
        # Held, but not listened on: nobody else gets it while the example is down.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._process = None

    def start(self, secret=SECRET):
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.port)],
            cwd=ROOT,
            env={**os.environ, "HASTY_WEBHOOK_SECRET": secret, "ENDS": str(self.database)},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout.readline() == f"receiving on {self.url.rstrip('/')}\n"

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self):
        self.stop()
        self._log.close()
        self._held.close()

    def post(self, headers, body):
        return httpx.post(self.url, headers=headers, content=body, trust_env=False, timeout=60)

    @property
    def done(self):
        """What it has done: a row for each time it acted."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return database.execute("SELECT job_id, status FROM ends ORDER BY rowid").fetchall()


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    example = Example(tmp_path_factory.mktemp("receiver"))
    example.start()
    yield example
    example.close()


@pytest.fixture
def acts(example):
    """What the example did since the test began."""
    assert example.post(*signed(an_end("first"))).status_code == 200
    before = len(example.done)
    return lambda: example.done[before:]


def an_end(job_id="job-1", **changes) -> Job:
    now = datetime.now(UTC)
    return a_job(job_id, status=Status.FINISHED, started_at=now, ended_at=now, result={"n": 1}, **changes)


def signed(job, *, secret=SECRET, age_s=0.0):
    """A message as hasty would have sent it so many seconds ago."""
    body = notice(job)
    return sign(secret, notice_id(job), datetime.now(UTC) - timedelta(seconds=age_s), body), body


# Genuine, forged, replayed -----------------------------------------------------------------------


def test_what_is_genuine_is_acted_on_once(example, acts):
    headers, body = signed(an_end("genuine"))
    told = example.post(headers, body)
    assert (told.status_code, told.reason_phrase) == (200, "Done")
    assert acts() == [("genuine", "finished")]


def test_a_replay_is_not_acted_on(example, acts):
    """Somebody who saw a genuine message sends it again, byte by byte."""
    headers, body = signed(an_end("replayed"))
    told = [example.post(headers, body) for _ in range(3)]
    assert [(each.status_code, each.reason_phrase) for each in told] == [
        (200, "Done"),
        (200, "Done before"),
        (200, "Done before"),
    ]
    assert acts() == [("replayed", "finished")]


def test_a_replay_that_comes_late_does_not_even_verify(example, acts):
    headers, body = signed(an_end("late"), age_s=301)
    assert example.post(headers, body).status_code == 401
    # By far: it is still on its way for a while.
    headers, body = signed(an_end("early"), age_s=-360)
    assert example.post(headers, body).status_code == 401
    assert acts() == []


def test_a_message_that_hasty_repeats_is_not_acted_on_again(example, acts):
    """It has a new time and so a new signature, but the same id."""
    job = an_end("repeated")
    for age_s in (30, 20, 0):
        assert example.post(*signed(job, age_s=age_s)).status_code == 200
    assert acts() == [("repeated", "finished")]


def test_of_many_copies_at_the_same_time_one_is_acted_on(example, acts):
    headers, body = signed(an_end("copied"))

    async def post_all():
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            posts = (client.post(example.url, headers=headers, content=body) for _ in range(20))
            return await asyncio.gather(*posts)

    told = asyncio.run(post_all())
    assert {each.status_code for each in told} == {200}
    assert acts() == [("copied", "finished")]


def test_it_remembers_after_it_was_killed(example, acts):
    headers, body = signed(an_end("before"))
    assert example.post(headers, body).reason_phrase == "Done"
    example.stop()
    example.start()
    assert example.post(headers, body).reason_phrase == "Done before"
    assert acts() == [("before", "finished")]


FORGERIES = {
    "another secret": lambda job: signed(job, secret=NEXT_SECRET),
    "another body": lambda job: (signed(job)[0], notice(an_end("forged", run=7))),
    "a genuine signature of another message": lambda job: (signed(an_end("seen"))[0], notice(job)),
    "another id": lambda job: (signed(job)[0] | {"webhook-id": "msg_new"}, notice(job)),
    "a later time": lambda job: (signed(job, age_s=200)[0] | {"webhook-timestamp": now()}, notice(job)),
    "a made up signature": lambda job: (
        signed(job)[0] | {"webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()},
        notice(job),
    ),
    "no signature": lambda job: (without(signed(job)[0], "webhook-signature"), notice(job)),
    "no id": lambda job: (without(signed(job)[0], "webhook-id"), notice(job)),
    "no time": lambda job: (without(signed(job)[0], "webhook-timestamp"), notice(job)),
    "no headers": lambda job: ({}, notice(job)),
}


def now():
    return str(int(datetime.now(UTC).timestamp()))


def without(headers, name):
    return {key: value for key, value in headers.items() if key != name}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_does_not_verify(example, acts, forge):
    assert example.post(*forge(an_end("forged"))).status_code == 401
    assert acts() == []
    # Nor does it stand in the way of the genuine one.
    assert example.post(*signed(an_end(f"genuine after {id(forge)}"))).reason_phrase == "Done"


def test_what_is_too_long_is_not_read(example):
    for length in (str(10**9), "-1", "many", ""):
        with socket.create_connection(("127.0.0.1", example.port), 10) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.0 413 ")


# What hasty sends --------------------------------------------------------------------------------


class Hurried(SystemClock):
    """Lives twenty times as fast, but where it is told not to. What it stamps is behind at first, then
    ahead: for half a minute of hurry by less than receivers mind.
    """

    _BEHIND = timedelta(seconds=280)

    def __init__(self):
        super().__init__()
        self._speed, self._since_s, self._gained_before_s = 20, super().monotonic(), 0.0

    @contextlib.contextmanager
    def unhurried(self):
        self._go_on(1)
        yield
        self._go_on(20)

    def _go_on(self, speed):
        self._gained_before_s, self._since_s = self._gained_s, super().monotonic()
        self._speed = speed

    @property
    def _gained_s(self):
        return self._gained_before_s + (super().monotonic() - self._since_s) * (self._speed - 1)

    def now(self):
        return super().now() - self._BEHIND + timedelta(seconds=self._gained_s)

    def monotonic(self):
        return super().monotonic() + self._gained_s

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / self._speed)


async def until(happened):
    async with asyncio.timeout(60):
        while not await happened():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def tried(outbox, job_ids):
    return all([(await outbox.log(job_id)).deliveries for job_id in job_ids])


async def delivered(outbox, job_ids):
    return {(await outbox.log(job_id)).state for job_id in job_ids} == {DeliveryState.DELIVERED}


async def test_a_receiver_that_was_down_for_a_minute_gets_each_call_once_it_is_back(tmp_path):
    example, clock = Example(tmp_path), Hurried()
    jobs = MemoryJobStore(clock)
    outbox = MemoryOutbox(jobs)
    sender = Sender(Allowed(["127.0.0.1"]), timeout_s=10)
    # A secret that is being changed: the receiver knows the one, hasty signs with both.
    courier = Courier(outbox, sender.post, clock, secret=f"{NEXT_SECRET} {SECRET}", timeout_s=10)
    serving = asyncio.ensure_future(courier.serve())
    names = [f"job-{n}" for n in range(30)]
    try:
        for name in names:
            await jobs.insert([an_end(name, object_id=name, webhook=example.url)])
            await clock.sleep(1)
        await clock.sleep(30)
        await until(lambda: tried(outbox, names))
        with clock.unhurried():
            await asyncio.to_thread(example.start)
        await until(lambda: delivered(outbox, names))
        assert sorted(example.done) == sorted((name, "finished") for name in names)
        errors = {each.error for name in names for each in (await outbox.log(name)).deliveries[:-1]}
        assert errors == {"no connection"}
    finally:
        serving.cancel()
        example.close()
        await sender.close()


async def test_two_couriers_tell_it_once(example, acts):
    clock = SystemClock()
    jobs = MemoryJobStore(clock)
    outbox = MemoryOutbox(jobs)
    sender = Sender(Allowed(["127.0.0.0/8"]), timeout_s=10)
    couriers = [Courier(outbox, sender.post, clock, secret=SECRET, timeout_s=10) for _ in range(2)]
    serving = [asyncio.ensure_future(courier.serve()) for courier in couriers]
    names = [f"by-two-{n}" for n in range(40)]
    payload = json.dumps(["ü"] * 1_000)
    await jobs.insert([an_end(name, object_id=name, webhook=example.url, payload=payload) for name in names])
    try:
        await until(lambda: delivered(outbox, names))
    finally:
        for each in serving:
            each.cancel()
        await sender.close()
    assert {len((await outbox.log(name)).deliveries) for name in names} == {1}
    assert sorted(acts()) == sorted((name, "finished") for name in names)
