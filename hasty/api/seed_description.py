"""What OpenAPI says of the seed surface and the health pages. They do not pass through FastAPI."""

from typing import Any

from hasty.api.keying import PARAMETER
from hasty.api.schemas import Submission

_TEXT = {"type": "string"}

_JOB = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "job_id": _TEXT,
        "object_id": _TEXT,
        "status": {"type": "string", "enum": ["processing", "finished", "failed", "cancelled"]},
        "timestamp": {"type": "integer", "description": "When it was accepted, in seconds since 1970."},
        "sleep_time_used": {"type": "integer", "description": "What the built-in handler slept; else 0."},
    },
    "required": ["id", "job_id", "object_id", "status", "timestamp", "sleep_time_used"],
}

_ACCEPTED = {"type": "object", "properties": {"job_id": _TEXT}, "required": ["job_id"]}

#: Every error here is a sentence for people.
_ERRORS = {
    400: "What is wrong with the request. Also that the object's window is shut (`Retry-After`), or that "
    "there is no such job.",
    401: "An API key is needed.",
    403: "The API key does not allow that.",
    413: "The body is larger than 1 MiB.",
    422: "The `Idempotency-Key` came before, with another request.",
    429: "Too many jobs wait, or this API key asked too often (`Retry-After`).",
    503: "Not now; the same request may succeed later (`Retry-After`).",
}


def _answer(what: dict[str, Any], told: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"message": what}, "required": ["message"]}
    return {"description": told, "content": {"application/json": {"schema": schema}}}


def _operation(summary: str, answers: dict[int, dict[str, Any]], *errors: int, **more: Any) -> dict[str, Any]:
    told = answers | {status: _answer(_TEXT, _ERRORS[status]) for status in errors}
    return {
        "summary": summary,
        "tags": ["seed"],
        "responses": {str(status): answer for status, answer in told.items()},
        **more,
    }


_SUBMIT = _operation(
    "Admit a job of the built-in handler for an object",
    {201: _answer(_ACCEPTED, "The job is in MongoDB.")},
    *(400, 401, 403, 413, 422, 429, 503),
    parameters=[PARAMETER],
    requestBody={
        "required": True,
        "content": {"application/json": {"schema": Submission.model_json_schema()}},
    },
)

_SHOW = _operation(
    "Say how a job stands",
    {200: _answer(_JOB, "The job.")},
    *(400, 401, 403, 429, 503),
    parameters=[{"name": "job_id", "in": "path", "required": True, "schema": _TEXT}],
)

_ALIVE = _operation("Whether this process answers", {200: _answer(_TEXT, "It does.")})

_READY = _operation("Whether a job would be served", {200: _answer(_TEXT, "It would.")}, 503)

PATHS: dict[str, dict[str, Any]] = {
    "/": {"post": _SUBMIT},
    "/healthz": {"get": _ALIVE},
    "/readyz": {"get": _READY},
    "/{job_id}": {"get": _SHOW},
}
