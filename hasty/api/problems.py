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

from hasty.api.schemas import JobView, path_of
from hasty.errors import FixTheRequest, InvalidRequest, TryAgainLater, UnknownHandler
from hasty.job import Job, Json
from hasty.messages import Refused

_logger = logging.getLogger("hasty.api")

#: Each code a problem can have, the status that comes with it, and what it means.
CODES: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be understood."),
    "not_json": (400, "The body is not JSON."),
    "unauthorized": (401, "An API key is needed, and there is none, or it is not valid."),
    "forbidden": (403, "The API key does not allow that; `scope` is what it would take."),
    "not_found": (404, "Nothing is served at this path."),
    "events_off": (404, "Events are switched off: `event_retention_s` is 0."),
    "unknown_handler": (404, "No handler has this name; `handlers` lists those there are."),
    "unknown_job": (404, "There is no job with this id."),
    "unknown_object": (404, "There is no job for this object."),
    "no_webhook": (404, "The job has no webhook: nobody is told how it ended."),
    "unknown_pool": (404, "No pool has this name."),
    "unknown_schedule": (404, "No schedule has this name."),
    "method_not_allowed": (405, "The path is served, but not for this method."),
    "rerun_window": (409, "The object had a job within its rerun window: `job`, `retry_after`."),
    "unfinished": (409, "The object's last job has not ended yet: `job`, `retry_after`."),
    "schedule_exists": (409, "Another schedule has this name."),
    "too_many_schedules": (409, "There are as many schedules as there may be."),
    "already_ended": (409, "The job ended before it could be cancelled: `job_id`, `job_status`."),
    "body_too_large": (413, "The body is larger than 1 MiB, or than 8 MiB where it has many jobs."),
    "payload_too_large": (413, "The payload is longer than 256 KiB of JSON."),
    "idempotency_key_reused": (422, "The `Idempotency-Key` came before, with another request."),
    "invalid_request": (422, "Fields are not what they must be; `errors` names each."),
    "backlog_full": (429, "As many jobs wait as may wait; nothing was queued."),
    "rate_limited": (429, "The API key has asked too often: `retry_after`."),
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
    job_status: str | None = Field(None, description="With the same: how that job stands.")
    job: JobView | None = Field(None, description="With `rerun_window` and `unfinished`: that job.")
    links: dict[str, str] | None = Field(None, description="With the same: where it is shown.")
    scope: str | None = Field(None, description="With `forbidden`.")
    retry_after: int | None = Field(None, description="Seconds, where waiting helps; also a header.")


def document(code: str, detail: str | None = None, **more: Json) -> dict[str, Json]:
    """Return a problem document; without a detail it says what its code means."""
    status, meaning = CODES[code]
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail or meaning,
        **more,
    }


def respond(told: Mapping[str, Json], headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a problem document."""
    retry_after = {"Retry-After": str(told["retry_after"])} if "retry_after" in told else {}
    return JSONResponse(
        told, told["status"], {**(headers or {}), **retry_after}, media_type="application/problem+json"
    )


def problem(
    code: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **more: Json
) -> Response:
    """Answer with the problem of this code."""
    return respond(document(code, detail, **more), headers)


def refusal(refused: Refused, job: Job | None) -> dict[str, Json]:
    """Say which job stands in the way: as it is, where that could be read."""
    more: dict[str, Json] = {
        "job_id": refused.job_id,
        "retry_after": math.ceil(refused.retry_after_s),
        "links": {"job": path_of(refused.job_id)},
    }
    if job is not None:
        more |= {"job_status": str(job.status), "job": JobView.of(job).model_dump(mode="json")}
    return document(refused.reason, **more)


def error_document(error: FixTheRequest | TryAgainLater) -> dict[str, Json]:
    """Say what is wrong with the request, or with hasty."""
    more: dict[str, Json] = {}
    if isinstance(error, TryAgainLater):
        more["retry_after"] = error.retry_after_s
    if isinstance(error, InvalidRequest):
        more["errors"] = [{"field": field, "message": message} for field, message in error.complaints]
    if isinstance(error, UnknownHandler):
        more["handlers"] = list(error.known)
    return document(error.code, str(error), **more)


def already_ended(job: Job) -> Response:
    """Say that a cancel came too late."""
    detail = f"The job has ended already: it is {job.status}."
    links = {"job": path_of(job.job_id)}
    return problem("already_ended", detail, job_id=job.job_id, job_status=str(job.status), links=links)


async def _of_hasty(_request: Request, error: Exception) -> Response:
    assert isinstance(error, FixTheRequest | TryAgainLater)
    return respond(error_document(error))


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
    FixTheRequest: _of_hasty,
    TryAgainLater: _of_hasty,
    HTTPException: _of_routing,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
