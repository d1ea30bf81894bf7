"""One performance of a handler."""

import asyncio
import contextlib
import gc
import itertools
from collections import defaultdict
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

import pytest

from hasty.actors.perform import RESULT_LIMIT, Ending, Performance, closed, given_up, without_handler
from hasty.actors.stages import InLoop, Play, Raised
from hasty.errors import BadResult, ChildDied, InvalidRequest
from hasty.flight import SIZE, FlightRecorder
from hasty.handlers import Handler, JobContext, Term
from hasty.handlers.catalogue import Retrying
from hasty.job import Cause, Outcome, Status, Window
from hasty.testing import VirtualClock
from tests.unit.examples import VIRTUAL_BEGINNING, a_work, virtually
from tests.unit.system import running

WORK = a_work(timeout_s=46.0, payload={"a": 1})


def perform(function, work=WORK, attempt=2, clock_type=VirtualClock, **limits):
    """A performance in this loop; its term begins now, as that of a worker does."""
    handler = Handler(name="h", function=function, timeout_s=1.0, window=Window(1.0), **limits)
    clock = clock_type(asyncio.get_running_loop())
    term = Term(clock, timeout_s=work.timeout_s, max_timeout_s=handler.max_timeout_s)
    play = InLoop(FlightRecorder(bytearray(SIZE))).play(handler, work, attempt, "claim-1", term)
    stall_s = handler.stall_timeout_s
    return Performance(play, work, attempt, term=term, stall_s=stall_s, clock=clock, worker="worker-1")


async def outcome_of(performance):
    """How it ends by itself, and for good."""
    ending = await performance.ending()
    assert ending == Ending(ending.outcome)
    return ending.outcome


def returning(result):
    async def handler(_context, _payload):
        return result

    return handler


def raising(error):
    async def handler(_context, _payload):
        raise error

    return handler


def moment(seconds):
    """What the clock shows so many seconds after the loop began."""
    return VIRTUAL_BEGINNING + timedelta(seconds=seconds)


@virtually
async def test_what_a_handler_returns_is_the_outcome():
    async def handler(context, payload):
        await asyncio.sleep(10)
        return {"payload": payload, "attempt": context.attempt}

    await asyncio.sleep(5)
    outcome = await outcome_of(perform(handler))
    result = {"payload": {"a": 1}, "attempt": 2}
    assert outcome == Outcome(Status.FINISHED, moment(15), result, None, 2, moment(5), "worker-1")


@virtually
async def test_a_handler_is_told_about_its_job():
    told = []

    async def handler(*arguments):
        told.append(arguments)

    await outcome_of(perform(handler))
    term = Term(VirtualClock(asyncio.get_running_loop()), timeout_s=46.0)
    assert told == [(JobContext.of(WORK, 2, term), {"a": 1})]


@pytest.mark.parametrize("result", [None, 0, "", [], {"a": [1, 2.5, None, True, "ü"]}, 2**80])
@virtually
async def test_any_json_is_a_result(result):
    outcome = await outcome_of(perform(returning(result)))
    assert (outcome.status, outcome.result, outcome.error) == (Status.FINISHED, result, None)


@pytest.mark.parametrize(
    "number",
    [10**4_299, -(10**4_300) + 1, 2**63, -(2**63) - 1, -0.0, 5e-324, 0.1, 1e23, 1.7976931348623157e308],
    ids=lambda number: repr(number)[:24],
)
@virtually
async def test_a_number_is_kept_as_it_is(number):
    outcome = await outcome_of(perform(returning([number])))
    assert repr(outcome.result) == repr([number])


class Colour(StrEnum):
    RED = "red"


class Size(NamedTuple):
    width: int
    height: int


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        (defaultdict(lambda: 0, a=1), {"a": 1}),
        ({Colour.RED: Colour.RED}, {"red": "red"}),
        ([Size(1, 2)], [[1, 2]]),
    ],
    ids=["cannot be pickled", "a class of the user's", "another class of the user's"],
)
@virtually
async def test_of_a_result_its_json_is_kept_and_nothing_of_a_users_own_class(result, kept):
    outcome = await outcome_of(perform(returning(result)))
    assert repr(outcome.result) == repr(kept)


