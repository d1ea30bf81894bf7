"""`@hasty.handler`: how a user's function says that it is a handler."""

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Annotated, Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hasty.errors import FixTheHandler
from hasty.handlers.catalogue import MAX_CRASHES, Handler
from hasty.handlers.shapes import complaints
from hasty.handlers.signature import Signature

Function = TypeVar("Function", bound=Callable[..., Any])

#: Under this name a function carries its declaration.
_MARK = "__hasty_handler__"


class Options(BaseModel):
    """What can be said of a handler. None: as the settings say."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None
    rerun_window: Annotated[float, Field(ge=0, le=31_536_000)] | None
    max_crashes: Annotated[int, Field(ge=1, le=1_000)]


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
            rerun_window_s=rerun_window_s if options.rerun_window is None else options.rerun_window,
            max_crashes=options.max_crashes,
            signature=self.signature,
        )


@overload
def handler(function: Function, /) -> Function: ...


@overload
def handler(
    *,
    name: str | None = None,
    timeout: float | None = None,
    rerun_window: float | None = None,
    max_crashes: int = MAX_CRASHES,
) -> Callable[[Function], Function]: ...


def handler(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    rerun_window: float | None = None,
    max_crashes: int = MAX_CRASHES,
) -> Any:
    """Make a function a handler, to be called for jobs; it stays the function it was.

    The parameter annotated with JobContext gets the context, the other one the payload. Payload
    and result are what their annotations say: pydantic models, or what pydantic makes of JSON.

    Args:
        function: The function, where the decorator is used bare.
        name: What clients call it; by default the function's name.
        timeout: Longest an attempt may run, in seconds; by default `HASTY_TIMEOUT_S`.
        rerun_window: Seconds in which the object's next job is refused; by default
            `HASTY_RERUN_WINDOW_S`.
        max_crashes: A job that killed its worker so often is given up.

    Raises:
        FixTheHandler: The function or an option cannot be used; it says what to change.
    """
    options = {
        "name": name,
        "timeout": timeout,
        "rerun_window": rerun_window,
        "max_crashes": max_crashes,
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
