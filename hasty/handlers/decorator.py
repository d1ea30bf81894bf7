"""`@hasty.handler`: how a user's function says that it is a handler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Annotated, Any, Literal, Self, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hasty.errors import FixTheHandler
from hasty.handlers.catalogue import MAX_CRASHES, Handler, Retrying
from hasty.handlers.shapes import complaints
from hasty.handlers.signature import Signature
from hasty.job import Status, Window
from hasty.pools import DEFAULT_POOL, PoolName

Function = TypeVar("Function", bound=Callable[..., Any])

#: Under this name a function carries its declaration.
_MARK = "__hasty_handler__"


_DAY_S, _YEAR_S = 86_400, 31_536_000

Seconds = Annotated[float, Field(gt=0, le=_DAY_S)]

#: From what the rerun window counts, and what keeps it shut.
WindowFrom = Literal["accepted", "finished"]
End = Literal["finished", "failed", "cancelled"]


class Options(BaseModel):
    """What can be said of a handler. None: as the settings say, or no limit."""

    model_config = ConfigDict(frozen=True, strict=True, arbitrary_types_allowed=True)

    name: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
    timeout: Seconds | None
    max_timeout: Seconds | None
    stall_timeout: Seconds | None
    grace: Annotated[float, Field(ge=0, le=600)]
    rerun_window: Annotated[float, Field(ge=0, le=_YEAR_S)] | None
    window_from: WindowFrom
    window_after: Annotated[tuple[End, ...], Field(strict=False)]
    retries: Annotated[int, Field(ge=0, le=1_000)]
    backoff: Annotated[float, Field(gt=0, le=_DAY_S)]
    backoff_cap: Annotated[float, Field(gt=0, le=_DAY_S)]
    retry_on: tuple[type[Exception], ...]
    max_crashes: Annotated[int, Field(ge=1, le=1_000)]
    pool: PoolName
    queue_timeout: Annotated[float, Field(gt=0, le=_YEAR_S)] | None

    @field_validator("retry_on", mode="before")
    @classmethod
    def _one_is_enough(cls, given: Any) -> Any:
        return (given,) if isinstance(given, type) else given

    @model_validator(mode="after")
    def _have_an_effect(self) -> Self:
        if self.timeout and self.max_timeout and self.max_timeout < self.timeout:
            msg = "max_timeout is less than timeout"
            raise ValueError(msg)
        if self.backoff > self.backoff_cap:
            msg = "backoff is greater than backoff_cap"
            raise ValueError(msg)
        return self

    def window(self, default_s: float) -> Window:
        """Return the rerun window; `default_s` long unless something else was said."""
        seconds = default_s if self.rerun_window is None else self.rerun_window
        after = tuple(sorted({Status(end) for end in self.window_after}))
        return Window(seconds, self.window_from == "finished", after)

    @property
    def retrying(self) -> Retrying:
        """What happens after an attempt failed."""
        return Retrying(self.retries, self.backoff, self.backoff_cap, self.retry_on)


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """A function and what was said of it; with an installation's defaults it becomes a Handler."""

    function: Callable[..., Any]
    signature: Signature
    options: Options

    def handler(self, *, timeout_s: float, rerun_window_s: float) -> Handler:
        """Return the handler; its own limits win over those given here."""
        options = self.options
        return Handler(
            name=options.name,
            function=self.function,
            timeout_s=timeout_s if options.timeout is None else options.timeout,
            window=options.window(rerun_window_s),
            max_timeout_s=options.max_timeout,
            stall_timeout_s=options.stall_timeout,
            grace_s=options.grace,
            max_crashes=options.max_crashes,
            retry=options.retrying,
            pool=options.pool,
            queue_timeout_s=options.queue_timeout,
            signature=self.signature,
        )


@overload
def handler(function: Function, /) -> Function: ...


