"""Children as processes: bounded, killed, dead, gone."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests import running
from tests.contract import errands
from tests.contract.raising import KILLED, PATIENCE_S, death, gone, living, result, started, until


async def test_calls_beyond_the_slots_wait_and_say_when_they_start(raised, tmp_path):
    children, file = raised(2), tmp_path / "word"
    file.touch()
    assert living() == []
    busy = [children.start("wait_for", str(file)) for _ in range(2)]
    waiting = [children.start("pid") for _ in range(5)]
    for call in busy:
        await started(call)
    assert len(living()) == 2
    assert not any(call.begun for call in waiting)
    file.write_text("go on")
    pids = {await result(call) for call in busy + waiting}
    assert pids == set(living())
    assert all(call.begun for call in waiting)


@pytest.mark.parametrize("errand", errands.FOR_EVER)
async def test_whatever_it_does_it_is_gone_in_a_second_and_the_next_call_runs_in_two(neighbour, errand):
    call = await started(neighbour.start(errand))
    child = living()[-1]
    next_call = neighbour.start("pid")
    killed_at = time.monotonic()
    call.kill()
    call.kill()
    assert await death(call) == KILLED
    assert gone(child)
    assert time.monotonic() - killed_at < 1
    assert await result(next_call) != child
    assert time.monotonic() - killed_at < 2


@pytest.mark.parametrize(
    ("errand", "argument", "end"),
    [
        ("evaluate", "segfault()", ("killed by signal 11 (SIGSEGV)", -11)),
        ("leave", 3, ("exited with 3", 3)),
        ("leave", 0, ("exited with 0", 0)),
        ("signal_itself", signal.SIGTERM, ("killed by signal 15 (SIGTERM)", -15)),
        ("signal_itself", signal.SIGKILL, KILLED),
        ("signal_itself", signal.SIGRTMIN + 3, ("killed by signal 37", -37)),
        ("echo", errands.Opened("segfault"), ("killed by signal 11 (SIGSEGV)", -11)),
    ],
)
async def test_only_the_call_in_a_child_that_dies_hears_of_it(neighbour, errand, argument, end):
    assert await death(neighbour.start(errand, argument)) == end
    assert await result(neighbour.start("echo", 1)) == [1]


async def test_a_child_that_is_killed_while_it_answers_leaves_no_half_of_it(raised):
    children = raised(result_limit=50_000_000)
    call = await started(children.start("evaluate", "'x' * 20_000_000"))
    (child,) = living()
    # While the loop is held up here nobody reads, and it comes to wait in the middle of its answer.
    while psutil.Process(child).status() == psutil.STATUS_RUNNING:
        time.sleep(0.005)  # noqa: ASYNC251  see above
    os.kill(child, signal.SIGKILL)
    assert await death(call) == KILLED
    assert await result(children.start("echo", 1)) == [1]


async def test_what_a_child_said_before_it_died_counts(only_child):
    call = await started(only_child.start("return_and_die", 0.1))
    (child,) = living()
    # Held up here, the loop hears of the answer and of the death at the same time.
    while not gone(child):
        time.sleep(0.005)  # noqa: ASYNC251  see above
    assert await result(call) == "the last word"
    assert await result(only_child.start("echo", 1)) == [1]


@pytest.mark.parametrize("errand", ["close_the_link", "babble"])
async def test_a_child_that_cannot_be_talked_to_is_killed(only_child, errand):
    assert await death(only_child.start(errand)) == KILLED
    assert await result(only_child.start("echo", 1)) == [1]


async def test_a_call_is_not_blamed_for_a_child_that_was_dead_before(only_child):
    before = await result(only_child.start("pid"))
    os.kill(before, signal.SIGKILL)
    assert await result(only_child.start("pid")) != before


async def test_a_child_that_dies_idle_is_replaced_when_it_is_needed(only_child):
    before = await result(only_child.start("pid"))
    os.kill(before, signal.SIGKILL)
    await until(lambda: gone(before) and not living())
    assert await result(only_child.start("pid")) != before


async def test_a_call_that_waits_can_be_killed(only_child):
    busy = await started(only_child.start("loop_for_ever"))
    waiting, last = only_child.start("pid"), only_child.start("echo", 1)
    waiting.kill()
    assert await death(waiting) == ("killed before it started", None)
    await started(waiting)  # it never will, and says so
    busy.kill()
    assert await result(last) == [1]


async def test_a_call_can_be_killed_while_its_child_starts(only_child):
    call = only_child.start("pid")
    call.kill()
    assert await death(call) == KILLED
    assert await result(only_child.start("echo", 1)) == [1]


async def test_what_a_call_started_goes_with_it(only_child, tmp_path):
    file = tmp_path / "pid"
    call = only_child.start("start_a_program", str(file))
    await until(lambda: file.exists() and file.read_text())
    program = int(file.read_text())
    assert not gone(program)
    call.kill()
    await death(call)
    await until(lambda: gone(program))


async def test_a_child_that_cannot_be_started_is_told(only_child, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    cause, code = await death(only_child.start("pid"))
    assert cause.startswith("could not be started: [Errno 2]")
    assert code is None
    monkeypatch.undo()
    assert await result(only_child.start("echo", 1)) == [1]


async def test_closing_leaves_nothing_even_after_there_was_nothing_for_a_while(raised):
    children = raised(2)
    assert await death(children.start("leave", 3)) == ("exited with 3", 3)
    assert living() == []
    busy = [await started(children.start("ignore_sigterm_for_ever")) for _ in range(2)]
    waiting = children.start("pid")
    await asyncio.wait_for(asyncio.gather(children.close(), children.close()), PATIENCE_S)
    assert living() == []
    assert all(call.over for call in busy)
    assert [await death(call) for call in busy] == [KILLED, KILLED]
    assert await death(waiting) == ("killed before it started", None)
    with pytest.raises(RuntimeError):
        children.start("pid")


async def test_children_that_never_were_can_be_closed(raised):
    await raised().close()


#: It has no guard: whoever imports it again starts it again. Its loop is not on the main thread.
PARENT = """
import asyncio, sys, threading
import {loop}
from hasty.children import Children
from tests import running
from tests.contract import errands

async def main():
    children = Children(9, errands.prepare)
    for errand in sys.argv[1:]:
        await children.start(errand).started()
    await asyncio.sleep(1000)

thread = threading.Thread(target={loop}.run, args=(main(),))
thread.start()
thread.join()
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_children_print_where_their_parent_does_and_die_with_it(tmp_path, loop):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(loop=loop))
    with subprocess.Popen(
        [sys.executable, str(script), *errands.FOR_EVER, "print_and_loop_for_ever"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(running.ROOT)},
        text=True,
    ) as parent:
        assert parent.stdout is not None
        last = errands.json.loads(parent.stdout.readline())["pid"]
        children = [child.pid for child in psutil.Process(parent.pid).children()]
        assert last in children
        assert len(children) == len(errands.FOR_EVER) + 1
        parent.kill()
        # The pipe ends when the last process that could print into it has ended.
        assert parent.stdout.read() == ""
    # Of each of its files a process lets go a moment before it is gone.
    running.until(lambda: all(gone(child) for child in children), "the children to be gone")
