"""What came of telling a job's webhook how it ended."""

from datetime import datetime
from typing import Self

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from hasty.api.v1.describing import path, problems
from hasty.errors import NoWebhook, UnknownJob
from hasty.store.base import Delivery, DeliveryLog, DeliveryState, Outbox

DELIVERIES = "/v1/jobs/{job_id}/deliveries"


class DeliveryView(BaseModel):
    """One try to tell the webhook."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    attempt: int = Field(description="1 for the first.")
    status_code: int | None = Field(description="What the receiver answered, if it did.")
    error: str | None = Field(description="What went wrong, for people.")
    duration: float = Field(description="How long it took, in seconds.")
    delivered: bool = Field(description="Whether the receiver has it: it answered with 2xx.")

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Show a delivery."""
        return cls(
            at=delivery.at,
            attempt=delivery.attempt,
            status_code=delivery.status_code,
            error=delivery.error,
            duration=delivery.duration_s,
            delivered=delivery.delivered,
        )


class DeliveriesView(BaseModel):
    """The log of a job's webhook. Only the newest deliveries are kept."""

    model_config = ConfigDict(frozen=True)

    state: DeliveryState = Field(
        description="`waiting`: the job has not ended. `pending`: it is to be told. `delivered`: it was. "
        "`given_up`: it was not, and is tried no more."
    )
    deliveries: list[DeliveryView] = Field(description="The newest last.")
    next_at: datetime | None = Field(
        description="While it is pending: when it is tried next; null while it is being tried."
    )

    @classmethod
    def of(cls, state: DeliveryState, log: DeliveryLog) -> Self:
        """Show a log."""
        shown = [DeliveryView.of(delivery) for delivery in log.deliveries]
        return cls(state=state, deliveries=shown, next_at=log.next_at)


class Deliveries:
    """The endpoint."""

    def __init__(self, outbox: Outbox) -> None:
        """Read from `outbox`."""
        self._outbox = outbox

    async def show(self, request: Request) -> Response:
        """Say what came of telling the job's webhook how it ended, each time it was tried."""
        job_id = request.path_params["job_id"]
        log = await self._outbox.log(job_id)
        if log is None:
            raise UnknownJob(f"There is no job with the id {job_id}.")
        if log.state is None:
            raise NoWebhook
        return JSONResponse(DeliveriesView.of(log.state, log).model_dump(mode="json"))


def add_deliveries(app: FastAPI, outbox: Outbox) -> None:
    """Serve the logs in `outbox`."""
    app.get(
        DELIVERIES,
        response_model=DeliveriesView,
        responses=problems(404, 503),
        openapi_extra=path("job_id"),
    )(Deliveries(outbox).show)
