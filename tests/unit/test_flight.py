"""The flight recorder: whose code was at work when a process died."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from hasty.flight import SIZE, FlightRecorder, Trace, open_recorder


async def steps(*looks):
    """A handler that looks around between two rests."""
    for look in looks:
        look()
        await asyncio.sleep(0)
    return len(looks)


async def test_each_step_is_on_record_and_each_rest_is_not():
    memory = bytearray(SIZE)
    seen = []

    def look():
        seen.append(FlightRecorder(memory).last)

    task = asyncio.ensure_future(FlightRecorder(memory).follow(steps(look, look), "job-1", "claim-1"))
    while not task.done():
        await asyncio.sleep(0)
        assert FlightRecorder(memory).last is None
    assert seen == [Trace("job-1", "claim-1")] * 2
    assert task.result() == 2


async def test_a_step_that_raises_or_is_cancelled_is_off_the_record_after():
    memory = bytearray(SIZE)
    recorder = FlightRecorder(memory)

    async def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await asyncio.ensure_future(recorder.follow(fail(), "job-1", "claim-1"))
    task = asyncio.ensure_future(recorder.follow(asyncio.sleep(60), "job-1", "claim-1"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert FlightRecorder(memory).last is None


def test_what_was_left_is_there_until_a_new_life_begins(tmp_path):
    path = tmp_path / "deep" / "w.flight"
    recorder = open_recorder(path)
    recorder.begin()
    left = recorder.follow(steps(lambda: None), "job-1", "claim-1")
    memory = left._memory
    memory[: len("job-1 claim-1")] = b"job-1 claim-1"
    heir = open_recorder(path)
    assert heir.last == Trace("job-1", "claim-1")
    heir.begin()
    assert heir.last is None
    assert open_recorder(path).last is None
    left.close()


def test_a_file_that_cannot_be_used_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    recorder = open_recorder(tmp_path / "file" / "w.flight")
    recorder.begin()
    assert recorder.last is None


@pytest.mark.parametrize("left", [b"\xff\xfe", b"one", b"one two three"])
def test_a_torn_entry_blames_nobody(left):
    memory = bytearray(SIZE)
    memory[: len(left)] = left
    assert FlightRecorder(memory).last is None


DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from hasty.flight import open_recorder

recorder = open_recorder(Path(sys.argv[1]))
recorder.begin()

async def rests():
    await asyncio.sleep(60)

async def dies():
    await asyncio.sleep(0.01)
    {death}

async def main():
    tasks = [recorder.follow(rests(), f"rests-{n}", "c") for n in range(20)]
    await asyncio.gather(*map(asyncio.ensure_future, [*tasks, recorder.follow(dies(), "dies", "c")]))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("death", "named"),
    [
        ("os._exit(1)", Trace("dies", "c")),
        ("os.kill(os.getpid(), signal.SIGSEGV)", Trace("dies", "c")),
        # From outside, while everybody rests.
        ("asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGKILL)", None),
    ],
)
def test_the_file_of_a_dead_process_names_whose_code_was_at_work(tmp_path, death, named):
    path = tmp_path / "w.flight"
    program = textwrap.dedent(DIES).replace("{death}", death)
    ended = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert ended.returncode in {1, -signal.SIGSEGV, -signal.SIGKILL}
    assert open_recorder(path).last == named


def test_a_process_that_is_killed_while_it_blocks_the_loop_is_named(tmp_path):
    path = tmp_path / "w.flight"
    program = textwrap.dedent(DIES).replace("{death}", "os.write(1, b'x'); signal.pause()")
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE) as process:
        assert os.read(process.stdout.fileno(), 1) == b"x"
        process.kill()
    assert open_recorder(path).last == Trace("dies", "c")
