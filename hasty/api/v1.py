"""`/v1`: jobs for any handler, with typed payloads, for new users. OpenAPI at `/docs`."""

from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from hasty.api.bodies import read_body
from hasty.api.gateway import Gateway
from hasty.api.problems import CODES, HANDLERS, Problem, already_ended, refusal
from hasty.api.schemas import Cancellation, JobView, NewJob, PoolsView, PoolView, Scaling, path_of
from hasty.errors import InvalidRequest, NotJson, UnknownJob
from hasty.handlers.shapes import complaints
from hasty.messages import Refused

JOBS = "/v1/jobs"
POOLS = "/v1/pools"

Body = TypeVar("Body", bound=BaseModel)


def _body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Describe a body. It is read by us: bounded, whatever the client calls it, told apart in our words."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}


def _path(name: str) -> dict[str, Any]:
    """Describe a part of the path."""
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]}


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
        asked = parse(NewJob, await read_body(request))
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

    async def cancel(self, request: Request) -> Response:
        """End a job, scheduled, queued or running; repeating it changes nothing. A 200 is durable.

        Of a cancel and an attempt that ends, one wins. The handler is stopped after that. A 503
        means that the job may be cancelled or not: ask again.
        """
        asked = parse(Cancellation, await read_body(request) or b"{}")
        job, by_cancel = await self._gateway.cancel(request.path_params["job_id"], asked.reason)
        return JSONResponse(JobView.of(job).model_dump(mode="json")) if by_cancel else already_ended(job)


class Pools:
    """The endpoints for operators."""

    def __init__(self, gateway: Gateway) -> None:
        """Serve from `gateway`."""
        self._gateway = gateway

    async def show(self, _request: Request) -> Response:
        """Say how the pools of workers are."""
        answer = await self._gateway.pools()
        shown = PoolsView(generation=answer.generation, pools=[PoolView.of(pool) for pool in answer.pools])
        return JSONResponse(shown.model_dump(mode="json"))

    async def scale(self, request: Request) -> Response:
        """Let a pool have another number of workers. A 200 is durable; it takes a while to come true.

        New workers take jobs at once, the oldest first. Those that are too many take no more jobs,
        and go when they have none.
        """
        asked = parse(Scaling, await read_body(request))
        workers = asked.workers if isinstance(asked.workers, int) else None
        state = await self._gateway.scale(request.path_params["name"], workers)
        return JSONResponse(PoolView.of(state).model_dump(mode="json"))


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
        openapi_extra=_body(NewJob),
    )(jobs.submit)
    app.get(
        JOBS + "/{job_id}",
        response_model=JobView,
        responses=_problems(404, 503),
        openapi_extra=_path("job_id"),
    )(jobs.show)
    app.post(
        JOBS + "/{job_id}/cancel",
        response_model=JobView,
        responses=_problems(400, 404, 409, 413, 422, 503),
        openapi_extra={**_path("job_id"), **_body(Cancellation, required=False)},
    )(jobs.cancel)
    _add_pools(app, Pools(gateway))
    return app


def _add_pools(app: FastAPI, pools: Pools) -> None:
    app.get(POOLS, response_model=PoolsView, responses=_problems(503))(pools.show)
    app.patch(
        POOLS + "/{name}",
        response_model=PoolView,
        responses=_problems(400, 404, 413, 422, 503),
        openapi_extra={**_path("name"), **_body(Scaling)},
    )(pools.scale)


def parse(model: type[Body], body: bytes) -> Body:
    """Read a body. Raises NotJson, or InvalidRequest, which names the fields."""
    try:
        return model.model_validate_json(body)
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
