"""A call of a function in a child: there, back, and what may go wrong in it."""

import asyncio
import os
import signal
import socket
from functools import partial

import pytest

from hasty.children import Children, inside
from hasty.errors import HandlerRaised
from tests.contract import errands
from tests.contract.raising import PATIENCE_S, death, failure, living, result, started


@pytest.fixture(scope="module")
async def children():
    """One child for the whole module: whatever a call does, the next one must work in it."""
    children = Children(1, errands.prepare, result_limit=1_000_000)
    child = await result(children.start("pid"))
    yield children
    assert await result(children.start("pid")) == child
    await asyncio.wait_for(children.close(), PATIENCE_S)
    assert living() == []


async def test_a_function_runs_in_another_process_which_stays_warm(children):
    pids = {await result(children.start("pid")) for _ in range(3)}
    assert pids == set(living())
    assert os.getpid() not in pids


async def test_json_goes_there_and_back(children):
    things = [None, True, 1.5, 10**40, "\0ä\U0001f600", [], {}]
    payload = {"": things, "deep": {"er": [[]]}, "long": "x" * 400_000}
    assert await result(children.start("echo", payload, things)) == [payload, things]


async def test_an_end_may_be_asked_for_again(children):
    call = children.start("raise_built_in", "ValueError", "no")
    assert await failure(call) == await failure(call) == ("ValueError", "no")


async def test_an_end_that_nobody_asks_for_is_no_warning(children):
    children.start("raise_built_in", "ValueError", "nobody asks")
    assert await result(children.start("echo", 1)) == [1]


async def test_who_stops_waiting_stops_nothing(children, tmp_path):
    (file := tmp_path / "word").touch()
    call = await started(children.start("wait_for", str(file)))
    waiting = asyncio.ensure_future(call.result())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    file.write_text("go on")
    assert await result(call) in living()


async def test_to_kill_a_call_that_is_over_hurts_nobody(children, tmp_path):
    (file := tmp_path / "word").touch()
    over = children.start("pid")
    child = await result(over)
    call = await started(children.start("wait_for", str(file)))
    over.kill()
    file.write_text("go on")
    assert await result(call) == child


async def test_an_argument_that_cannot_be_sent_is_the_callers_error(children):
    with pytest.raises((TypeError, AttributeError)):
        children.start("echo", lambda: 0)


@pytest.mark.parametrize(
    ("errand", "arguments", "expected"),
    [
        ("raise_unpicklable", (), ("Unpicklable", "one and two")),
        ("raise_speechless", (), ("Speechless", "")),
        ("raise_built_in", ("SystemExit", "enough"), ("SystemExit", "enough")),
        ("raise_built_in", ("KeyboardInterrupt",), ("KeyboardInterrupt", "")),
        ("raise_built_in", ("ValueError", "x" * 9_000), ("ValueError", "x" * 2_000)),
        ("raise_built_in", ("ValueError", "\udc80"), ("ValueError", "\udc80")),
        ("evaluate", ("1/0",), ("ZeroDivisionError", "division by zero")),
        ("echo", (errands.Opened("evaluate", "1/0"),), ("ZeroDivisionError", "division by zero")),
        ("unheard_of", (), ("KeyError", "'unheard_of'")),
    ],
)
async def test_what_is_raised_arrives_as_name_and_text(children, errand, arguments, expected):
    assert await failure(children.start(errand, *arguments)) == expected


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("object()", "not JSON: Object of type object is not JSON serializable"),
        ("lambda: 0", "not JSON: Object of type function"),
        ("float('nan')", "not JSON: Out of range"),
        (r"'\ud800'", "not JSON: 'utf-8' codec can't encode"),
        ("nested(100_000)", "not JSON: maximum recursion depth"),
        ("'x' * 1_000_000", "1000002 bytes, over the limit of 1000000"),
    ],
)
async def test_a_result_that_cannot_be_sent_is_a_failure_and_says_so(children, expression, complaint):
    kind, text = await failure(children.start("evaluate", expression))
    assert kind == "BadResult"
    assert text.startswith(complaint)


async def test_a_result_that_can_be_written_but_not_read_is_refused(children):
    """How deep that is depends on both stacks; every depth has one of two ends."""
    for depth in range(800, 1000):
        try:
            assert await result(children.start("nested", depth)) == errands.nested(depth)
        except HandlerRaised as refused:
            assert refused.kind == "BadResult"  # noqa: PT017  raised or not, both are right


async def test_a_fork_that_returns_answers_nothing(children):
    assert await result(children.start("fork_and_return")) > 0
    assert await result(children.start("echo", 1)) == [1]


# What a child is given -----------------------------------------------------------------------------


async def test_a_child_leaves_ctrl_c_to_others(children, tmp_path):
    (file := tmp_path / "word").touch()
    call = await started(children.start("wait_for", str(file)))
    (child,) = living()
    os.kill(child, signal.SIGINT)
    file.write_text("go on")
    assert await result(call) == child
    assert os.getpgid(child) == child


async def test_a_child_does_not_import_our_main(children):
    assert await result(children.start("main_file")) == inside.__file__


async def test_a_child_has_none_of_our_open_files(raised):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        open_there = await result(raised().start("descriptors"))
    assert open_there[:3] == [0, 1, 2]
    assert len(open_there) == 4  # and its link to us


async def test_a_child_has_our_environment(only_child, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert await result(only_child.start("variable", "CUDA_VISIBLE_DEVICES")) == "3"


async def test_prepare_may_carry_what_it_needs(raised):
    children = raised(prepare=partial(dict, double=partial(errands.power, base=2)))
    assert await result(children.start("double", 5)) == 32


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (errands.prepare_in_vain, ("could not be prepared: ModuleNotFoundError: No module named 'torch'", 1)),
        (errands.prepare_and_exit, ("exited with 7", 7)),
    ],
)
async def test_a_child_that_cannot_be_prepared_says_why_to_each_call(raised, prepare, expected):
    children = raised(prepare=prepare)
    assert await death(children.start("pid")) == await death(children.start("pid")) == expected


async def test_preparing_has_its_time(raised):
    call = raised(prepare=errands.prepare_for_ever, ready_within_s=0.3).start("pid")
    assert await death(call) == ("not ready within 0.3 s", -9)
