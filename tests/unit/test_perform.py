"""One performance of a handler."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from hasty.actors.perform import RESULT_LIMIT, Performance, without_handler
from hasty.actors.stages import InLoop
from hasty.flight import SIZE, FlightRecorder
from hasty.handlers import Handler, JobContext
from hasty.job import Outcome, Status
from hasty.testing import VirtualClock
from tests.unit.examples import VIRTUAL_BEGINNING, a_work, virtually
from tests.unit.system import running

WORK = a_work(timeout_s=46.0, payload={"a": 1})


def perform(function, work=WORK, attempt=2, clock_type=VirtualClock):
    handler = Handler(name="h", function=function, timeout_s=1.0, rerun_window_s=1.0)
    clock = clock_type(asyncio.get_running_loop())
    stage = InLoop(FlightRecorder(bytearray(SIZE)))
    play = stage.play(handler, JobContext.of(work, attempt), work.payload, "claim-1")
    return Performance(play, work, attempt, clock=clock, worker="worker-1")


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
    outcome = await perform(handler).outcome()
    result = {"payload": {"a": 1}, "attempt": 2}
    assert outcome == Outcome(Status.FINISHED, moment(15), result, None, 2, moment(5), "worker-1")


@virtually
async def test_a_handler_is_told_about_its_job():
    told = []

    async def handler(*arguments):
        told.append(arguments)

    await perform(handler).outcome()
    assert told == [(JobContext.of(WORK, 2), {"a": 1})]


@pytest.mark.parametrize("result", [None, 0, "", [], {"a": [1, 2.5, None, True, "ü"]}, 2**80])
@virtually
async def test_any_json_is_a_result(result):
    outcome = await perform(returning(result)).outcome()
    assert (outcome.status, outcome.result, outcome.error) == (Status.FINISHED, result, None)


class Slower(VirtualClock):
    """As time looks to a loop whose timers are early: uvloop's count whole milliseconds."""

    def monotonic(self):
        return super().monotonic() * 0.9999


@virtually
async def test_no_attempt_is_cancelled_before_its_timeout_also_where_timers_are_early():
    async def for_ever(_context, _payload):
        await asyncio.Event().wait()

    performance = perform(for_ever, clock_type=Slower)
    outcome = await performance.outcome()
    assert outcome.status == Status.CANCELLED
    assert outcome.ended_at - outcome.started_at == timedelta(seconds=46)
    assert await performance.stop(1.0)


@virtually
async def test_a_handler_that_raises_has_failed():
    async def handler(_context, _payload):
        await asyncio.sleep(10)
        raise KeyError("no such video")

    outcome = await perform(handler).outcome()
    error = {"type": "KeyError", "message": "'no such video'"}
    assert outcome == Outcome(Status.FAILED, moment(10), None, error, 2, moment(0), "worker-1")


@virtually
async def test_what_an_error_says_is_cut_to_two_thousand_characters():
    outcome = await perform(raising(ValueError("ü" * 5_000))).outcome()
    assert outcome.error == {"type": "ValueError", "message": "ü" * 2_000}


@virtually
async def test_what_an_error_says_can_always_be_stored():
    outcome = await perform(raising(ValueError("half \ud83d a pair \0"))).outcome()
    assert outcome.error == {"type": "ValueError", "message": "half ? a pair \0"}
    outcome.error["message"].encode()


class Mute(Exception):
    def __str__(self):
        raise ValueError("this error cannot even say what it is")


@virtually
async def test_an_error_that_cannot_say_what_it_is_is_named():
    outcome = await perform(raising(Mute())).outcome()
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
        outcome = await perform(function).outcome()
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
    outcome = await performance.outcome()
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

    assert (await perform(handler).outcome()).status == status
    assert asyncio.get_running_loop().time() == min(lasts_s, 46)


@virtually
async def test_a_fraction_of_a_second_is_told_as_it_is():
    outcome = await perform(lambda *_: asyncio.sleep(9), a_work(timeout_s=0.25)).outcome()
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
    outcome = await performance.outcome()
    assert await performance.stop(5)
    assert (outcome.status, outcome.result) == (Status.CANCELLED, None)


@virtually
async def test_a_handler_that_goes_on_when_it_is_stopped_is_told_of():
    async def handler(_context, _payload):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        await asyncio.sleep(100)

    performance = perform(handler)
    assert (await performance.outcome()).status is Status.CANCELLED
    assert not await performance.stop(5)
    assert asyncio.get_running_loop().time() == 51


@virtually
async def test_stopping_a_handler_that_has_ended_changes_nothing():
    performance = perform(returning(1))
    outcome = await performance.outcome()
    assert await performance.stop(5)
    assert await performance.outcome() == outcome


@virtually
async def test_a_handler_that_cancels_itself_has_failed():
    async def handler(_context, _payload):
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    outcome = await perform(handler).outcome()
    error = {"type": "Cancelled", "message": "the handler cancelled itself"}
    assert (outcome.status, outcome.error) == (Status.FAILED, error)


CIRCLE: list = []
CIRCLE.append(CIRCLE)
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]


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
        ({"title": "half \ud83d a pair"}, "not JSON: 'utf-8' codec can't encode character"),
        (10**5_000, "not JSON: Exceeds the limit (4300 digits) for integer string conversion"),
    ],
    ids=["set", "bytes", "tuple key", "nan", "inf", "circle", "deep", "half a pair", "long number"],
)
@virtually
async def test_a_result_that_is_not_json_is_a_failure_of_the_handler(result, why):
    outcome = await perform(returning(result)).outcome()
    assert (outcome.status, outcome.result, outcome.error["type"]) == (Status.FAILED, None, "BadResult")
    assert outcome.error["message"].startswith(why)


@virtually
async def test_a_result_may_be_as_long_as_its_limit_and_no_longer():
    fits, too_long = "x" * (RESULT_LIMIT - 2), "x" * (RESULT_LIMIT - 1)
    assert RESULT_LIMIT == 262_144
    assert (await perform(returning(fits)).outcome()).result == fits
    assert (await perform(returning("ü" * 131_071)).outcome()).result == "ü" * 131_071
    outcome = await perform(returning(too_long)).outcome()
    error = {"type": "BadResult", "message": "262145 bytes, over the limit of 262144"}
    assert (outcome.status, outcome.result, outcome.error) == (Status.FAILED, None, error)


@virtually
async def test_a_job_whose_handler_is_not_known_here_has_failed():
    clock = VirtualClock(asyncio.get_running_loop())
    error = {"type": "NoHandler", "message": "no handler is registered under the name 'gone'"}
    assert without_handler(a_work(handler="gone"), 3, clock, "worker-1") == Outcome(
        Status.FAILED, clock.now(), None, error, 3, clock.now(), "worker-1"
    )
