"""Children as processes: bounded, killed, dead, gone."""

import asyncio
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from hasty.actors.perform import RESULT_LIMIT
from hasty.handlers.inside import RAISED, RETURNED, ROOM, in_child
from hasty.settings import Settings
from tests import running
from tests.contract import errands
from tests.contract.raising import (
    KILLED,
    LONG_S,
    PATIENCE_S,
    death,
    failure,
    gone,
    living,
    result,
    started,
    until,
)
from tests.unit.examples import a_work


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
async def test_whatever_it_does_it_is_killed_and_then_the_next_call_runs(neighbour, errand):
    call = await started(neighbour.start(errand))
    child = living()[-1]
    next_call = neighbour.start("pid")
    call.kill()
    call.kill()
    assert await death(call) == KILLED
    assert gone(child)
    assert await result(next_call) != child


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


async def test_what_a_child_said_before_it_died_counts(only_child, tmp_path):
    (file := tmp_path / "word").touch()
    call = await started(only_child.start("return_and_die", str(file)))
    (child,) = living()
    file.write_text("go on")
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


async def test_what_a_call_sets_in_its_context_the_next_one_does_not_see(only_child):
    assert await result(only_child.start("mark", "mine")) == "nobody's"
    assert await result(only_child.start("mark", "mine")) == "nobody's"


@pytest.fixture
def impatient_sockets():
    """What a module of a user's may ask for when it is imported."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10.0)
    yield
    socket.setdefaulttimeout(before)


async def test_a_child_serves_on_where_sockets_have_a_timeout(impatient_sockets, only_child):
    child = await result(only_child.start("pid"))
    assert len(await result(only_child.start("evaluate", "'x' * 250 * 1024"))) == 250 * 1024
    assert await result(only_child.start("pid")) == child


# Handlers in it ------------------------------------------------------------------------------------

HANDLERS = """
import hasty

@hasty.handler(retries=1)
def fails(expression):
    raise eval(expression)

@hasty.handler
def returns(length):
    return "x" * length
