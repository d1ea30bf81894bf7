"""`@hasty.handler`: what a function says of itself, and what hasty reads from it."""

import dataclasses
import functools
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict  # Python's own only from 3.12 on

import hasty
from hasty.clock import SystemClock
from hasty.errors import BadResult, FixTheHandler, InvalidRequest
from hasty.handlers import JobContext, Term
from hasty.handlers.catalogue import Retrying
from hasty.handlers.decorator import declaration_of
from hasty.job import Status, Window
from hasty.pools import DEFAULT_POOL
from tests.unit.examples import a_work, virtually

CONTEXT = JobContext.of(a_work("job-9"), 2, Term(SystemClock(), timeout_s=46.0))


class Order(BaseModel):
    items: list[str]
    width: int = 1


class Receipt(BaseModel):
    lines: int
    at: datetime | None = None


class Point(TypedDict):
    x: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime
    tags: set[str]


class Renamed(BaseModel):
    from_: int = Field(alias="from")


@dataclasses.dataclass
class Pair:
    left: int
    right: int


class Unready(BaseModel):
    lines: int

    @field_validator("lines")
    @classmethod
    def _look_up(cls, _lines):
        raise KeyError("lines")


def nested(levels):
    inner = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


CIRCLE: dict[str, Any] = {}
CIRCLE["a"] = CIRCLE


def registered(function, **limits):
    declaration = declaration_of(function)
    assert declaration is not None
    return declaration.handler(**({"timeout_s": 46.0, "rerun_window_s": 300.0} | limits))


# What is said ----------------------------------------------------------------------------------


def test_bare_a_handler_has_the_name_of_the_function_and_the_limits_of_the_settings():
    @hasty.handler
    async def invoice(): ...

    handler = registered(invoice, timeout_s=9.0, rerun_window_s=8.0)
    assert (handler.name, handler.function, handler.is_async) == ("invoice", invoice, True)
    assert (handler.timeout_s, handler.window, handler.max_crashes) == (9.0, Window(8.0), 3)
    assert handler.window.fixed
    assert (handler.max_timeout_s, handler.stall_timeout_s, handler.grace_s) == (None, None, 5.0)
    assert (handler.retry.retries, handler.retry.on) == (0, (Exception,))
    assert (handler.pool, handler.queue_timeout_s) == (DEFAULT_POOL, None)


def test_what_a_handler_says_of_itself_wins():
    @hasty.handler(name="shop.invoice-2", timeout=5, rerun_window=0, max_crashes=1)
    def invoice(): ...

    handler = registered(invoice)
    assert (handler.name, handler.is_async) == ("shop.invoice-2", False)
    assert (handler.timeout_s, handler.window, handler.max_crashes) == (5.0, Window(0.0), 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        handler.timeout_s = 7.0


def test_what_a_handler_says_of_its_time_its_retries_and_its_pool_is_kept():
    @hasty.handler(max_timeout=900, stall_timeout=20, grace=0, pool="gpu-2", queue_timeout=60.5)
    async def render(): ...

    handler = registered(render)
    assert (handler.timeout_s, handler.max_timeout_s) == (46.0, 900.0)
    assert (handler.stall_timeout_s, handler.grace_s) == (20.0, 0.0)
    assert (handler.pool, handler.queue_timeout_s) == ("gpu-2", 60.5)

    @hasty.handler(retries=4, backoff=0.5, backoff_cap=9, retry_on=(OSError, KeyError))
    async def fetch(): ...

    assert registered(fetch).retry == Retrying(4, 0.5, 9.0, (OSError, KeyError))
    assert registered(hasty.handler(retry_on=OSError)(fetch)).retry.on == (OSError,)


@pytest.mark.parametrize(
    ("options", "window"),
    [
        ({"window_from": "finished"}, Window(300.0, from_end=True)),
        ({"window_from": "accepted", "rerun_window": 9}, Window(9.0)),
        ({"window_after": ["failed", "cancelled", "finished"]}, Window(300.0)),
        ({"window_after": ("finished", "finished")}, Window(300.0, after=(Status.FINISHED,))),
        (
            {"window_after": ["finished", "cancelled"]},
            Window(300.0, after=(Status.CANCELLED, Status.FINISHED)),
        ),
        ({"window_after": []}, Window(300.0, after=())),
    ],
    ids=str,
)
def test_a_window_is_what_the_options_say_together(options, window):
    async def invoice(): ...

    found = registered(hasty.handler(**options)(invoice)).window
    assert found == window
    assert found.fixed == window.fixed


class Busy(ConnectionError): ...


@pytest.mark.parametrize(
    ("retrying", "error", "follows"),
    [
        (Retrying(1), ValueError(), True),
        (Retrying(0), ValueError(), False),
        (Retrying(1, on=(OSError, KeyError)), Busy(), True),
        (Retrying(1, on=(OSError, KeyError)), KeyError("k"), True),
        (Retrying(1, on=(OSError, KeyError)), ValueError(), False),
        (Retrying(1, on=()), ValueError(), False),
        # The process was to end: that is no error of the kind that passes.
        (Retrying(1), SystemExit(), False),
        (Retrying(1), KeyboardInterrupt(), False),
        # What does not fit now, will not fit then.
        (Retrying(1), InvalidRequest("payload: no"), False),
        (Retrying(1), BadResult("result: no"), False),
    ],
    ids=repr,
)
def test_an_attempt_is_followed_by_another_where_that_may_do_better(retrying, error, follows):
    assert retrying.follows(error) is follows


def test_the_waits_between_attempts_grow_up_to_their_cap():
    retrying = Retrying(9, 0.5, 3.0)
    for failures, bound_s in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 3.0), (9, 3.0)):
        waits = [retrying.wait_s(failures) for _ in range(200)]
        assert 0 <= min(waits) < bound_s / 4
        assert bound_s * 3 / 4 < max(waits) <= bound_s


