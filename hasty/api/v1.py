"""`/v1`: jobs for any handler, with typed payloads, for new users. OpenAPI at `/docs`."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from hasty.api.bodies import read_body
from hasty.api.gateway import Gateway
from hasty.api.problems import CODES, HANDLERS, Problem, refusal
from hasty.api.schemas import JobView, NewJob, path_of
from hasty.errors import InvalidRequest, NotJson, UnknownJob
from hasty.handlers.shapes import complaints
from hasty.messages import Refused

JOBS = "/v1/jobs"

# The bodies are read by us: bounded, whatever the client calls them, and told apart in our words.
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": NewJob.model_json_schema()}},
    }
}

_JOB_ID = {"parameters": [{"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}]}

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


class Jobs:
    """The endpoints."""

    def __init__(self, gateway: Gateway) -> None:
        """Serve from `gateway`."""
        self._gateway = gateway

    async def submit(self, request: Request) -> Response:
        """Admit a job for an object, unless its rerun window is shut. A 201 is durable.

        A 503 means that the job may exist or not.
        """
        asked = parse(await read_body(request))
        answer = await self._gateway.submit(asked.object_id, asked.handler, asked.payload)
        if isinstance(answer, Refused):
            return refusal(answer)
        shown = JobView.accepted(answer).model_dump(mode="json")
        return JSONResponse(shown, 201, {"Location": path_of(answer.job_id)})

    async def show(self, request: Request) -> Response:
        """Say how a job stands."""
        job_id = request.path_params["job_id"]
        job = await self._gateway.get(job_id)
        if job is None:
            raise UnknownJob(f"There is no job with the id {job_id}.")
        return JSONResponse(JobView.of(job).model_dump(mode="json"))


class Described(FastAPI):
    """FastAPI would describe its own errors; ours are problem documents."""

    def openapi(self) -> dict[str, Any]:
        """Return the description of the surface."""
        schema = super().openapi()
        schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return schema


def build_v1(gateway: Gateway) -> FastAPI:
    """Return the application that serves `/v1`, `/docs` and `/openapi.json`."""
    jobs = Jobs(gateway)
    app = Described(
        title="hasty",
        summary="A durable job service for work keyed by a thing.",
        version="1",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
    )
    app.post(
        JOBS,
        status_code=201,
        response_model=JobView,
        responses=_problems(400, 404, 409, 413, 422, 503),
        openapi_extra=_BODY,
    )(jobs.submit)
    app.get(
        JOBS + "/{job_id}",
        response_model=JobView,
        responses=_problems(404, 503),
        openapi_extra=_JOB_ID,
    )(jobs.show)
    return app


def parse(body: bytes) -> NewJob:
    """Read a body. Raises NotJson, or InvalidRequest, which names the fields."""
    try:
        return NewJob.model_validate_json(body)
    except ValidationError as invalid:
        told = tuple(complaints(invalid))
        if any(error["type"] == "json_invalid" for error in invalid.errors(include_url=False)):
            raise NotJson(f"The body is not JSON: {told[0][1]}.") from None
        raise InvalidRequest(complaints=tuple((field or "body", what) for field, what in told)) from None


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
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