@virtually
async def test_a_result_is_what_it_was_when_the_handler_returned():
    shared = {"done": 1}
    outcome = await outcome_of(perform(returning(shared)))
    shared["at"] = VIRTUAL_BEGINNING
    assert outcome.result == {"done": 1}


class Slower(VirtualClock):
    """As time looks to a loop whose timers are early: uvloop's count whole milliseconds."""

    def monotonic(self):
        return super().monotonic() * 0.9999


@virtually
async def test_no_attempt_is_cancelled_before_its_timeout_also_where_timers_are_early():
    async def for_ever(_context, _payload):
        await asyncio.Event().wait()

    performance = perform(for_ever, clock_type=Slower)
    outcome = await outcome_of(performance)
    assert outcome.status == Status.CANCELLED
    assert outcome.ended_at - outcome.started_at == timedelta(seconds=46)
    assert await performance.stop(1.0)


@virtually
async def test_a_handler_that_raises_has_failed():
    async def handler(_context, _payload):
        await asyncio.sleep(10)
        raise KeyError("no such video")

    outcome = await outcome_of(perform(handler))
    error = {"type": "KeyError", "message": "'no such video'"}
    assert outcome == Outcome(Status.FAILED, moment(10), None, error, 2, moment(0), "worker-1")


@virtually
async def test_what_an_error_says_is_cut_to_two_thousand_characters():
    outcome = await outcome_of(perform(raising(ValueError("ü" * 5_000))))
    assert outcome.error == {"type": "ValueError", "message": "ü" * 2_000}


@virtually
async def test_what_an_error_says_can_always_be_stored():
    outcome = await outcome_of(perform(raising(ValueError("half \ud83d a pair \0"))))
    assert outcome.error == {"type": "ValueError", "message": "half ? a pair \0"}
    outcome.error["message"].encode()


@virtually
async def test_the_name_of_an_error_is_cut_to_two_hundred_characters():
    outcome = await outcome_of(perform(raising(type("Made" * 5_000, (Exception,), {})("no"))))
    assert outcome.error == {"type": "Made" * 50, "message": "no"}


class Mute(Exception):
    def __str__(self):
        raise ValueError("this error cannot even say what it is")


@virtually
async def test_an_error_that_cannot_say_what_it_is_is_named():
    outcome = await outcome_of(perform(raising(Mute())))
    assert (outcome.status, outcome.error) == (Status.FAILED, {"type": "Mute", "message": ""})


def early(_context, _payload):
    raise KeyError("early")


def no_coroutine(_context, _payload):
    return 7


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (early, "KeyError", "'early'"),
        (no_coroutine, "TypeError", "object int can't be used in 'await' expression"),
        (lambda: None, "TypeError", "<lambda>() takes 0 positional arguments but 2 were given"),
        (raising(SystemExit(3)), "SystemExit", "3"),
        (raising(KeyboardInterrupt()), "KeyboardInterrupt", ""),
        (raising(StopIteration(1)), "RuntimeError", "coroutine raised StopIteration"),
    ],
    ids=["raises when called", "no coroutine", "wrong signature", "exit", "interrupt", "stop iteration"],
)
def test_whatever_a_handler_does_wrong_is_its_own_failure(function, kind, message):
    @virtually
    async def scenario():
        outcome = await outcome_of(perform(function))
        assert (outcome.status, outcome.error["type"]) == (Status.FAILED, kind)
        assert outcome.error["message"].endswith(message)

    scenario()


@virtually
async def test_a_job_whose_handler_breaks_in_the_worst_way_ends_at_its_first_attempt():
    starts = []

    async def handler(context, _payload):
        starts.append(context.attempt)
        raise Mute

    async with running(function=handler) as (_, client):
        await client.post("/", json={"object_id": "x"})
        await asyncio.sleep(60)
        assert (await client.get("/job-1")).json()["message"]["status"] == "failed"
        assert starts == [1]


