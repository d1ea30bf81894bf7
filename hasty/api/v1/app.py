"""The application that serves `/v1`, put together."""

from copy import deepcopy
from typing import Any

from fastapi import FastAPI

from hasty.api import seed_description
from hasty.api.gateway import Gateway
from hasty.api.hub import Hub
from hasty.api.problems import HANDLERS, Problem
from hasty.api.readers import Readers
from hasty.api.scheduling import Scheduling
from hasty.api.schemas import NewJob
from hasty.api.v1.attempts import add_attempts
from hasty.api.v1.batch import add_batch
from hasty.api.v1.deliveries import add_deliveries
from hasty.api.v1.describing import gather
from hasty.api.v1.events import EventView, add_events
from hasty.api.v1.handlers import add_handlers
from hasty.api.v1.jobs import add_jobs
from hasty.api.v1.listing import add_listing
from hasty.api.v1.objects import add_objects
from hasty.api.v1.pools import add_pools
from hasty.api.v1.schedules import add_schedules
from hasty.api.v1.securing import secure
from hasty.api.v1.show import add_show
from hasty.clock import SystemClock
from hasty.store.base import Outbox


class Described(FastAPI):
    """FastAPI would describe its own errors; ours are problem documents."""

    secured = False

    def openapi(self) -> dict[str, Any]:
        """Return the description of the surface."""
        described = super().openapi()
        gather(described, Problem, NewJob, EventView)
        described["paths"] |= deepcopy(seed_description.PATHS)
        if self.secured:
            secure(described)
        return described


def build_v1(
    gateway: Gateway,
    *,
    secured: bool = False,
    readers: Readers | None = None,
    hub: Hub | None = None,
    scheduling: Scheduling | None = None,
    outbox: Outbox | None = None,
) -> FastAPI:
    """Return the application that serves `/v1`, `/docs` and `/openapi.json`.

    What `readers` read, schedules and deliveries are served where they are there. `secured`: its
    description says that it takes an API key, which somebody else asks for.
    """
    app = Described(
        title="hasty",
        summary="A durable job service for work keyed by a thing.",
        version="1",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
    )
    app.secured = secured
    hub = hub or Hub(SystemClock())
    add_jobs(app, gateway)
    add_show(app, gateway, hub)
    add_events(app, gateway, hub)
    add_batch(app, gateway)
    add_pools(app, gateway)
    if readers is not None:
        add_listing(app, readers.lists)
        add_attempts(app, gateway, readers.attempts)
        add_objects(app, readers.lists, readers.jobs)
        add_handlers(app, readers.handlers)
    if scheduling is not None:
        add_schedules(app, scheduling)
    if outbox is not None:
        add_deliveries(app, outbox)
    return app
