"""The client of hasty: what a program needs to give it jobs, and to hear how they end."""

from hasty.client.awaiting import AsyncClient
from hasty.client.blocking import Client
from hasty.client.models import (
    FINAL,
    Attempt,
    Delivery,
    DeliveryLog,
    Event,
    Firing,
    HandlerInfo,
    Job,
    ObjectState,
    Pool,
    Progress,
    Schedule,
)
from hasty.client.requests import JobRequest

__all__ = [
    "FINAL",
    "AsyncClient",
    "Attempt",
    "Client",
    "Delivery",
    "DeliveryLog",
    "Event",
    "Firing",
    "HandlerInfo",
    "Job",
    "JobRequest",
    "ObjectState",
    "Pool",
    "Progress",
    "Schedule",
]