@virtually
async def test_a_handler_that_overruns_is_cancelled_but_stopped_only_when_that_is_on_record():
    stopped_at = []

    async def handler(_context, _payload):
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            stopped_at.append(asyncio.get_running_loop().time())
            raise

    performance = perform(handler)
    outcome = await outcome_of(performance)
    error = {"type": "Timeout", "message": "ran longer than 46 s"}
    assert outcome == Outcome(Status.CANCELLED, moment(46), None, error, 2, moment(0), "worker-1")
    await asyncio.sleep(4)
    assert stopped_at == []
    assert not performance.over
    assert await performance.stop(5)
    await asyncio.sleep(0)
    assert stopped_at == [50.0]


@pytest.mark.parametrize(("lasts_s", "status"), [(45.999, "finished"), (46.001, "cancelled")])
@virtually
async def test_the_timeout_is_the_jobs_own_and_counts_from_the_start(lasts_s, status):
    async def handler(_context, _payload):
        await asyncio.sleep(lasts_s)

    assert (await outcome_of(perform(handler))).status == status
    assert asyncio.get_running_loop().time() == min(lasts_s, 46)


@virtually
async def test_a_fraction_of_a_second_is_told_as_it_is():
    outcome = await outcome_of(perform(lambda *_: asyncio.sleep(9), a_work(timeout_s=0.25)))
    assert outcome.error == {"type": "Timeout", "message": "ran longer than 0.25 s"}


@virtually
async def test_a_handler_that_does_not_listen_when_it_is_stopped_changes_nothing():
    async def handler(_context, _payload):
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                return "too late"

    performance = perform(handler)
    outcome = await outcome_of(performance)
    assert await performance.stop(5)
    assert (outcome.status, outcome.result) == (Status.CANCELLED, None)


@virtually
async def test_a_handler_that_goes_on_when_it_is_stopped_is_told_of():
    async def handler(_context, _payload):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        await asyncio.sleep(100)

    performance = perform(handler)
    assert (await outcome_of(performance)).status is Status.CANCELLED
    assert not await performance.stop(5)
    # One that can be killed needs a moment more than its grace.
    assert asyncio.get_running_loop().time() == 52


@virtually
async def test_stopping_a_handler_that_has_ended_changes_nothing():
    performance = perform(returning(1))
    outcome = await outcome_of(performance)
    assert await performance.stop(5)
    assert await outcome_of(performance) == outcome


@virtually
async def test_a_handler_that_cancels_itself_has_failed():
    async def handler(_context, _payload):
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    outcome = await outcome_of(perform(handler))
    error = {"type": "Cancelled", "message": "the handler cancelled itself"}
    assert (outcome.status, outcome.error) == (Status.FAILED, error)


CIRCLE: list = []
CIRCLE.append(CIRCLE)
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]


def nested(levels: int) -> list:
    inner: list = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({1, 2}, "not JSON: Object of type set is not JSON serializable"),
        ({"at": b"x"}, "not JSON: Object of type bytes is not JSON serializable"),
        ({(1, 2): 3}, "not JSON: keys must be str, int, float, bool or None, not tuple"),
        (float("nan"), "not JSON: Out of range float values are not JSON compliant"),
        ([float("inf")], "not JSON: Out of range float values are not JSON compliant"),
        (CIRCLE, "not JSON: Circular reference detected"),
        (DEEP, "not JSON: maximum recursion depth exceeded while encoding a JSON object"),
        (nested(202), "not JSON: recursion limit exceeded"),
        ({"title": "half \ud83d a pair"}, "not JSON: 'utf-8' codec can't encode character"),
        (10**5_000, "not JSON: Exceeds the limit (4300 digits) for integer string conversion"),
    ],
    ids=["set", "bytes", "tuple key", "nan", "inf", "circle", "deep", "nested", "half a pair", "long number"],
)
@virtually
async def test_a_result_that_is_not_json_is_a_failure_of_the_handler(result, why):
    outcome = await outcome_of(perform(returning(result)))
    assert (outcome.status, outcome.result, outcome.error["type"]) == (Status.FAILED, None, "BadResult")
    assert outcome.error["message"].startswith(why)


