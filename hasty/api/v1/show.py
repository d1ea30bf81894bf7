"""How a job stands: at once, or when it has ended; and whether it changed since it was asked for last."""

import asyncio
import hashlib
import re
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from hasty.api.gateway import Gateway
from hasty.api.hub import Hub
from hasty.api.schemas import JobView
from hasty.api.v1.describing import path, problems
from hasty.errors import InvalidRequest
from hasty.job import Job

#: Longest a client may wait in one request, in seconds; proxies on the way cut off what takes longer.
WAIT_LIMIT_S = 60

_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)

_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "Seconds to wait for the job's end; then it is shown as it stands.",
    "schema": {"type": "number", "minimum": 0, "maximum": WAIT_LIMIT_S, "default": 0},
}

_KNOWN = {
    "name": "If-None-Match",
    "in": "header",
    "description": "`ETag` of what the client has; as long as that is what there is, the answer is a 304.",
    "schema": {"type": "string"},
}


class Show:
    """The endpoint."""

    def __init__(self, gateway: Gateway, hub: Hub) -> None:
        """Serve from `gateway`; the `hub` tells of ends."""
        self._gateway = gateway
        self._hub = hub

    async def show(self, request: Request) -> Response:
        """Say how a job stands; with `wait`, when it has ended, if it does within so many seconds."""
        job_id, wait_s = request.path_params["job_id"], _wait_of(request)
        job = await (self._once_ended(job_id, wait_s) if wait_s else self._gateway.find(job_id))
        return tagged(request, JSONResponse(JobView.of(job).model_dump(mode="json")))

    async def _once_ended(self, job_id: str, within_s: float) -> Job:
        """Return the job when it has ended, or as it stands then. Raises UnknownJob, StoreUnavailable."""
        now = asyncio.get_running_loop().time
        until = now() + within_s
        # First watched, then looked at: no end falls between.
        with self._hub.watch(job_id) as watch:
            while True:
                job = await self._gateway.find(job_id)
                left_s = until - now()
                if not job.live or left_s <= 0 or self._hub.ending:
                    return job
                await watch.until_worth_a_look(left_s)


def _wait_of(request: Request) -> float:
    given = request.query_params.getlist("wait")
    if not given:
        return 0.0
    if len(given) == 1 and _SECONDS.fullmatch(given[0]) and float(given[0]) <= WAIT_LIMIT_S:
        return float(given[0])
    raise InvalidRequest(complaints=(("wait", f"must be a number of seconds from 0 to {WAIT_LIMIT_S}"),))


def tagged(request: Request, response: Response) -> Response:
    """Return the response with an `ETag` of its bytes; a 304 where the client has them already."""
    tag = f'"{hashlib.blake2b(bytes(response.body), digest_size=16).hexdigest()}"'
    if _knows(request, tag):
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def _knows(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names it (RFC 9110, 13.1.2); weak or strong makes no difference there."""
    known = ",".join(request.headers.getlist("if-none-match"))
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in known.split(","))


def add_show(app: FastAPI, gateway: Gateway, hub: Hub) -> None:
    """Serve jobs from `gateway`."""
    of_tag = {"ETag": {"description": "A hash of the answer.", "schema": {"type": "string"}}}
    answers: dict[int | str, dict[str, Any]] = {
        200: {"headers": of_tag},
        304: {"description": "It is what the client has.", "headers": of_tag},
    }
    app.get(
        "/v1/jobs/{job_id}",
        response_model=JobView,
        responses=answers | problems(404, 422, 503),
        openapi_extra={"parameters": [*path("job_id")["parameters"], _WAIT, _KNOWN]},
    )(Show(gateway, hub).show)
