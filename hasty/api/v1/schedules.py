"""Schedules: create, show, pause, resume, delete."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from hasty.api.bodies import read_body
from hasty.api.keying import PARAMETER, key_of
from hasty.api.schedule_schemas import NewSchedule, SchedulesQuery, SchedulesView, ScheduleView
from hasty.api.scheduling import Scheduling
from hasty.api.v1.describing import body, parse, path, problems
from hasty.api.v1.querying import query, read_query
from hasty.schedule import Schedule

SCHEDULES = "/v1/schedules"


class Schedules:
    """The endpoints."""

    def __init__(self, scheduling: Scheduling) -> None:
        """Serve from `scheduling`."""
        self._scheduling = scheduling

    async def create(self, request: Request) -> Response:
        """Make a schedule. A 201 is durable.

        The same again changes nothing: 200. A 503 means that it may exist or not: ask again.
        """
        asked = parse(NewSchedule, await read_body(request))
        created = await self._scheduling.create(asked, key_of(request, "schedule"))
        headers = {"Location": f"{SCHEDULES}/{created.schedule.name}"}
        if created.replayed:
            headers["Idempotency-Replayed"] = "true"
        return _shown(created.schedule, 201 if created.new else 200, headers)

    async def list(self, request: Request) -> Response:
        """Show the schedules, in the order of their names."""
        asked = read_query(SchedulesQuery, request)
        listed = await self._scheduling.page(asked.cursor or "", asked.limit)
        shown = SchedulesView(
            schedules=[ScheduleView.of(schedule) for schedule in listed.schedules],
            next_cursor=listed.schedules[-1].name if listed.more else None,
        )
        return JSONResponse(shown.model_dump(mode="json"))

    async def show(self, request: Request) -> Response:
        """Say how a schedule stands."""
        return _shown(await self._scheduling.find(request.path_params["name"]))

    async def pause(self, request: Request) -> Response:
        """Let a schedule fire no more until it is resumed; repeating it changes nothing. A 200 is durable.

        A firing that was begun before gets its job.
        """
        return _shown(await self._scheduling.pause(request.path_params["name"]))

    async def resume(self, request: Request) -> Response:
        """Let a schedule fire again; repeating it changes nothing. A 200 is durable.

        What would have fired while it was paused does not count as missed.
        """
        return _shown(await self._scheduling.resume(request.path_params["name"]))

    async def delete(self, request: Request) -> Response:
        """Forget a schedule. A 204 is durable. Its jobs stay; a firing that was begun before gets its job."""
        await self._scheduling.delete(request.path_params["name"])
        return Response(status_code=204)


def _shown(schedule: Schedule, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(ScheduleView.of(schedule).model_dump(mode="json"), status, headers)


def add_schedules(app: FastAPI, scheduling: Scheduling) -> None:
    """Serve schedules from `scheduling`."""
    schedules = Schedules(scheduling)
    app.post(
        SCHEDULES,
        status_code=201,
        response_model=ScheduleView,
        responses=_SAME | problems(400, 404, 409, 413, 422, 503),
        openapi_extra={**body(NewSchedule), "parameters": [PARAMETER]},
    )(schedules.create)
    app.get(
        SCHEDULES,
        response_model=SchedulesView,
        responses=problems(422, 503),
        openapi_extra=query(SchedulesQuery),
    )(schedules.list)
    one: dict[str, Any] = {"responses": problems(404, 503), "openapi_extra": path("name")}
    app.get(SCHEDULES + "/{name}", response_model=ScheduleView, **one)(schedules.show)
    app.post(SCHEDULES + "/{name}/pause", response_model=ScheduleView, **one)(schedules.pause)
    app.post(SCHEDULES + "/{name}/resume", response_model=ScheduleView, **one)(schedules.resume)
    app.delete(SCHEDULES + "/{name}", status_code=204, response_model=None, **one)(schedules.delete)


_SAME: dict[int | str, dict[str, Any]] = {
    200: {"model": ScheduleView, "description": "The schedule was there already, and is the same."}
}
