"""Many jobs in one request: each is decided on by itself, and its outcome stands in its place."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from hasty.api.bodies import BATCH_LIMIT, read_body
from hasty.api.gateway import Gateway, Ordered
from hasty.api.keying import PARAMETER, key_of
from hasty.api.order import Order
from hasty.api.problems import Problem
from hasty.api.schemas import JobView, NewJob
from hasty.api.v1.describing import REFERENCE, parse, problems
from hasty.api.v1.jobs import JOBS
from hasty.api.v1.outcomes import Outcome, outcome
from hasty.errors import FixTheRequest, HastyError, InvalidRequest, TryAgainLater

#: Jobs of one request, at most.
MOST_JOBS = 1_000

#: Media types of one job for each line.
_BY_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


class NewJobs(BaseModel):
    """The body of `POST /v1/jobs:batch`, where it is JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jobs: list[Any] = Field(max_length=MOST_JOBS, description="What `POST /v1/jobs` takes, each.")


class OutcomeView(BaseModel):
    """What became of one job."""

    model_config = ConfigDict(frozen=True)

    status: int = Field(description="What `POST /v1/jobs` would have answered with.")
    job: JobView | None = None
    problem: Problem | None = None


class OutcomesView(BaseModel):
    """What became of each job, in their order."""

    model_config = ConfigDict(frozen=True)

    outcomes: list[OutcomeView]


class Batch:
    """The endpoint."""

    def __init__(self, gateway: Gateway) -> None:
        """Serve from `gateway`."""
        self._gateway = gateway

    async def submit(self, request: Request) -> Response:
        """Admit up to 1,000 jobs: a 200 with an outcome for each, in order. Those with 201 are durable.

        The jobs are a list in JSON, or one for each line (`application/x-ndjson`). An `Idempotency-Key`
        stands for the whole: of a repeat, each accepted job has its first outcome, and the others are
        tried again. Jobs that were there before are shown without payload and result.
        """
        body = await read_body(request, BATCH_LIMIT)
        items = split(body, request.headers.get("content-type", ""))
        key = key_of(request, "batch")
        orders = _orders(items, key, hashlib.sha256(body).hexdigest() if key is not None else "")
        await self._gateway.check_keys([order for order in orders if isinstance(order, Order)])
        answers = await self._gateway.order_all(orders)
        told = await asyncio.gather(
            *(self._tell(order, answer) for order, answer in zip(orders, answers, strict=True))
        )
        return JSONResponse({"outcomes": [_shown(each) for each in told]})

    async def _tell(self, order: Order | HastyError, answer: Ordered) -> Outcome:
        try:
            return await outcome(self._gateway.find_briefly, order, answer)
        except (FixTheRequest, TryAgainLater) as error:
            return await outcome(self._gateway.find_briefly, order, error)


def split(body: bytes, media_type: str) -> Sequence[bytes | Any]:
    """Return what is said of each job: JSON as text where each has a line, else as Python has it.

    Raises NotJson, InvalidRequest.
    """
    if media_type.partition(";")[0].strip().lower() not in _BY_LINES:
        return parse(NewJobs, body).jobs
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > MOST_JOBS:
        raise InvalidRequest(complaints=(("body", f"must have at most {MOST_JOBS} lines"),))
    return lines


def _orders(items: Sequence[bytes | Any], key: str | None, whole: str) -> list[Order | HastyError]:
    """Read each job by itself: one that cannot be read does not keep the others from being tried."""
    orders: list[Order | HastyError] = []
    for number, item in enumerate(items):
        try:
            asked = parse(NewJob, item if isinstance(item, bytes) else json.dumps(item).encode())
        except FixTheRequest as error:
            orders.append(error)
        else:
            own = f"{key}#{number}" if key is not None else None
            orders.append(asked.order(own)._replace(batch=whole))
    return orders


def _shown(told: Outcome) -> dict[str, Any]:
    job = told.job.model_dump(mode="json") if told.job is not None else None
    return {"status": told.status, "job": job, "problem": told.problem}


def add_batch(app: FastAPI, gateway: Gateway) -> None:
    """Serve many jobs in one request from `gateway`."""
    schema = NewJobs.model_json_schema()
    schema["properties"]["jobs"]["items"] = {"$ref": REFERENCE.format(model=NewJob.__name__)}
    content: dict[str, Any] = {
        "application/json": {"schema": schema},
        _BY_LINES[0]: {"schema": {"type": "string", "description": "One job for each line."}},
    }
    app.post(
        JOBS + ":batch",
        response_model=OutcomesView,
        responses=problems(400, 413, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": content}, "parameters": [PARAMETER]},
    )(Batch(gateway).submit)
