"""What a function that is to be a handler takes and returns, read from its annotations."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hasty.errors import FixTheHandler
from hasty.handlers.context import JobContext
from hasty.handlers.shapes import ANYTHING, Nothing, Shape, shape
from hasty.job import Json

_BY_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


class Takes(Enum):
    """What a parameter of a handler is for."""

    CONTEXT = "context"
    PAYLOAD = "payload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """How a function is called, and what its payload and its result look like."""

    is_async: bool = True
    #: Its parameters, in order.
    takes: tuple[Takes, ...] = (Takes.CONTEXT, Takes.PAYLOAD)
    payload: Shape = ANYTHING
    result: Shape = ANYTHING

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Signature":
        """Read a function. Raises FixTheHandler, which says what to change, if it cannot be a handler."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise FixTheHandler("yields; let it return its result instead")
        hints = _hints(function)
        parameters = inspect.signature(function).parameters.values()
        takes = tuple(_takes(parameter, hints.get(parameter.name)) for parameter in parameters)
        if takes.count(Takes.CONTEXT) > 1:
            raise FixTheHandler("takes the JobContext twice; take it once")
        if takes.count(Takes.PAYLOAD) > 1:
            raise FixTheHandler(
                "takes more than one payload; put what it needs into one model, "
                "and annotate the parameter for the context with hasty.JobContext"
            )
        return cls(
            is_async=inspect.iscoroutinefunction(function),
            takes=takes,
            payload=_payload(parameters, takes, hints),
            result=_side("its result", hints.get("return", Any)),
        )

    def arguments(self, context: JobContext, payload: Json) -> list[Any]:
        """Return what to call the function with. Raises InvalidRequest for a wrong payload."""
        given = {Takes.CONTEXT: context, Takes.PAYLOAD: self.payload.parse(payload)}
        return [given[parameter] for parameter in self.takes]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        told = f"has an annotation that cannot be understood ({error})"
        raise FixTheHandler(f"{told}; define what it names above it, in the module") from error


def _takes(parameter: inspect.Parameter, hint: Any) -> Takes:
    if parameter.kind not in _BY_POSITION:
        raise FixTheHandler(
            f"has the parameter {parameter}; a handler takes plain parameters, no * among them"
        )
    if parameter.default is not parameter.empty:
        raise FixTheHandler(
            f"has a default for {parameter.name}, which is always given; if it may be null, annotate it so"
        )
    return Takes.CONTEXT if hint is JobContext else Takes.PAYLOAD


def _payload(parameters: Any, takes: tuple[Takes, ...], hints: dict[str, Any]) -> Shape:
    """Return the payload's shape. The context is none."""
    for parameter, taken in zip(parameters, takes, strict=True):
        if taken is Takes.PAYLOAD:
            return _side(f"its parameter {parameter.name}", hints.get(parameter.name, Any))
    return Nothing()


def _side(what: str, annotation: Any) -> Shape:
    try:
        return shape(annotation)
    except FixTheHandler as error:
        raise FixTheHandler(f"{what} {error}") from error


#: An async function of a context and a payload that says nothing of their types.
UNTYPED = Signature()
