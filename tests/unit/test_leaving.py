"""A Gateway that Serve stops sends those away who follow or wait, and no other does."""

import asyncio
import contextlib
import socket
import subprocess
import sys

import pytest

from hasty.api.hub import Hub
from hasty.clock import SystemClock
from hasty.cluster import leaving
from hasty.cluster.leaving import Leaving


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(leaving, "_LOOK_S", 0.01)
    monkeypatch.setattr(leaving, "_ANSWER_S", 10.0)


class Replica:
    """A health page on a port of its own."""

    def __init__(self, status):
        self.status = status
        self.asked = 0
        self.writers = []
        self.hub = Hub(SystemClock())
        self.app = Leaving(self._serve, self.hub, lambda port: port == self.address[1])
        self.enough = asyncio.Event()

    async def _serve(self, scope, _receive, _send):
        if scope.get("stays"):
            with self.hub.watch("job"):
                await self.enough.wait()

    async def _answer(self, reader, writer):
        request = await reader.readline()
        assert request == b"GET /-/healthz HTTP/1.1\r\n"
        self.asked += 1
        self.writers.append(writer)
        if self.status is not None:
            writer.write(b"HTTP/1.1 " + self.status + b"\r\n\r\n")
            writer.close()

    async def ask(self, **scope):
        await self.app({"type": "http", "server": self.address} | scope, None, None)

    async def looked(self, times=3):
        wanted = self.asked + times
        await until(lambda: self.asked >= wanted)


async def until(holds):
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  it is in another task
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def replica(status=b"200 OK"):
    found = Replica(status)
    server = await asyncio.start_server(found._answer, "127.0.0.1", 0)
    found.server, found.address = server, server.sockets[0].getsockname()
    staying = asyncio.ensure_future(found.ask(stays=True))
    try:
        yield found
    finally:
        found.enough.set()
        await staying
        found.app._looking.cancel()
        await asyncio.wait({found.app._looking})
        server.close()
        for writer in found.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_one_that_is_well_keeps_them():
    async with replica() as found:
        await found.looked(10)
        assert not found.hub.ending


async def test_one_that_says_it_is_not_lets_them_go():
    async with replica() as found:
        await found.looked()
        found.status = b"503 Service Unavailable"
        await until(lambda: found.hub.ending)


async def test_one_that_stopped_listening_lets_them_go():
    async with replica() as found:
        await found.looked()
        found.server.close()
        await found.server.wait_closed()
        await until(lambda: found.hub.ending)


async def test_a_request_that_came_in_elsewhere_first_makes_no_difference():
    async with replica() as other, replica() as found:
        found.app._well.clear()
        await found.ask(server=other.address)
        await found.ask()
        await found.looked()
        other.server.close()
        await other.server.wait_closed()
        await found.looked(10)
        assert not found.hub.ending
        found.status = b"503 Service Unavailable"
        await until(lambda: found.hub.ending)


def test_a_process_knows_where_it_listens_itself():
    there = "import socket; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); input()"
    with socket.create_server(("127.0.0.1", 0)) as here:
        assert leaving._this_process_listens(here.getsockname()[1])
    elsewhere = subprocess.Popen([sys.executable, "-c", there], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert not leaving._this_process_listens(int(elsewhere.stdout.readline()))
    finally:
        elsewhere.communicate(b"\n")


async def test_one_that_was_never_well_keeps_them():
    async with replica(b"503 Service Unavailable") as found:
        await found.looked(10)
        assert not found.hub.ending


@pytest.mark.parametrize("says", [None, b""])
async def test_one_that_says_nothing_keeps_them(says, monkeypatch):
    async with replica() as found:
        await found.looked()
        monkeypatch.setattr(leaving, "_ANSWER_S", 0.1)
        found.status = says
        await found.looked()
        assert not found.hub.ending


async def test_while_nobody_is_there_nobody_looks(monkeypatch):
    looks = []

    async def look(*address):
        looks.append(address)

    async with replica() as found:
        await found.looked()
        found.enough.set()
        await until(lambda: not found.hub.busy)
        # From here on: a look that is under way has begun before.
        monkeypatch.setattr(leaving, "_is_well", look)
        await asyncio.sleep(0.1)
        assert looks == []
