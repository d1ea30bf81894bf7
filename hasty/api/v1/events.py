"""Events: what happens to jobs, as it happens, and from where a client left off."""

import re
from typing import Any

from fastapi import FastAPI, Request, Response

from hasty.api.gateway import Gateway
from hasty.api.hub import Hub
from hasty.api.schemas import OBJECT_ID_LIMIT
from hasty.api.stream import EventStream, EventView, JobStream
from hasty.api.v1.describing import REFERENCE, path, problems
from hasty.errors import InvalidRequest
from hasty.store.base import Wanted

_EVENT_ID = re.compile(r"\d{1,18}", re.ASCII)

_AFTER = [
    {
        "name": name,
        "in": place,
        "description": f"Id of the last event that was heard: all after it is sent.{more}",
        "schema": {"type": "string", "pattern": r"^\d{1,18}$"},
    }
    for name, place, more in (
        ("Last-Event-ID", "header", ""),
        ("last_event_id", "query", " The header wins over it."),
    )
]

_FILTERS = [
    {
        "name": name,
        "in": "query",
        "description": f"Only events with this `{name}`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": OBJECT_ID_LIMIT},
    }
    for name in Wanted._fields
]

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-Sent Events. The `data` of each is what the schema says, in one line. "
        "Comments are heartbeats; an `id` without `data` says how far the stream is.",
        "content": {"text/event-stream": {"schema": {"$ref": REFERENCE.format(model="EventView")}}},
    }
}


class Events:
    """The endpoints."""

    def __init__(self, gateway: Gateway, hub: Hub) -> None:
        """Serve from the `hub`; the `gateway` knows the jobs."""
        self._gateway = gateway
        self._hub = hub

    async def of_all(self, request: Request) -> Response:
        """Follow what happens to jobs: from now on, or all after an event.

        Each event comes once and in its place, also over any number of connections, if each says
        which event was the last. An event `gap` says that events before it are not kept any more.
        """
        return EventStream(self._hub, _wanted_of(request), _after_of(request))

    async def of_job(self, request: Request) -> Response:
        """Follow what happens to a job: from its beginning, or all after an event, until its end.

        A 204 says that the event was its last: there is nothing to come back for.
        """
        job_id, after = request.path_params["job_id"], _after_of(request)
        await self._gateway.find(job_id)
        if after is not None and await self._hub.was_the_last_of(job_id, after):
            return Response(status_code=204)

        async def ended() -> bool:
            job = await self._gateway.get(job_id)
            return job is None or not job.live

        return JobStream(self._hub, job_id, after, ended)


def _after_of(request: Request) -> int | None:
    # An EventSource that comes back says it in the header, and its address still says where it began.
    given = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
    if not given:
        return None
    if _EVENT_ID.fullmatch(given):
        return int(given)
    raise InvalidRequest(complaints=(("last_event_id", "must be the id of an event"),))


def _wanted_of(request: Request) -> Wanted:
    found: dict[str, str] = {}
    for name in Wanted._fields:
        given = request.query_params.getlist(name)
        if len(given) > 1 or any(not 1 <= len(value) <= OBJECT_ID_LIMIT for value in given):
            told = f"must be one text of 1 to {OBJECT_ID_LIMIT} characters"
            raise InvalidRequest(complaints=((name, told),))
        if given:
            found[name] = given[0]
    return Wanted(**found)


def add_events(app: FastAPI, gateway: Gateway, hub: Hub) -> None:
    """Serve events from the `hub`."""
    events = Events(gateway, hub)
    app.get(
        "/v1/events",
        response_class=Response,
        responses=_STREAM | problems(404, 422, 503),
        openapi_extra={"parameters": [*_FILTERS, *_AFTER]},
    )(events.of_all)
    app.get(
        "/v1/jobs/{job_id}/events",
        response_class=Response,
        responses=_STREAM | {204: {"description": "The event was the job's last."}} | problems(404, 422, 503),
        openapi_extra={"parameters": [*path("job_id")["parameters"], *_AFTER]},
    )(events.of_job)


__all__ = ["EventView", "add_events"]
