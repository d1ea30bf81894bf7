"""The shape of a payload or a result: what it must look like as JSON."""

import json
import traceback
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaWarningKind
from pydantic_core import PydanticSerializationError, from_json, to_json

from hasty.errors import BadResult, Complaint, FixTheHandler, InvalidRequest
from hasty.job import Json

#: So many things that are wrong are told; a long list would only hide them.
_TOLD = 10


#: A payload is parsed, a result is dumped: of some types, like those with aliases, that is not the same.
Side = Literal["payload", "result"]

_MODES: dict[Side, JsonSchemaMode] = {"payload": "validation", "result": "serialization"}


class Shape(Protocol):
    """One side of a handler."""

    def parse(self, payload: Json) -> Any:
        """Return what the function takes. Raises InvalidRequest, which names the fields."""
        ...

    def dump(self, result: Any) -> Json:
        """Return as JSON what the function returned. Raises BadResult, which names the fields."""
        ...

    def schema(self, side: Side) -> Json:
        """Return the JSON schema of what is parsed or dumped; None where it is not known."""
        ...


class Anything:
    """No type was given: JSON passes as it is."""

    def parse(self, payload: Json) -> Any:
        """See `Shape`."""
        return payload

    def dump(self, result: Any) -> Json:
        """See `Shape`. Whether it can be kept is seen when it is to be kept."""
        return result

    def schema(self, _side: Side) -> Json:
        """See `Shape`."""
        return None


class Nothing(Anything):
    """The handler takes no payload."""

    def parse(self, payload: Json) -> None:
        """See `Shape`."""
        if payload is not None:
            raise InvalidRequest(complaints=(("payload", "must be left out: the handler takes none"),))

    def schema(self, _side: Side) -> Json:
        """See `Shape`."""
        return {"type": "null"}


class Typed:
    """A pydantic model, or any other type that pydantic can read from JSON and write to it."""

    def __init__(self, annotation: Any) -> None:
        """Take the type. Raises FixTheHandler where pydantic cannot use it."""
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        except (PydanticUserError, NameError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise FixTheHandler(
                f"has a type that pydantic cannot turn into JSON and back: {reason}"
            ) from error

    def parse(self, payload: Json) -> Any:
        """See `Shape`. As JSON, so that strict models take what JSON has no types for."""
        try:
            return self._adapter.validate_json(json.dumps(payload, allow_nan=False))
        except ValidationError as invalid:
            raise InvalidRequest(complaints=tuple(complaints(invalid, "payload"))) from None
        except Exception as error:
            # A user's check, which should have raised ValueError: it is the payload that it fails for.
            told = f"could not be checked ({type(error).__name__})"
            raise InvalidRequest(complaints=(("payload", told),)) from error

    def dump(self, result: Any) -> Json:
        """See `Shape`."""
        try:
            valid = self._adapter.validate_python(result)
            return self._adapter.dump_python(valid, mode="json", by_alias=True, warnings="error")
        except ValidationError as invalid:
            told = "; ".join(f"{field}: {what}" for field, what in complaints(invalid, "result"))
            raise BadResult(told) from None
        except PydanticSerializationError as error:
            raise BadResult(f"result: {error}") from None
        except Exception as error:
            # A user's check, or too deep, or a circle: no different the next time.
            told = traceback.format_exception_only(error)[0].rstrip()
            raise BadResult(f"result: {told}") from error

    def schema(self, side: Side) -> Json:
        """See `Shape`. A type that JSON schema cannot tell has none: that is no reason to refuse it."""
        try:
            schema = self._adapter.json_schema(mode=_MODES[side], schema_generator=_Quietly)
            # A user may put anything into it, and a default may be infinite.
            return from_json(to_json(schema, inf_nan_mode="null"))
        except Exception:  # noqa: BLE001  it may be a user's function that raises
            return None


class _Quietly(GenerateJsonSchema):
    """Of a default that is no JSON nothing is made."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Say nothing: who reads the schema did not write the type."""


#: No type was given.
ANYTHING = Anything()


def shape(annotation: Any) -> Shape:
    """Return the shape that an annotation asks for."""
    return ANYTHING if annotation is Any else Typed(annotation)


def complaints(invalid: ValidationError, root: str = "") -> Sequence[Complaint]:
    """Say what is wrong with each field, without repeating what was sent."""
    errors = invalid.errors(include_url=False, include_context=False, include_input=False)[:_TOLD]
    return [
        (".".join(filter(None, (root, *map(str, error["loc"])))), plainly(error["msg"])) for error in errors
    ]


def plainly(message: str) -> str:
    """Return what a validator of ours or of a user said, as it was said."""
    return message.removeprefix("Value error, ")
