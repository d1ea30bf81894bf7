"""How `/v1` reads query parameters, and describes them in OpenAPI."""

from collections.abc import Iterator
from typing import Any, TypeVar, get_origin

from fastapi import Request
from pydantic import BaseModel, ValidationError

from hasty.errors import Complaint, InvalidRequest
from hasty.handlers.shapes import complaints

Query = TypeVar("Query", bound=BaseModel)


def read_query(model: type[Query], request: Request) -> Query:
    """Read the parameters of a request. Raises InvalidRequest, which names what is wrong.

    What is not known is refused: a filter that is misspelt must not show everything.
    """
    given = request.query_params
    if wrong := tuple(_misplaced(model, request)):
        raise InvalidRequest(complaints=wrong)
    values = {name: given.getlist(name) if _repeats(model, name) else given[name] for name in given}
    try:
        return model.model_validate(values)
    except ValidationError as invalid:
        told = ((field.partition(".")[0], what) for field, what in complaints(invalid))
        raise InvalidRequest(complaints=tuple(told)) from None


def _misplaced(model: type[BaseModel], request: Request) -> Iterator[Complaint]:
    for name in request.query_params:
        if name not in model.model_fields:
            yield name[:_NAME_LIMIT], f"is no parameter here; there are: {', '.join(model.model_fields)}"
        elif not _repeats(model, name) and len(request.query_params.getlist(name)) > 1:
            yield name, "is there more than once"


#: So much of a name that is not known is told, in characters.
_NAME_LIMIT = 64


def _repeats(model: type[BaseModel], name: str) -> bool:
    return get_origin(model.model_fields[name].annotation) is list


def query(model: type[BaseModel]) -> dict[str, Any]:
    """Describe parameters."""
    described = model.model_json_schema()["properties"]
    return {"parameters": [_parameter(name, about) for name, about in described.items()]}


def _parameter(name: str, about: dict[str, Any]) -> dict[str, Any]:
    """Describe one. That it may be left out is not said by null."""
    schema = {key: value for key, value in about.items() if key not in {"title", "description", "anyOf"}}
    for choice in about.get("anyOf", ()):
        if choice != {"type": "null"}:
            schema |= choice
    if schema.get("default") is None:
        schema.pop("default", None)
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": about["description"],
        "schema": schema,
    }
