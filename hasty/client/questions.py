"""A request and what its answer means: nothing here sends one."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from hasty.client.models import Json
from hasty.client.requests import as_json
from hasty.client.steps import Call
from hasty.errors import InvalidRequest, NotHasty

Value = TypeVar("Value")
View = TypeVar("View", bound=BaseModel)

#: Longest idempotency key, in characters.
KEY_LIMIT = 255


@dataclass(frozen=True, slots=True)
class Question(Generic[Value]):
    """A request, and what its answer means."""

    call: Call
    read: Callable[[httpx.Response], Value]
    #: This status is as good, where an earlier try may have been the one that counted.
    done_already: HTTPStatus | None = None

    def settled_by(self, answer: httpx.Response) -> bool:
        """Return whether an answer to another try says that there is nothing more to do."""
        return answer.status_code == self.done_already


def post(path: str, body: Json, key: str | None) -> Call:
    """Return a request that may be sent twice: under the caller's idempotency key, or one of its own.

    Raises InvalidRequest.
    """
    return post_bytes(path, as_json(body), str(uuid.uuid4()) if key is None else checked_key(key))


def post_bytes(path: str, body: bytes, key: str) -> Call:
    """Return the same of a body that is JSON already."""
    return Call(method="POST", path=path, body=body, headers={"Idempotency-Key": key})


def checked_key(key: str, limit: int = KEY_LIMIT) -> str:
    """Return a caller's idempotency key. Raises InvalidRequest for what is none."""
    if not (0 < len(key) <= limit and key.isascii() and key.isprintable() and " " not in key):
        told = f"must have 1 to {limit} visible ASCII characters"
        raise InvalidRequest(complaints=(("idempotency_key", told),))
    return key


def reading(model: type[View]) -> Callable[[httpx.Response], View]:
    """Return what reads an answer as this model; it raises NotHasty for one that is something else."""

    def read(response: httpx.Response) -> View:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as invalid:
            raise NotHasty(_misread(response, model.__name__, invalid)) from None

    return read


def reading_all(name: str, model: type[View]) -> Callable[[httpx.Response], list[View]]:
    """Return what reads an answer that has a list of these under a name; it raises NotHasty."""

    def read(response: httpx.Response) -> list[View]:
        try:
            return [model.model_validate(each) for each in document(response)[name]]
        except ValidationError as invalid:
            raise NotHasty(_misread(response, model.__name__, invalid)) from None
        except (KeyError, TypeError):
            raise NotHasty(f"{response.request.url}: the answer has no list of {name}") from None

    return read


def document(response: httpx.Response) -> dict[str, Json]:
    """Read an answer as whatever object it is. Raises NotHasty."""
    try:
        found = response.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotHasty(f"{response.request.url}: the answer is no JSON object")
    return found


def _misread(response: httpx.Response, name: str, invalid: ValidationError) -> str:
    first: Any = invalid.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "the answer"
    return f"{response.request.url}: this is no {name}: {field}: {first['msg']}"


def checked_text(name: str, value: str) -> str:
    """Return a text that can be sent. Raises InvalidRequest for one with bytes in it that are no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(complaints=((name, "must be text in UTF-8"),)) from None
    return value


def part(name: str, value: str) -> str:
    """Return a value as one part of a path: also one with slashes, and one that is only dots.

    Raises InvalidRequest.
    """
    if not checked_text(name, value):
        raise InvalidRequest(complaints=((name, "must not be empty"),))
    return quote(value, safe="").replace(".", "%2E") if set(value) == {"."} else quote(value, safe="")