@virtually
async def test_the_function_stays_what_it_was():
    async def invoice(order: Order) -> Receipt:
        """Docs."""
        return Receipt(lines=len(order.items))

    decorated = hasty.handler(timeout=5)(invoice)
    assert decorated is invoice
    assert await decorated(Order(items=["tea"])) == Receipt(lines=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": ""}, "name: String should match pattern"),
        ({"name": "two words"}, "name: String should match pattern"),
        ({"name": "line\n"}, "name: String should match pattern"),
        ({"name": "x" * 129}, "name: String should have at most 128 characters"),
        ({"name": 7}, "name: Input should be a valid string"),
        ({"timeout": 0}, "timeout: Input should be greater than 0"),
        ({"timeout": float("nan")}, "timeout: Input should be less than or equal to 86400"),
        ({"timeout": "5"}, "timeout: Input should be a valid number"),
        ({"timeout": True}, "timeout: Input should be a valid number"),
        ({"rerun_window": -1}, "rerun_window: Input should be greater than or equal to 0"),
        ({"rerun_window": float("inf")}, "rerun_window: Input should be less than or equal to 31536000"),
        ({"max_crashes": 0}, "max_crashes: Input should be greater than or equal to 1"),
        ({"max_crashes": 1.5}, "max_crashes: Input should be a valid integer"),
        ({"max_timeout": 86_401}, "max_timeout: Input should be less than or equal to 86400"),
        ({"stall_timeout": 0}, "stall_timeout: Input should be greater than 0"),
        ({"grace": 601}, "grace: Input should be less than or equal to 600"),
        ({"grace": -1}, "grace: Input should be greater than or equal to 0"),
        ({"window_from": "ended"}, "window_from: Input should be 'accepted' or 'finished'"),
        ({"window_after": ["done"]}, "window_after.0: Input should be 'finished', 'failed' or 'cancelled'"),
        ({"window_after": "failed"}, "window_after"),
        ({"window_after": None}, "window_after"),
        ({"retries": -1}, "retries: Input should be greater than or equal to 0"),
        ({"retries": 1_001}, "retries: Input should be less than or equal to 1000"),
        ({"retries": True}, "retries: Input should be a valid integer"),
        ({"backoff": 0}, "backoff: Input should be greater than 0"),
        ({"backoff_cap": float("inf")}, "backoff_cap: Input should be less than or equal to 86400"),
        ({"retry_on": OSError()}, "retry_on: Input should be a valid tuple"),
        ({"retry_on": KeyboardInterrupt}, "retry_on.0: Input should be a subclass of Exception"),
        ({"pool": "GPU"}, "pool: must be a letter and at most 30 letters, digits and hyphens"),
        ({"pool": None}, "pool: Input should be a valid string"),
        ({"queue_timeout": 0}, "queue_timeout: Input should be greater than 0"),
        ({"timeout": 5, "max_timeout": 4}, "max_timeout is less than timeout"),
        ({"backoff": 301}, "backoff is greater than backoff_cap"),
    ],
)
def test_an_option_that_will_not_do_is_refused_at_once(options, told):
    async def invoice(): ...

    with pytest.raises(FixTheHandler, match=r"the handler \S+invoice has an option") as refused:
        hasty.handler(**options)(invoice)
    assert told in str(refused.value)


def test_an_option_that_does_not_exist_is_refused_at_once():
    with pytest.raises(TypeError, match="tiemout"):
        hasty.handler(tiemout=5)


class Thing:
    async def __call__(self): ...

    async def method(self): ...