class Broken(dict):
    """Raises where it is written as JSON."""

    def __init__(self, error):
        super().__init__(a=1)
        self._error = error

    def items(self):
        raise self._error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RuntimeError("changed meanwhile"), "not JSON: changed meanwhile"),
        (SystemExit(3), "not JSON: 3"),
        (Mute(), "not JSON: "),
    ],
    ids=lambda value: type(value).__name__,
)
@virtually
async def test_whatever_a_result_raises_when_it_is_written_is_a_failure_of_the_handler(error, why):
    outcome = await outcome_of(perform(returning(Broken(error))))
    assert (outcome.status, outcome.error) == (Status.FAILED, {"type": "BadResult", "message": why})


@virtually
async def test_a_result_may_be_nested_as_deeply_as_a_payload():
    outcome = await outcome_of(perform(returning(nested(201))))
    assert (outcome.status, outcome.result) == (Status.FINISHED, nested(201))


@virtually
async def test_a_result_may_be_as_long_as_its_limit_and_no_longer():
    fits, too_long = "x" * (RESULT_LIMIT - 2), "x" * (RESULT_LIMIT - 1)
    assert RESULT_LIMIT == 262_144
    assert (await outcome_of(perform(returning(fits)))).result == fits
    assert (await outcome_of(perform(returning("ü" * 131_071)))).result == "ü" * 131_071
    outcome = await outcome_of(perform(returning(too_long)))
    error = {"type": "BadResult", "message": "262145 bytes, over the limit of 262144"}
    assert (outcome.status, outcome.result, outcome.error) == (Status.FAILED, None, error)


@virtually
async def test_a_job_whose_handler_is_not_known_here_has_failed():
    clock = VirtualClock(asyncio.get_running_loop())
    error = {"type": "NoHandler", "message": "no handler is registered under the name 'gone'"}
    assert without_handler(a_work(handler="gone"), 3, clock, "worker-1") == Outcome(
        Status.FAILED, clock.now(), None, error, 3, clock.now(), "worker-1"
    )


@pytest.mark.parametrize(
    ("status", "opens_at"), [(Status.FAILED, VIRTUAL_BEGINNING), (Status.CANCELLED, moment(300))]
)
@virtually
async def test_an_end_without_an_attempt_moves_the_window_as_any_other(status, opens_at):
    clock = VirtualClock(asyncio.get_running_loop())
    work = a_work(window=Window(300.0, from_end=True, after=(Status.CANCELLED,)))
    assert closed(work, status, clock.now(), {}).opens_at == opens_at
    assert given_up(work, [Cause.CRASHED], clock).opens_at == VIRTUAL_BEGINNING
    assert without_handler(work, 1, clock, "worker-1").opens_at == VIRTUAL_BEGINNING


# When the window opens, and whether another attempt follows --------------------------------------


@virtually
async def test_the_end_says_when_the_window_opens_where_that_is_for_the_end_to_say():
    async def handler(_context, fails):
        await asyncio.sleep(10)
        if fails:
            raise KeyError

    work = a_work(payload=False, window=Window(300.0, from_end=True, after=(Status.FINISHED,)))
    assert (await outcome_of(perform(handler, work))).opens_at == moment(310)
    assert (await outcome_of(perform(handler, work._replace(payload=True)))).opens_at == moment(20)
    assert (await outcome_of(perform(handler, work._replace(window=None)))).opens_at is None


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (KeyError(), True),
        (LookupError(), True),
        (ValueError(), False),
        # No different the next time, whatever the handler says.
        (InvalidRequest("a field"), False),
        (BadResult("a field"), False),
        (SystemExit(3), False),
    ],
)
@virtually
async def test_an_error_is_retried_if_the_handler_says_so_of_its_class(error, retry):
    retrying = Retrying(3, on=(LookupError, InvalidRequest, BadResult))
    ending = await perform(raising(error), retry=retrying).ending()
    assert (ending.outcome.status, ending.retry, ending.recorded) == (Status.FAILED, retry, False)


@virtually
async def test_nothing_but_an_error_is_retried():
    async def cancels_itself(_context, _payload):
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    for function in (cancels_itself, returning({1, 2}), lambda *_: asyncio.sleep(100)):
        ending = await perform(function, retry=Retrying(3)).ending()
        assert ending.outcome.status is not Status.FINISHED
        assert not ending.retry