"""


@pytest.fixture
def performing(raised, tmp_path, monkeypatch):
    """A pool of one child that knows these handlers, as a worker's does."""
    (tmp_path / "children_shop.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    prepare = functools.partial(in_child, Settings(handlers=("children_shop",)))
    return raised(prepare=prepare, result_limit=RESULT_LIMIT + ROOM)


@pytest.mark.parametrize(
    ("expression", "kind", "text"),
    [
        ("ValueError('x' * 300_000)", "ValueError", "x" * 2_000),
        (r"ValueError('half \ud83d a pair')", "ValueError", "half ? a pair"),
        ("type('Made' * 100_000, (Exception,), {})('no')", "Made" * 50, "no"),
    ],
    ids=["long", "half a pair", "long name"],
)
async def test_whatever_a_handler_raises_is_its_error_and_may_be_retried(performing, expression, kind, text):
    call = performing.start("fails", a_work(payload=expression), 1)
    assert await result(call) == [RAISED, kind, text, True]


async def test_a_result_may_be_as_long_as_its_limit_also_in_a_child(performing):
    longest = "x" * (RESULT_LIMIT - 2)
    call = performing.start("returns", a_work(payload=len(longest)), 1)
    assert await result(call) == [RETURNED, longest]
    kind, text = await failure(performing.start("returns", a_work(payload=RESULT_LIMIT + 1_000), 1))
    assert (kind, text.partition(" bytes, over the limit of ")[1]) == (
        "BadResult",
        " bytes, over the limit of ",
    )


# What a function tells -----------------------------------------------------------------------------


async def test_what_is_told_is_heard_in_order_and_before_the_end(only_child):
    values = [None, 1.5, "\0ä\U0001f600", {"deep": [[]]}, *range(500), "x" * (16 * 1024 - 2)]
    heard = []
    call = only_child.start("tell", *values, hear=heard.append)
    call._end.add_done_callback(lambda _: heard.append("the end"))
    assert await result(call) == "told"
    assert heard == [*values, "the end"]
    assert await result(only_child.start("tell", "to nobody")) == "told"


async def test_what_is_told_is_heard_while_the_function_runs(only_child, tmp_path):
    (file := tmp_path / "word").touch()
    heard = []
    call = only_child.start("tell_and_wait_for", "halfway", str(file), hear=heard.append)
    await until(lambda: heard)
    assert heard == ["halfway"]
    assert not call.over
    file.write_text("go on")
    await result(call)


async def test_what_is_told_before_a_death_is_heard_before_it(only_child):
    heard = []
    assert await death(only_child.start("tell_and_leave", 1, hear=heard.append)) == ("exited with 3", 3)
    assert heard == [1]


async def test_every_thread_may_tell(only_child):
    heard = []
    await result(only_child.start("tell_from_threads", 4, 200, hear=heard.append))
    assert len(heard) == 800
    for thread in range(4):
        assert [time for who, time in heard if who == thread] == list(range(200))


@pytest.mark.parametrize(
    ("expression", "kind", "complaint"),
    [
        ("object()", "TypeError", "Object of type object is not JSON serializable"),
        ("float('nan')", "ValueError", "Out of range"),
        (r"'\ud800'", "UnicodeEncodeError", "'utf-8' codec can't encode"),
        ("nested(100_000)", "ValueError", "not JSON: nested too deeply"),
        ("'x' * (16 * 1024 - 1)", "ValueError", "16385 bytes of JSON, over the limit of 16384"),
    ],
)
async def test_what_cannot_be_told_is_an_error_in_the_function(only_child, expression, kind, complaint):
    heard = []
    told = await failure(only_child.start("tell_what_is", expression, hear=heard.append))
    assert told[0] == kind
    assert told[1].startswith(complaint)
    assert heard == []
    assert await result(only_child.start("echo", 1)) == [1]


async def test_a_thread_that_goes_on_after_the_end_reaches_nobody(only_child, tmp_path):
    (word := tmp_path / "word").touch()
    (told := tmp_path / "told").touch()
    before, after = [], []
    call = only_child.start("leave_one_behind", str(word), str(told), hear=before.append)
    next_call = only_child.start("tell_beside_one_behind", [1, 2, 3], hear=after.append)
    await started(call)
    word.write_text("go on")
    # Held up here, the loop hears of the end, and then gives the next call to this child, only when
    # the thread has spoken.
    while not told.stat().st_size:
        time.sleep(0.005)  # noqa: ASYNC251  see above
    assert await result(call) == await result(next_call)
    assert before == []
    assert after == [1, 2, 3]


async def test_a_fork_tells_nothing(only_child):
    heard = []
    assert await result(only_child.start("fork_and_tell", hear=heard.append)) == 0
    assert heard == ["before"]
    assert await result(only_child.start("echo", 1)) == [1]


async def test_a_signal_handler_may_tell_and_raise_in_the_middle_of_telling(only_child):
    heard = []
    await result(only_child.start("tell_out_of_signals", 200, hear=heard.append))
    # One that interrupts another may be heard before it.
    assert sorted(value for value in heard if value != "x" * 16_000) == list(range(200))
    assert await result(only_child.start("echo", 1)) == [1]


async def test_an_error_of_who_hears_is_not_the_childs(only_child):
    loop, errors = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    try:
        assert await result(only_child.start("tell", 1, 2, hear=[].remove)) == "told"
    finally:
        loop.set_exception_handler(None)
    assert [type(error["exception"]) for error in errors] == [ValueError, ValueError]
    assert errors[0]["message"] == "what a child told was not heard"
    assert await result(only_child.start("echo", 1)) == [1]


# A call that is warned -----------------------------------------------------------------------------


async def test_a_function_sees_that_it_is_warned_and_may_end_well(only_child):
    call = await started(only_child.start("wait_for_warning"))
    (child,) = living()
    call.warn(LONG_S)
    assert await result(call) == child
    assert await result(only_child.start("was_warned")) == [child, False]


async def test_who_does_not_heed_a_warning_is_killed_after_the_grace(neighbour):
    call = await started(neighbour.start("loop_for_ever"))
    warned_at = time.monotonic()
    call.warn(0.5)
    assert await death(call) == KILLED
    assert time.monotonic() - warned_at >= 0.5
    assert await result(neighbour.start("echo", 1)) == [1]


@pytest.mark.parametrize("graces", [(0,), (LONG_S, 0), (LONG_S, 0.1), (0.1, LONG_S)])
async def test_the_earliest_end_of_a_grace_counts(neighbour, graces):
    call = await started(neighbour.start("sleep_for_ever"))
    for grace_s in graces:
        call.warn(grace_s)
    assert await death(call) == KILLED


async def test_a_call_in_its_grace_takes_no_slot_and_its_child_goes_if_that_is_taken(only_child, tmp_path):
    (first := tmp_path / "first").touch()
    (second := tmp_path / "second").touch()
    warned = await started(only_child.start("wait_for_warning_and", str(first)))
    (its_child,) = living()
    following, last = only_child.start("wait_for", str(second)), only_child.start("pid")
    warned.warn(LONG_S)
    await started(following)
    assert not last.begun
    assert len(living()) == 2
    second.write_text("go on")
    successor = await result(following)
    assert await result(last) == successor != its_child
    assert not warned.over
    first.write_text("go on")
    assert await result(warned) == its_child
    await until(lambda: gone(its_child))
    assert await result(only_child.start("pid")) == successor


async def test_no_more_than_the_slots_have_their_grace(raised):
    children = raised(2)
    calls = [children.start("loop_for_ever") for _ in range(4)]
    for call in calls[:2]:
        await started(call)
        call.warn(LONG_S)
    for call in calls[2:]:
        await started(call)
    assert len(living()) == 4
    waiting = children.start("echo", 1)
    calls[0].warn(LONG_S)  # again, which does not make it the last
    calls[3].warn(LONG_S)
    assert len(children._alive) == 4  # until one of them is gone
    assert await death(calls[0]) == KILLED
    assert await result(waiting) == [1]
    assert not any(call.over for call in calls[1:])
    calls[2].warn(LONG_S)
    assert await death(calls[1]) == KILLED
    assert not any(call.over for call in calls[2:])


async def test_a_warning_that_comes_late_is_not_for_the_next_call(only_child, tmp_path):
    (file := tmp_path / "word").touch()
    call = await started(only_child.start("wait_for", str(file)))
    (child,) = only_child._alive
    file.write_text("go on")
    # Held up here, the loop has not heard of the end that is waiting to be read.
    assert select.select([child._process._link._socket], [], [], PATIENCE_S)[0]
    call.warn(LONG_S)
    child = await result(call)
    assert await result(only_child.start("was_warned")) == [child, False]
    again = await started(only_child.start("wait_for_warning"))
    call.warn(0)
    again.warn(LONG_S)
    assert await result(again) == child


async def test_a_call_that_waits_is_killed_by_a_warning(only_child):
    busy = await started(only_child.start("loop_for_ever"))
    waiting, last = only_child.start("pid"), only_child.start("echo", 1)
    waiting.warn(LONG_S)
    assert waiting.over
    assert await death(waiting) == ("killed before it started", None)
    busy.warn(LONG_S)
    assert await result(last) == [1]
    assert not busy.over


async def test_a_call_whose_child_starts_is_killed_by_a_warning(raised):
    children = raised(prepare=errands.prepare_for_ever)
    call = children.start("pid")
    call.warn(LONG_S)
    assert await death(call) == KILLED


async def test_a_call_that_was_warned_is_not_given_to_another_child(only_child):
    child = await result(only_child.start("pid"))
    os.kill(child, signal.SIGSTOP)
    call = only_child.start("pid")
    call.warn(LONG_S)
    os.kill(child, signal.SIGKILL)
    assert await death(call) == KILLED
    assert await result(only_child.start("pid")) != child


async def test_closing_does_not_wait_for_a_grace(raised):
    children = raised()
    call = await started(children.start("loop_for_ever"))
    call.warn(LONG_S)
    await asyncio.wait_for(children.close(), PATIENCE_S)
    assert await death(call) == KILLED
    assert living() == []


# With its parent -----------------------------------------------------------------------------------


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
        try:
            assert parent.stdout is not None
            last = errands.json.loads(parent.stdout.readline())["pid"]
            children = [child.pid for child in psutil.Process(parent.pid).children()]
            assert last in children
            assert len(children) == len(errands.FOR_EVER) + 1
        finally:
            parent.kill()
        # The pipe ends when the last process that could print into it has ended.
        assert parent.stdout.read() == ""
    # Of each of its files a process lets go a moment before it is gone.
    running.until(lambda: all(gone(child) for child in children), "the children to be gone")
