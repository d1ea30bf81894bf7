"""The seed surface: `POST /` and `GET /{job_id}`, byte for byte what the Go system answered."""

import math
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hasty.api.bodies import read_body
from hasty.api.gateway import Gateway
from hasty.api.keying import key_of
from hasty.api.order import Order
from hasty.api.schemas import OBJECT_ID_LIMIT, Submission
from hasty.errors import FixTheRequest, UnknownJob
from hasty.job import Job
from hasty.messages import Accepted, Refused

_MINUTE_S = 60


def message(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer in the shape of every body here."""
    return JSONResponse({"message": content}, status, headers)


class Seed:
    """The endpoints; `rerun_window_s` is what a refusal talks about."""

    def __init__(self, gateway: Gateway, rerun_window_s: float) -> None:
        """Serve from `gateway`."""
        self._gateway = gateway
        self._refusal = f"you need to wait {span(rerun_window_s)} before rerunning the same job"

    async def submit(self, request: Request) -> Response:
        """`POST /`: admit a job for an object."""
        object_id = parse(await read_body(request))
        answer = await self._gateway.order(Order(object_id, key=key_of(request, "seed")))
        if isinstance(answer, Refused):
            return message(self._refusal, 400, {"Retry-After": str(math.ceil(answer.retry_after_s))})
        assert isinstance(answer, Accepted)  # nobody asks to be attached here
        return message({"job_id": answer.work.job_id}, 201)

    async def show(self, request: Request) -> Response:
        """`GET /{job_id}`: how a job stands."""
        job_id = request.path_params["job_id"]
        job = await self._gateway.get(job_id)
        if job is None:
            raise UnknownJob(f"no job with id: {job_id}")
        return message(describe(job))


def span(seconds: float) -> str:
    """Say a window in whole minutes where it has them, as the seed did; else in seconds."""
    minutes, rest = divmod(seconds, _MINUTE_S)
    number, unit = (seconds, "second") if rest or not minutes else (minutes, "minute")
    return f"{number:g} {unit}" + ("" if number == 1 else "s")


def describe(job: Job) -> dict[str, str | int]:
    """Show a job: times in seconds since 1970, and `processing` for all that has not ended."""
    result = job.result if isinstance(job.result, dict) else {}
    used = result.get("sleep_time_used", 0)
    return {
        "id": job.job_id,
        "job_id": job.job_id,
        "object_id": job.object_id,
        "status": "processing" if job.live else str(job.status),
        "timestamp": int(job.accepted_at.timestamp()),
        "sleep_time_used": used if type(used) is int else 0,
    }


def parse(body: bytes) -> str:
    """Return the object_id of a body. Raises FixTheRequest, which says what is wrong with it."""
    try:
        return Submission.model_validate_json(body).object_id
    except ValidationError as invalid:
        raise FixTheRequest(_complaint(invalid.errors()[0]["type"])) from None


def _complaint(kind: str) -> str:
    """Say what is wrong in the seed's words; the input is not repeated."""
    return {
        "missing": "you must provide an object_id",
        "json_invalid": "the body must be JSON",
        "model_type": "the body must be a JSON object",
        "string_type": "object_id must be a string",
        "string_too_short": "object_id must not be empty",
        "string_too_long": f"object_id must have at most {OBJECT_ID_LIMIT} characters",
    }.get(kind, "object_id must be a string of valid Unicode")