# More time, and silence --------------------------------------------------------------------------


@virtually
async def test_a_handler_may_ask_for_more_time_while_it_runs():
    async def handler(context, _payload):
        await asyncio.sleep(40)
        context.extend(30)
        await asyncio.sleep(29)
        return context.remaining()

    outcome = await outcome_of(perform(handler, max_timeout_s=100.0))
    assert (outcome.status, outcome.result, outcome.ended_at) == (Status.FINISHED, 1.0, moment(69))


@virtually
async def test_one_that_asks_for_ever_is_cancelled_at_its_longest_timeout():
    async def handler(context, _payload):
        while True:
            context.extend(30)
            await asyncio.sleep(10)

    performance = perform(handler, max_timeout_s=100.0)
    outcome = await outcome_of(performance)
    error = {"type": "Timeout", "message": "ran longer than 100 s"}
    assert (outcome.status, outcome.error, outcome.ended_at) == (Status.CANCELLED, error, moment(100))
    assert await performance.stop(5)


@virtually
async def test_one_that_is_silent_for_too_long_is_cancelled():
    async def handler(context, _payload):
        await asyncio.sleep(8)
        context.progress(0.5)
        await asyncio.sleep(30)

    performance = perform(handler, stall_timeout_s=9.0)
    outcome = await outcome_of(performance)
    error = {"type": "Stalled", "message": "reported no progress for 9 s"}
    assert (outcome.status, outcome.error, outcome.ended_at) == (Status.CANCELLED, error, moment(17))
    assert await performance.stop(5)


@virtually
async def test_one_that_reports_in_time_runs_as_long_as_it_may_and_no_longer():
    async def handler(context, _payload):
        while True:
            await asyncio.sleep(8.9)
            context.progress()

    performance = perform(handler, stall_timeout_s=9.0)
    outcome = await outcome_of(performance)
    assert (outcome.error["type"], outcome.ended_at) == ("Timeout", moment(46))
    assert await performance.stop(5)


@virtually
async def test_more_time_is_no_word_of_progress():
    async def handler(context, _payload):
        await asyncio.sleep(5)
        context.extend(90)
        await asyncio.sleep(80)

    performance = perform(handler, stall_timeout_s=9.0, max_timeout_s=100.0)
    outcome = await outcome_of(performance)
    assert (outcome.error["type"], outcome.ended_at) == ("Stalled", moment(9))
    assert await performance.stop(5)


class Ticking(VirtualClock):
    """A clock on which a little time passes between two looks, as on every real one."""

    def __init__(self, loop):
        super().__init__(loop)
        self._looks = itertools.count()

    def monotonic(self):
        return super().monotonic() + next(self._looks) * 0.0001


@virtually
async def test_a_timeout_is_told_and_lasts_as_it_was_set_though_time_passes_before_the_handler_begins():
    performance = perform(lambda *_: asyncio.sleep(100), clock_type=Ticking)
    outcome = await outcome_of(performance)
    assert outcome.error == {"type": "Timeout", "message": "ran longer than 46 s"}
    assert outcome.ended_at - outcome.started_at >= timedelta(seconds=46)
    assert await performance.stop(5)


# In a child, and dismissed -----------------------------------------------------------------------


class Child:
    """A handler elsewhere: it begins and ends when told, and notes how it was stopped."""

    def __init__(self, *, stall_s=None, max_timeout_s=None):
        loop = asyncio.get_running_loop()
        clock = VirtualClock(loop)
        self.begun, self.end = loop.create_future(), loop.create_future()
        self.stopped = []
        self.term = Term(clock, timeout_s=46.0, max_timeout_s=max_timeout_s)
        self.task = asyncio.ensure_future(self._run())
        self.performance = Performance(
            Play(self.task, self.stopped.append, self.begun),
            WORK,
            2,
            term=self.term,
            stall_s=stall_s,
            clock=clock,
            worker="worker-1",
        )
        self.ending = asyncio.ensure_future(self.performance.ending())

    async def _run(self):
        return await self.end


#: How a job ended otherwise: somebody cancelled it.
OTHERWISE = Outcome(Status.CANCELLED, moment(1), None, {"type": "CancelRequested", "message": ""})


