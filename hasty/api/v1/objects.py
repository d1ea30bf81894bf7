"""Objects: what is known of what the work is about."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.convertors import PathConvertor, register_url_convertor

from hasty.api.reading_schemas import ObjectView
from hasty.api.v1.describing import path, problems
from hasty.errors import UnknownObject
from hasty.job import Window
from hasty.messages import Refused
from hasty.messages import Request as Asked
from hasty.rerun import Past, decide
from hasty.store.base import JobReader, JobStore

OBJECTS = "/v1/objects"


class _Text(PathConvertor):
    """The rest of the path, whatever is in it. Starlette's own ends before a newline."""

    regex = r"[\s\S]*"


register_url_convertor("text", _Text())

#: A new job with nothing special about it.
_PLAIN = Asked(job_id="", object_id="", handler="", timeout_s=0.0, window=Window(0.0))


class Objects:
    """The endpoint."""

    def __init__(self, reader: JobReader, jobs: JobStore) -> None:
        """Show what `reader` finds, judged by the time of `jobs`."""
        self._reader = reader
        self._jobs = jobs

    async def show(self, request: Request) -> Response:
        """Say how an object stands: its last job, its runs, and whether it may have another job now.

        It may be different when that job is asked for: somebody else may come first.
        """
        object_id = request.path_params["object_id"]
        jobs = await self._reader.object(object_id)
        if jobs is None:
            raise UnknownObject("There is no job for this object: it never had one, or all are forgotten.")
        now = await self._jobs.server_time()
        verdict = decide(Past(jobs.newest, jobs.standing), _PLAIN, now)
        shown = ObjectView.of(object_id, jobs, verdict if isinstance(verdict, Refused) else None)
        return JSONResponse(shown.model_dump(mode="json"))


def add_objects(app: FastAPI, reader: JobReader, jobs: JobStore) -> None:
    """Serve objects from `reader`, judged by the time of `jobs`."""
    app.get(
        OBJECTS + "/{object_id:text}",
        response_model=ObjectView,
        responses=problems(404, 503),
        openapi_extra=path("object_id"),
    )(Objects(reader, jobs).show)
