"""Lists of jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from hasty.api.cursors import cursor_of, place_in
from hasty.api.listing_schemas import JobsView, ListQuery
from hasty.api.schemas import JobView
from hasty.api.v1.describing import problems
from hasty.api.v1.jobs import JOBS
from hasty.api.v1.querying import query, read_query
from hasty.errors import Overloaded
from hasty.store.base import JobReader

#: So many lists are read at once, each of which may bring megabytes; and so many wait for that.
_AT_ONCE = 8
_WAITING = 64


class Listing:
    """The endpoint."""

    def __init__(self, reader: JobReader) -> None:
        """List what `reader` finds."""
        self._reader = reader
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._here = 0

    async def show(self, request: Request) -> Response:
        """List jobs, newest first, page by page: with `next_cursor` a list goes on where the page ended.

        A walk through the pages meets no job twice, and all that were there when it began. A page may
        be shorter than `limit`, or empty, though the list goes on: where jobs are heavy, and where what
        is wanted is rare among what had to be looked at.
        """
        asked = read_query(ListQuery, request)
        wanted = asked.filter
        after = place_in(asked.cursor, wanted) if asked.cursor is not None else None
        async with self._place():
            page = await self._reader.page(wanted, after, asked.limit)
            shown = JobsView(
                jobs=[JobView.of(job) for job in page.jobs],
                next_cursor=cursor_of(wanted, page.next) if page.next is not None else None,
            )
            return JSONResponse(shown.model_dump(mode="json"))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for a place to read in. Raises Overloaded where too many wait for one."""
        if self._here == _AT_ONCE + _WAITING:
            raise Overloaded("Too many lists are being read already; ask again.")
        self._here += 1
        try:
            async with self._places:
                yield
        finally:
            self._here -= 1


def add_listing(app: FastAPI, reader: JobReader) -> None:
    """Serve lists of jobs from `reader`."""
    app.get(
        JOBS,
        response_model=JobsView,
        responses=problems(422, 503),
        openapi_extra=query(ListQuery),
    )(Listing(reader).show)
