"""Calls by a Unix socket: real sockets, and a real process that is killed at the other end."""

import asyncio
import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import uvloop

from hasty.cluster.channel import Channel, Listener
from hasty.errors import HastyError, StoreUnavailable, Superseded
from hasty.private import check_private, make_private
from tests.contract.raising import PATIENCE_S
from tests.running import ROOT


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ours" / "folder" / "actor.sock"


@asynccontextmanager
async def listening(path, **methods):
    listener, channel = Listener(path, methods), Channel(path)
    await listener.open()
    try:
        yield channel
    finally:
        channel.close()
        listener.close()


async def echo(message):
    return message


async def test_a_call_is_answered(path):
    async with listening(path, echo=echo) as channel:
        assert await channel.call("echo", b"hello\nthere") == b"hello\nthere"


async def test_nothing_is_an_answer_and_is_told_from_nobody(path):
    async def note(_message):
        return None

    async with listening(path, note=note) as channel:
        assert await channel.call("note", b"") == b""
    assert await Channel(path.with_name("nobody.sock")).call("note", b"") is None


async def test_answers_come_as_they_are_ready_and_to_whom_they_belong(path):
    gates = {number: asyncio.Event() for number in range(50)}

    async def wait(message):
        await gates[int(message)].wait()
        return message

    async with listening(path, wait=wait) as channel:
        calls = {number: asyncio.ensure_future(channel.call("wait", b"%d" % number)) for number in gates}
        for number in reversed(gates):
            gates[number].set()
            assert await calls[number] == b"%d" % number


async def test_what_the_actor_raises_is_raised_here(path):
    async def refuse(_message):
        raise StoreUnavailable("MongoDB is away")

    async def break_down(_message):
        raise ZeroDivisionError("a secret of its own")

    async with listening(path, refuse=refuse, break_down=break_down) as channel:
        with pytest.raises(StoreUnavailable, match="MongoDB is away"):
            await channel.call("refuse", b"")
        with pytest.raises(HastyError, match=r"^break_down failed \(ZeroDivisionError\)$"):
            await channel.call("break_down", b"")
        with pytest.raises(HastyError, match="KeyError"):
            await channel.call("no_such", b"")


async def test_a_message_of_16_mib_passes_both_ways(path):
    async with listening(path, echo=echo) as channel:
        message = os.urandom(16 * 1024 * 1024)
        assert await channel.call("echo", message) == message


async def test_a_caller_that_leaves_stops_nothing_and_disturbs_nobody(path):
    entered, gate, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait(_message):
        entered.set()
        await gate.wait()
        left.set()
        return b"too late"

    async with listening(path, wait=wait, echo=echo) as channel:
        call = asyncio.ensure_future(channel.call("wait", b""))
        await entered.wait()
        call.cancel()
        await asyncio.wait([call])
        gate.set()
        assert await channel.call("echo", b"next") == b"next"
        assert left.is_set()


async def test_a_successor_takes_over_and_is_found_by_who_calls_next(path):
    async def name(_message):
        return b"first"

    async def other_name(_message):
        return b"second"

    async with listening(path, name=name) as channel:
        assert await channel.call("name", b"") == b"first"
        # A successor is there while the first still has its old connection: as with a process that thaws.
        async with listening(path, name=other_name) as later:
            assert await later.call("name", b"") == b"second"
            assert await channel.call("name", b"") == b"second"
            later.close()


async def test_who_waits_for_one_that_was_replaced_is_let_go_when_somebody_finds_its_successor(path):
    entered, gate = asyncio.Event(), asyncio.Event()

    async def wait(_message):
        entered.set()
        await gate.wait()

    async with listening(path, wait=wait) as channel:
        call = asyncio.ensure_future(channel.call("wait", b""))
        await entered.wait()
        async with listening(path, echo=echo):
            assert await channel.call("echo", b"hello") == b"hello"
            assert await asyncio.wait_for(call, PATIENCE_S) is None
        gate.set()


