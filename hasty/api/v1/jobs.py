"""Jobs: submit, cancel, run again."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from hasty.api.bodies import read_body
from hasty.api.gateway import Gateway
from hasty.api.keying import PARAMETER, key_of
from hasty.api.order import Order
from hasty.api.problems import already_ended
from hasty.api.schemas import Cancellation, JobView, NewJob, Rerun
from hasty.api.v1.describing import body, parse, path, problems
from hasty.api.v1.outcomes import ATTACHED, outcome, respond_to

JOBS = "/v1/jobs"


class Jobs:
    """The endpoints."""

    def __init__(self, gateway: Gateway) -> None:
        """Serve from `gateway`."""
        self._gateway = gateway

    async def submit(self, request: Request) -> Response:
        """Admit a job for an object, unless one of its jobs stands in the way. A 201 is durable.

        A 200 is the answer of `on_conflict`: a job that was there already. A 503 means that the job may
        exist or not: repeat it with the same `Idempotency-Key`.
        """
        asked = parse(NewJob, await read_body(request))
        return await self._answer(asked.order(key_of(request, "v1")))

    async def rerun(self, request: Request) -> Response:
        """Run a job again: a new job, for the same, with the same payload, labels and webhook."""
        asked = parse(Rerun, await read_body(request) or b"{}")
        job = await self._gateway.find(request.path_params["job_id"])
        return await self._answer(
            Order.once_more(job)._replace(
                on_conflict=asked.on_conflict, force=asked.force, key=key_of(request, f"rerun:{job.job_id}")
            )
        )

    async def _answer(self, order: Order) -> Response:
        answer = await self._gateway.order(order)
        return respond_to(await outcome(self._gateway.find, order, answer))

    async def cancel(self, request: Request) -> Response:
        """End a job, scheduled, queued or running; repeating it changes nothing. A 200 is durable.

        Of a cancel and an attempt that ends, one wins. The handler is stopped after that. A 503
        means that the job may be cancelled or not: ask again.
        """
        asked = parse(Cancellation, await read_body(request) or b"{}")
        job, by_cancel = await self._gateway.cancel(request.path_params["job_id"], asked.reason)
        return JSONResponse(JobView.of(job).model_dump(mode="json")) if by_cancel else already_ended(job)


def add_jobs(app: FastAPI, gateway: Gateway) -> None:
    """Serve jobs from `gateway`."""
    jobs = Jobs(gateway)
    app.post(
        JOBS,
        status_code=201,
        response_model=JobView,
        responses=ATTACHED | problems(400, 404, 409, 413, 422, 429, 503),
        openapi_extra={**body(NewJob), "parameters": [PARAMETER]},
    )(jobs.submit)
    app.post(
        JOBS + "/{job_id}/rerun",
        status_code=201,
        response_model=JobView,
        responses=ATTACHED | problems(400, 404, 409, 413, 422, 429, 503),
        openapi_extra={
            **body(Rerun, required=False),
            "parameters": [*path("job_id")["parameters"], PARAMETER],
        },
    )(jobs.rerun)
    app.post(
        JOBS + "/{job_id}/cancel",
        response_model=JobView,
        responses=problems(400, 404, 409, 413, 422, 503),
        openapi_extra={**path("job_id"), **body(Cancellation, required=False)},
    )(jobs.cancel)
