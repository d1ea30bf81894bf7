"""Errors of `/v1` as problem documents (RFC 9457); every code there is stands in one table."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from hasty.api.schemas import path_of
from hasty.errors import FixTheRequest, InvalidRequest, TryAgainLater, UnknownHandler
from hasty.job import Job, Json
from hasty.messages import Refused

_logger = logging.getLogger("hasty.api")

#: Each code a problem can have, the status that comes with it, and what it means.
CODES: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be understood."),
    "not_json": (400, "The body is not JSON."),
    "not_found": (404, "Nothing is served at this path."),
    "unknown_handler": (404, "No handler has this name; `handlers` lists those there are."),
    "unknown_job": (404, "There is no job with this id."),
    "unknown_pool": (404, "No pool has this name."),
    "method_not_allowed": (405, "The path is served, but not for this method."),
    "rerun_window": (409, "The object had a job within its rerun window: `job_id`, `retry_after`."),
    "unfinished": (409, "The object's last job has not ended yet: `job_id`, `retry_after`."),
    "already_ended": (409, "The job ended before it could be cancelled: `job_id`, `job_status`."),
    "body_too_large": (413, "The body is larger than 1 MiB."),
    "payload_too_large": (413, "The payload is longer than 256 KiB of JSON."),
    "invalid_request": (422, "Fields are not what they must be; `errors` names each."),
    "internal": (500, "Something went wrong inside hasty; the same request may succeed later."),
    "draining": (503, "hasty is stopping and takes no new jobs."),
    "overloaded": (503, "Too much is waiting already; nothing was queued."),
    "store_unavailable": (503, "MongoDB gave no clear answer: the job may exist or not."),
    "try_again_later": (503, "hasty is not ready; the same request may succeed later."),
    "unreachable": (503, "An actor gave no answer: the job may exist or not."),
    "wrong_version": (503, "hasty is being updated; the same request may succeed later."),
}

#: What the framework finds wrong by itself.
_FOUND_BY_ROUTING = {404: "not_found", 405: "method_not_allowed"}


class Problem(BaseModel):
    """An error of `/v1`. `code` is stable; `title` and `detail` are for people."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str = Field(description="What the status means.", examples=["Conflict"])
    status: int = Field(examples=[409])
    code: str = Field(examples=["rerun_window"], json_schema_extra={"enum": list(CODES)})
    detail: str
    errors: list[dict[str, str]] | None = Field(
        None,
        description="With `invalid_request`: a `field` and a `message` each.",
        examples=[[{"field": "payload.width", "message": "Input should be greater than 0"}]],
    )
    handlers: list[str] | None = Field(None, description="With `unknown_handler`.")
    job_id: str | None = Field(None, description="With `rerun_window`, `unfinished` and `already_ended`.")
    job_status: str | None = Field(None, description="With `already_ended`.")
    retry_after: int | None = Field(None, description="Seconds, where waiting helps; also a header.")


def problem(
    code: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **more: Json
) -> Response:
    """Return a problem document; without a detail it says what its code means."""
    status, meaning = CODES[code]
    title = HTTPStatus(status).phrase
    content = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail or meaning,
    }
    retry_after = {"Retry-After": str(more["retry_after"])} if "retry_after" in more else {}
    return JSONResponse(
        content | more, status, {**(headers or {}), **retry_after}, media_type="application/problem+json"
    )


def refusal(refused: Refused) -> Response:
    """Say that the object's newest job stands in the way."""
    seconds = math.ceil(refused.retry_after_s)
    links = {"job": path_of(refused.job_id)}
    return problem(refused.reason, job_id=refused.job_id, retry_after=seconds, links=links)


def already_ended(job: Job) -> Response:
    """Say that a cancel came too late."""
    detail = f"The job has ended already: it is {job.status}."
    links = {"job": path_of(job.job_id)}
    return problem("already_ended", detail, job_id=job.job_id, job_status=str(job.status), links=links)


async def _fix_the_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, FixTheRequest)
    more: dict[str, Json] = {}
    if isinstance(error, InvalidRequest):
        more["errors"] = [{"field": field, "message": message} for field, message in error.complaints]
    if isinstance(error, UnknownHandler):
        more["handlers"] = list(error.known)
    return problem(error.code, str(error), **more)


async def _try_again(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TryAgainLater)
    return problem(error.code, str(error), retry_after=error.retry_after_s)


async def _of_routing(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(_FOUND_BY_ROUTING.get(error.status_code, "bad_request"), headers=error.headers)


async def _gone(_request: Request, _error: Exception) -> Response:
    """Nobody is there to read it."""
    return problem("bad_request")


async def _unexpected(request: Request, error: Exception) -> Response:
    _logger.error("%s failed", request.method, exc_info=error)
    return problem("internal")


#: How each error becomes a problem.
HANDLERS: dict[Any, Any] = {
    FixTheRequest: _fix_the_request,
    TryAgainLater: _try_again,
    HTTPException: _of_routing,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
