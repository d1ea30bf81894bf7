"""How `/v1` reads bodies, and describes them and its problems in OpenAPI."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hasty.api.problems import CODES
from hasty.errors import InvalidRequest, NotJson
from hasty.handlers.shapes import complaints

Body = TypeVar("Body", bound=BaseModel)

#: Where OpenAPI keeps what is referred to.
REFERENCE = "#/components/schemas/{model}"

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def parse(model: type[Body], body: bytes) -> Body:
    """Read a body. Raises NotJson, or InvalidRequest, which names the fields."""
    try:
        return model.model_validate_json(body)
    except ValidationError as invalid:
        told = tuple(complaints(invalid))
        if any(error["type"] == "json_invalid" for error in invalid.errors(include_url=False)):
            raise NotJson(f"The body is not JSON: {told[0][1]}.") from None
        raise InvalidRequest(complaints=tuple((field or "body", what) for field, what in told)) from None


def body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Describe a body. It is read by us: bounded, whatever the client calls it, told apart in our words."""
    # Whoever gathers it takes it apart.
    content = {"application/json": {"schema": deepcopy(_schema(model))}}
    return {"requestBody": {"required": required, "content": content}}


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template=REFERENCE)


def gather(description: dict[str, Any], *models: type[BaseModel]) -> None:
    """Put the models, and what the bodies in a description are made of, where its references point."""
    known = description["components"]["schemas"]
    schemas = [media["schema"] for media in _media(description)]
    for model in models:
        known[model.__name__] = deepcopy(_schema(model))
        schemas.append(known[model.__name__])
    for schema in schemas:
        known |= schema.pop("$defs", {})


def _media(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in description["paths"].values():
        for operation in operations.values():
            yield from operation.get("requestBody", {}).get("content", {}).values()


def path(name: str) -> dict[str, Any]:
    """Describe a part of the path."""
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that come with these statuses."""
    return {
        status: {
            "content": _PROBLEM,
            "description": " ".join(
                f"`{code}`: {told}" for code, (at, told) in CODES.items() if at == status
            ),
        }
        for status in statuses
    }
