"""The shells around the actors: what they wait for before an actor acts."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from hasty.actors import timekeeping
from hasty.cluster import hosts
from hasty.cluster.hosts import ClerkHost, DispatcherHost
from hasty.errors import StoreUnavailable
from hasty.settings import Settings

#: How far this machine's clock is ahead of MongoDB's.
AHEAD = timedelta(seconds=90)


class Authority:
    """Says what time it is: at first it is away, then it is slow, then it answers."""

    asked = 0

    def __init__(self, _client):
        pass

    async def server_time(self):
        Authority.asked += 1
        if Authority.asked == 1:
            raise StoreUnavailable
        told = datetime.now(UTC) - AHEAD
        if Authority.asked == 2:
            await asyncio.sleep(0.3)
        return told


class Actor:
    """Tells what time it takes it to be when it begins to act."""

    began: asyncio.Queue

    def __init__(self, *parts, **_named):
        (self._clock,) = (part for part in parts if isinstance(part, hosts.SystemClock))

    async def serve(self):
        Actor.began.put_nowait(self._clock.now())


async def nothing(*_given):
    """Do nothing."""


@pytest.fixture
def alone(monkeypatch):
    """The shells with nothing around them but a MongoDB that tells the time."""
    monkeypatch.setattr(timekeeping, "_LONGEST_AT_FIRST_S", 0.2)
    Authority.asked, Actor.began = 0, asyncio.Queue()
    parts = {"MongoJobStore": Authority, "Dispatcher": Actor, "Clerk": Actor, "watch": nothing}
    for name in ("connect", "MongoLedger", "RayWorkers", "log_to_stderr", "registry_ref"):
        parts[name] = lambda *_given: None
    parts["keep_time"] = nothing
    for name, part in parts.items():
        monkeypatch.setattr(hosts, name, part)
    monkeypatch.setattr(hosts.Listener, "open", nothing)


@pytest.mark.parametrize(
    "host", [lambda settings: DispatcherHost(settings, "holder"), ClerkHost], ids=["dispatcher", "clerk"]
)
async def test_nobody_acts_before_the_clock_was_set_by_mongodb(alone, host):
    """A clock that is ahead would give jobs up too early, and fire schedules or miss their firings."""
    uri = "mongodb://nowhere"
    shell = host(Settings.load({"HASTY_API_MONGO_URI": uri, "HASTY_WORKER_MONGO_URI": uri}))
    async with asyncio.timeout(20):
        began_at = await Actor.began.get()
    # The third answer was in time, unless this process stood still just then.
    assert Authority.asked >= 3
    assert abs(datetime.now(UTC) - AHEAD - began_at) < AHEAD / 3
    for duty in shell._duties:
        duty.cancel()