@pytest.mark.parametrize("thing", [Thing(), Thing, Thing().method, functools.partial(max), len, 7])
def test_only_a_function_can_be_a_handler(thing):
    with pytest.raises(FixTheHandler, match="is not a function; to make it a handler, write a def"):
        hasty.handler(thing)


# What is read ----------------------------------------------------------------------------------


async def two_payloads(_a: int, _b: int): ...
async def unannotated_context(_job, _payload): ...
async def two_contexts(_a: JobContext, _b: JobContext): ...
async def stars(*_payload): ...
async def more_stars(**_payload): ...
async def by_keyword(*, _payload): ...
async def with_default(_payload: int = 3): ...
async def unreadable(_payload: object()): ...
async def unspelt(_payload: "a b"): ...  # noqa: F722
async def undefined(_payload: "Nowhere"): ...  # noqa: F821
async def no_json(_payload: Thing): ...
async def no_json_result() -> Thing: ...


async def yields() -> AsyncIterator[int]:
    yield 1


def yields_too():
    yield 1


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (two_payloads, "takes more than one payload; put what it needs into one model"),
        (unannotated_context, "annotate the parameter for the context with hasty.JobContext"),
        (two_contexts, "takes the JobContext twice; take it once"),
        (stars, "has the parameter *_payload; a handler takes plain parameters"),
        (more_stars, "has the parameter **_payload; a handler takes plain parameters"),
        (by_keyword, "has the parameter _payload; a handler takes plain parameters"),
        (with_default, "has a default for _payload, which is always given"),
        (unreadable, "its parameter _payload has a type that pydantic cannot turn into JSON and back"),
        (unspelt, "has an annotation that cannot be understood (Forward reference must be"),
        (undefined, "has an annotation that cannot be understood (name 'Nowhere' is not defined)"),
        (no_json, "its parameter _payload has a type that pydantic cannot turn into JSON and back"),
        (no_json_result, "its result has a type that pydantic cannot turn into JSON and back"),
        (yields, "yields; let it return its result instead"),
        (yields_too, "yields; let it return its result instead"),
        (lambda: None, "has an option that will not do: name"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_function_that_cannot_be_used_is_told_what_to_change(function, told):
    with pytest.raises(FixTheHandler) as refused:
        hasty.handler(function)
    assert str(refused.value).startswith(f"the handler {function.__qualname__} ")
    assert told in str(refused.value)
    assert declaration_of(function) is None


async def neither():
    return "called"


async def context_only(job: JobContext) -> Any:
    return job.job_id


async def payload_only(payload):
    return payload


async def context_first(job: JobContext, payload: int):
    return [job.attempt, payload]


async def context_last(payload: int, job: "JobContext", /):
    return [job.attempt, payload]


@pytest.mark.parametrize(
    ("function", "payload", "result"),
    [
        (neither, None, "called"),
        (context_only, None, "job-9"),
        (payload_only, {"any": [1, None]}, {"any": [1, None]}),
        (context_first, 5, [2, 5]),
        (context_last, 5, [2, 5]),
    ],
)
@virtually
async def test_a_handler_is_given_what_it_takes(function, payload, result):
    assert await registered(hasty.handler(function)).call(CONTEXT, payload) == result


@pytest.mark.parametrize("function", [neither, context_only])
def test_a_handler_without_a_payload_is_sent_none(function):
    shape = registered(hasty.handler(function)).payload
    assert shape.parse(None) is None
    with pytest.raises(InvalidRequest, match="payload: must be left out: the handler takes none"):
        shape.parse({})


def taking(annotation):
    def handler(payload: annotation):
        return payload

    return registered(hasty.handler(handler)).payload


@pytest.mark.parametrize(
    ("annotation", "payload", "parsed"),
    [
        (Order, {"items": ["tea"]}, Order(items=["tea"])),
        (int, 7, 7),
        (list[str], ["a"], ["a"]),
        (dict[str, int] | None, None, None),
        (Pair, {"left": 1, "right": 2}, Pair(1, 2)),
        (Point, {"x": 1}, {"x": 1}),
        (Annotated[int, Field(gt=3)], 4, 4),
        (
            Strict,
            {"at": "2026-01-01T00:00:00Z", "tags": ["b"]},
            Strict(at=datetime(2026, 1, 1, tzinfo=UTC), tags={"b"}),
        ),
        (Renamed, {"from": 3}, Renamed(**{"from": 3})),
        (Any, {"x": [1]}, {"x": [1]}),
    ],
)
def test_a_payload_becomes_what_its_annotation_says(annotation, payload, parsed):
    assert taking(annotation).parse(payload) == parsed


@pytest.mark.parametrize(
    ("annotation", "payload", "complaints"),
    [
        (Order, {}, [("payload.items", "Field required")]),
        (Order, None, [("payload", "Input should be an object")]),
        (
            Order,
            {"items": [1], "width": "wide"},
            [
                ("payload.items.0", "Input should be a valid string"),
                ("payload.width", "Input should be a valid integer, unable to parse string as an integer"),
            ],
        ),
        (Annotated[int, Field(gt=3)], 3, [("payload", "Input should be greater than 3")]),
    ],
)
def test_a_wrong_payload_is_told_field_by_field(annotation, payload, complaints):
    with pytest.raises(InvalidRequest) as refused:
        taking(annotation).parse(payload)
    assert list(refused.value.complaints) == complaints


def test_of_very_many_wrong_fields_the_first_ten_are_told():
    with pytest.raises(InvalidRequest) as refused:
        taking(list[int]).parse(["x"] * 1_000)
    assert len(refused.value.complaints) == 10


# What is returned ------------------------------------------------------------------------------


def returning(annotation):
    def handler() -> annotation: ...

    return registered(hasty.handler(handler)).result


@pytest.mark.parametrize(
    ("annotation", "result", "dumped"),
    [
        (
            Receipt,
            Receipt(lines=2, at=datetime(2026, 1, 1, tzinfo=UTC)),
            {"lines": 2, "at": "2026-01-01T00:00:00Z"},
        ),
        (Receipt, {"lines": 2}, {"lines": 2, "at": None}),
        (set[int], {3}, [3]),
        (None, None, None),
        (Pair, Pair(1, 2), {"left": 1, "right": 2}),
        (Renamed, Renamed(**{"from": 3}), {"from": 3}),
        (list[Point], [{"x": 1}], [{"x": 1}]),
        (Any, {"x": 1}, {"x": 1}),
    ],
)
def test_a_result_becomes_json(annotation, result, dumped):
    assert returning(annotation).dump(result) == dumped


@pytest.mark.parametrize(
    ("annotation", "result", "told"),
    [
        (Receipt, {"lines": "two"}, "result.lines: Input should be a valid integer"),
        (Receipt, None, "result: Input should be a valid dictionary or instance of Receipt"),
        (Receipt, Receipt.model_construct(lines="two"), "result: "),
        (None, 7, "result: Input should be None"),
        (int, "seven", "result: Input should be a valid integer"),
        (dict, nested(300), "result: ValueError: Maximum serialization depth exceeded"),
        (dict, CIRCLE, "result: ValueError: Circular reference detected"),
        (Unready, {"lines": 1}, "result: KeyError: 'lines'"),
    ],
)
def test_a_wrong_result_is_told_field_by_field(annotation, result, told):
    with pytest.raises(BadResult) as refused:
        returning(annotation).dump(result)
    assert str(refused.value).startswith(told)


# What is shown of it ---------------------------------------------------------------------------


def miss(_schema):
    raise KeyError("unit")


class Endless(BaseModel):
    at_most: float = math.inf


def test_the_schema_of_a_type_is_plain_json():
    schema = taking(Annotated[int, Field(json_schema_extra={"unit": ("px", Status.FAILED)})]).schema(
        "payload"
    )
    assert schema == {"type": "integer", "unit": ["px", "failed"]}
    assert type(schema["unit"][1]) is str


def test_an_infinite_default_is_shown_as_null():
    assert taking(Endless).schema("payload")["properties"]["at_most"]["default"] is None


@pytest.mark.parametrize("extra", [{"unit": Thing}, {"unit": CIRCLE}, miss], ids=str)
def test_a_type_whose_schema_is_no_json_has_none(extra):
    annotation = Annotated[int, Field(json_schema_extra=extra)]
    assert taking(annotation).schema("payload") is None
    assert taking(annotation).parse(7) == 7
    assert returning(annotation).schema("result") is None


# How it is called ------------------------------------------------------------------------------


@hasty.handler
def count(job: JobContext, order: Order) -> Receipt:
    return Receipt(lines=len(order.items) * job.attempt)


def test_a_function_that_is_not_async_is_called_as_it_is():
    assert registered(count).call_sync(CONTEXT, {"items": ["a"]}) == {"lines": 2, "at": None}
    with pytest.raises(InvalidRequest, match=r"payload\.items: Field required"):
        registered(count).call_sync(CONTEXT, {})


@virtually
async def test_a_function_that_is_not_async_is_not_called_in_the_loop():
    with pytest.raises(FixTheHandler, match="count is not async"):
        await registered(count).call(CONTEXT, {"items": []})


@virtually
async def test_a_payload_that_does_no_longer_fit_is_refused_before_the_call():
    with pytest.raises(InvalidRequest, match="payload: Input should be a valid integer"):
        await registered(hasty.handler(context_first)).call(CONTEXT, "seven")