def test_on_uvloop_one_that_does_not_read_is_left_for_its_successor(path):
    """Ray's actors run on it. What was written and not read must not hold the connection open."""

    async def scenario():
        connected = asyncio.get_running_loop().create_future()

        def freeze(_reader, writer):
            writer.transport.pause_reading()
            connected.set_result(writer)

        frozen = await asyncio.start_unix_server(freeze, path)
        channel = Channel(path)
        call = asyncio.ensure_future(channel.call("echo", bytes(16 * 1024 * 1024)))
        await connected
        async with listening(path, echo=echo):
            assert await channel.call("echo", b"hello") == b"hello"
            assert await asyncio.wait_for(call, PATIENCE_S) is None
            channel.close()
        connected.result().transport.abort()
        frozen.close()
        await frozen.wait_closed()

    path.parent.mkdir(parents=True)
    make_private(path.parent)
    uvloop.run(scenario())


async def test_a_frame_that_is_too_long_ends_the_connection_and_nothing_else(path):
    async with listening(path, echo=echo) as channel:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(struct.pack("<IQ", 2**31, 1))
        assert await reader.read() == b""
        writer.close()
        assert await channel.call("echo", b"still here") == b"still here"


#: An actor that never answers, in a process that can be killed.
MUTE = """
import asyncio, os, sys, time
from pathlib import Path
from hasty.cluster.channel import Listener

async def mute(message):
    if message == b"fork":
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
    print("called", flush=True)
    await asyncio.Event().wait()

async def main():
    await Listener(Path(sys.argv[1]), {"mute": mute}).open()
    print("listens", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def mute(path):
    process = subprocess.Popen(
        [sys.executable, "-c", MUTE, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "listens\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


async def test_a_caller_hears_at_once_that_the_other_end_has_died_and_finds_its_successor(mute, path):
    channel = Channel(path)
    calls = [asyncio.ensure_future(channel.call("mute", b"")) for _ in range(3)]
    for _ in calls:
        assert await asyncio.to_thread(mute.stdout.readline) == "called\n"
    mute.kill()
    assert await asyncio.wait_for(asyncio.gather(*calls), PATIENCE_S) == [None] * 3
    assert await channel.call("mute", b"") is None, "nobody listens at what it left behind"
    async with listening(path, echo=echo):
        assert await channel.call("echo", b"hello") == b"hello"
    channel.close()


async def test_a_fork_that_outlives_the_other_end_does_not_answer_for_it(mute, path):
    """A pool of processes that a handler made is still there when its worker was killed."""
    channel = Channel(path)
    call = asyncio.ensure_future(channel.call("mute", b"fork"))
    assert await asyncio.to_thread(mute.stdout.readline) == "called\n"
    mute.kill()
    assert await asyncio.wait_for(call, PATIENCE_S) is None
    assert await asyncio.wait_for(channel.call("mute", b""), PATIENCE_S) is None
    channel.close()


async def test_a_folder_that_others_can_enter_is_not_trusted(path):
    async with listening(path, echo=echo) as channel:
        path.parent.parent.chmod(0o755)
        assert await channel.call("echo", b"a secret") is None
        path.parent.parent.chmod(0o700)
        assert await channel.call("echo", b"a secret") == b"a secret"


async def test_where_no_socket_can_be_made_nothing_listens_and_nothing_fails(tmp_path, caplog):
    (tmp_path / "file").touch()
    await Listener(tmp_path / "file" / "folder" / "actor.sock", {}).open()
    assert "ChannelUnusable" in caplog.text


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701])
def test_a_folder_is_private_when_only_its_user_can_enter_it(tmp_path, mode):
    folder = tmp_path / "hasty-0" / "digest"
    make_private(folder)
    check_private(folder)
    folder.chmod(mode)
    with pytest.raises(PermissionError, match="only this user"):
        check_private(folder)


def test_a_folder_of_ours_that_was_left_open_is_closed(tmp_path):
    folder = tmp_path / "hasty-0" / "digest"
    folder.mkdir(mode=0o755, parents=True)
    make_private(folder)
    check_private(folder)


def test_a_link_to_a_private_folder_is_not_one(tmp_path):
    make_private(tmp_path / "real" / "folder")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PermissionError):
        check_private(tmp_path / "link" / "folder")


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Superseded(), HastyError("broken")])
def test_errors_of_ours_survive_the_way(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