@overload
def handler(
    *,
    name: str | None = None,
    timeout: float | None = None,
    max_timeout: float | None = None,
    stall_timeout: float | None = None,
    grace: float = 5.0,
    rerun_window: float | None = None,
    window_from: WindowFrom = "accepted",
    window_after: Sequence[End] = ("finished", "failed", "cancelled"),
    retries: int = 0,
    backoff: float = 1.0,
    backoff_cap: float = 300.0,
    retry_on: type[Exception] | tuple[type[Exception], ...] = Exception,
    max_crashes: int = MAX_CRASHES,
    pool: str = DEFAULT_POOL,
    queue_timeout: float | None = None,
) -> Callable[[Function], Function]: ...


def handler(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    max_timeout: float | None = None,
    stall_timeout: float | None = None,
    grace: float = 5.0,
    rerun_window: float | None = None,
    window_from: WindowFrom = "accepted",
    window_after: Sequence[End] = ("finished", "failed", "cancelled"),
    retries: int = 0,
    backoff: float = 1.0,
    backoff_cap: float = 300.0,
    retry_on: type[Exception] | tuple[type[Exception], ...] = Exception,
    max_crashes: int = MAX_CRASHES,
    pool: str = DEFAULT_POOL,
    queue_timeout: float | None = None,
) -> Any:
    """Make a function a handler, to be called for jobs; it stays the function it was.

    The parameter annotated with JobContext gets the context, the other one the payload. Payload
    and result are what their annotations say: pydantic models, or what pydantic makes of JSON.

    Args:
        function: The function, where the decorator is used bare.
        name: What clients call it; by default the function's name.
        timeout: Longest an attempt may run, in seconds; by default `HASTY_TIMEOUT_S`. Then the job
            is cancelled.
        max_timeout: Longest an attempt may run that asks for more time with `job.extend`.
        stall_timeout: Longest silence between two calls of `job.progress`, in seconds. Then the job
            is cancelled.
        grace: Seconds that a stopped handler gets to end, before its process is killed (not async) or
            its worker is replaced (async).
        rerun_window: Seconds in which the object's next job is refused; by default
            `HASTY_RERUN_WINDOW_S`.
        window_from: Whether the window counts from when the job was accepted, or from its end
            ("finished", however it ended).
        window_after: The ends that keep the window shut; after any other it opens at once.
        retries: So many attempts follow one that raised, at most.
        backoff: Bound of the wait before the first of them, in seconds; it doubles with each. The
            wait is drawn from all that is under it.
        backoff_cap: The bound grows no further than this.
        retry_on: Only these errors are retried.
        max_crashes: A job that killed its worker so often is given up.
        pool: The pool of workers that runs it.
        queue_timeout: Longest wait for the first start, in seconds from acceptance. Then the job is
            cancelled.

    Raises:
        FixTheHandler: The function or an option cannot be used; it says what to change.
    """
    options = {
        "name": name,
        "timeout": timeout,
        "max_timeout": max_timeout,
        "stall_timeout": stall_timeout,
        "grace": grace,
        "rerun_window": rerun_window,
        "window_from": window_from,
        "window_after": window_after,
        "retries": retries,
        "backoff": backoff,
        "backoff_cap": backoff_cap,
        "retry_on": retry_on,
        "max_crashes": max_crashes,
        "pool": pool,
        "queue_timeout": queue_timeout,
    }

    def declare(function: Function) -> Function:
        setattr(function, _MARK, _declaration(function, options))
        return function

    return declare if function is None else declare(function)


def declaration_of(thing: object) -> Declaration | None:
    """Return what was declared of a thing; None if it is no handler."""
    return thing.__dict__.get(_MARK) if isinstance(thing, FunctionType) else None


def _declaration(function: Any, options: dict[str, Any]) -> Declaration:
    if not isinstance(function, FunctionType):
        raise FixTheHandler(
            f"{function!r} is not a function; to make it a handler, write a def that calls it"
        )
    try:
        return Declaration(function, Signature.of(function), _options(function, options))
    except FixTheHandler as error:
        raise FixTheHandler(f"the handler {function.__qualname__} {error}") from error


def _options(function: FunctionType, options: dict[str, Any]) -> Options:
    name = function.__name__ if options["name"] is None else options["name"]
    try:
        return Options.model_validate({**options, "name": name})
    except ValidationError as invalid:
        told = "; ".join(f"{option}: {what}" for option, what in complaints(invalid))
        raise FixTheHandler(f"has an option that will not do: {told}") from None
