"""The attempts at a job, as the ledger has them."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from hasty.api.gateway import Gateway
from hasty.api.reading_schemas import AttemptsView
from hasty.api.v1.describing import path, problems
from hasty.api.v1.jobs import JOBS
from hasty.store.base import AttemptReader


class Attempts:
    """The endpoint."""

    def __init__(self, gateway: Gateway, reader: AttemptReader) -> None:
        """Find the job by `gateway`, and its attempts by `reader`."""
        self._gateway = gateway
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """Say by whom, where and when a job was run, and how each attempt ended.

        The ledger is written before a handler starts and before anybody hears of its end: it may be
        ahead of the status that the job shows.
        """
        job = await self._gateway.find(request.path_params["job_id"])
        shown = AttemptsView.of(await self._reader.attempts(job.job_id))
        return JSONResponse(shown.model_dump(mode="json"))


def add_attempts(app: FastAPI, gateway: Gateway, reader: AttemptReader) -> None:
    """Serve attempts from `reader`."""
    app.get(
        JOBS + "/{job_id}/attempts",
        response_model=AttemptsView,
        responses=problems(404, 503),
        openapi_extra=path("job_id"),
    )(Attempts(gateway, reader).show)