@virtually
async def test_waiting_for_a_place_does_not_count():
    child = Child(stall_s=20.0)
    await asyncio.sleep(100)
    assert not child.ending.done()
    child.begun.set_result(None)
    outcome = (await child.ending).outcome
    assert (outcome.started_at, outcome.ended_at) == (moment(100), moment(120))
    assert outcome.error["type"] == "Stalled"


@virtually
async def test_more_time_that_a_handler_asks_for_with_its_first_breath_counts():
    """A child says that it begins, and what its handler tells, in one go: both are read at once."""
    child = Child(max_timeout_s=300.0)
    await asyncio.sleep(10)
    child.begun.set_result(None)
    child.term.extend_until(10 + 200.0)
    await asyncio.sleep(100)
    assert not child.ending.done()
    child.end.set_result("done")
    assert (await child.ending).outcome.result == "done"


@virtually
async def test_a_child_that_dies_leaves_no_outcome():
    child = Child()
    child.begun.set_result(None)
    child.end.set_exception(ChildDied("killed by signal 9"))
    with pytest.raises(ChildDied, match="killed by signal 9"):
        await child.ending


@pytest.mark.parametrize("begun", [False, True], ids=["it waits for its place", "it runs"])
@virtually
async def test_one_that_is_dismissed_is_waited_for_no_longer_and_not_stopped_yet(begun):
    child = Child()
    if begun:
        child.begun.set_result(None)
    await asyncio.sleep(5)
    assert not child.ending.done()
    child.performance.dismiss(OTHERWISE)
    child.performance.dismiss(OTHERWISE._replace(status=Status.FAILED))
    assert await child.ending == Ending(OTHERWISE, recorded=True)
    assert (child.stopped, child.performance.over, child.term.over) == ([], False, False)


@virtually
async def test_of_an_end_and_a_dismissal_that_come_together_the_ledgers_word_holds():
    child = Child()
    child.begun.set_result(None)
    child.end.set_result("done")
    child.performance.dismiss(OTHERWISE)
    assert await child.ending == Ending(OTHERWISE, recorded=True)


@virtually
async def test_a_dismissal_that_comes_after_the_end_changes_nothing():
    child = Child()
    child.begun.set_result(None)
    child.end.set_result("done")
    ending = await child.ending
    child.performance.dismiss(OTHERWISE)
    assert (ending.outcome.status, ending.recorded) == (Status.FINISHED, False)
    assert child.performance.over


def test_a_child_that_dies_as_its_job_is_dismissed_is_no_error_that_nobody_heard_of():
    """Not in virtual time: that loop holds its tasks, and so never learns what nobody heard."""
    unheard = []

    async def scenario():
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unheard.append(context))
        child = Child()
        child.begun.set_result(None)
        child.end.set_exception(ChildDied("exited with 3"))
        child.performance.dismiss(OTHERWISE)
        assert (await child.ending).recorded
        assert child.performance.over

    asyncio.run(scenario())
    gc.collect()
    assert unheard == []


@virtually
async def test_who_is_stopped_hears_it_with_the_whole_grace_and_is_seen_to_end():
    child = Child()
    child.begun.set_result(None)
    await asyncio.sleep(1)
    stopping = asyncio.ensure_future(child.performance.stop(30.0))
    await asyncio.sleep(0)
    assert (child.stopped, child.term.over) == ([30.0], True)
    await asyncio.sleep(29)
    assert not stopping.done()
    child.end.set_result("tidied up")
    assert await stopping


@virtually
async def test_one_that_is_killed_at_the_end_of_its_grace_is_gone():
    child = Child()
    child.begun.set_result(None)
    asyncio.get_running_loop().call_later(30.5, child.end.set_exception, ChildDied("killed by signal 9"))
    assert await child.performance.stop(30.0)


@virtually
async def test_what_an_attempt_raised_says_whether_it_may_be_retried_wherever_it_ran():
    child = Child()
    child.begun.set_result(None)
    child.end.set_result(Raised("KeyError", "'x'", retry=True))
    ending = await child.ending
    assert (ending.outcome.error, ending.retry) == ({"type": "KeyError", "message": "'x'"}, True)
