"""Lists of jobs in MongoDB. Writes nothing.

page    newest first, by the index that fits; what no index answers is looked for in windows of one
object  from the newest run down to the first that has had its turn

Each query is read at one moment (read concern snapshot): a job that changes its status
moves in an index, and a scan of several statuses could see it twice, or not at all.
"""

import asyncio
from typing import TYPE_CHECKING

from pymongo import AsyncMongoClient
from pymongo.read_concern import ReadConcern

from hasty.store.base import PAGE_BYTES, JobFilter, JobPage, ObjectJobs, Place
from hasty.store.mongo.connection import Document, in_time
from hasty.store.mongo.documents import job_of
from hasty.store.mongo.routes import Route, route_of, texts_of, with_status

if TYPE_CHECKING:
    from hasty.job import Job

#: Where no index answers a question whole, so many of its keys are looked at for one page; a few at first.
LOOKED_AT = 10_000
_LOOKED_AT_FIRST = 500

#: And no more once it took so long, in seconds: half a megabyte each is slow to read.
_LOOKED_FOR_S = 1.0

#: Which label is the rarest is found out by counting, up to this.
_COUNTED = 10_000

#: The newest job of an object, or the one before it, has had its turn, most of the time.
_OF_AN_OBJECT = 2


class MongoJobReader:
    """See `hasty.store.base.JobReader`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_api") -> None:
        """Use `client`; nothing is sent yet."""
        self._jobs = client[database]["jobs"].with_options(read_concern=ReadConcern("snapshot"))

    async def page(self, wanted: JobFilter, after: Place | None, limit: int) -> JobPage:
        """See `JobReader`."""
        with in_time():
            route = route_of(wanted, await self._rarest_label(wanted))
            page, window, left = _Page(limit), _LOOKED_AT_FIRST, LOOKED_AT
            now = asyncio.get_running_loop().time
            until_s = now() + _LOOKED_FOR_S
            while True:
                until = await self._end_of_window(route, after, window) if route.rest else None
                if not await self._fill(page, route, after, until):
                    return JobPage(tuple(page.jobs), wanted.place_of(page.jobs[-1]))
                left -= window
                if until is None or left <= 0 or now() > until_s:
                    return JobPage(tuple(page.jobs), until)
                after, window = until, min(2 * window, left)

    async def object(self, object_id: str) -> ObjectJobs | None:
        """See `JobReader`."""
        jobs: list[Job] = []
        chosen, newest_first = {"object_id": object_id}, {"run": -1}
        with in_time():
            async with self._jobs.find(
                chosen, sort=newest_first, hint="run_of_object", batch_size=_OF_AN_OBJECT
            ) as cursor:
                async for found in cursor:
                    job = job_of(found)
                    # Of the others between there may be very many.
                    if not jobs or not job.passed_over:
                        jobs.append(job)
                    if not job.waits_for_turn:
                        break
        return ObjectJobs.of(jobs)

    async def _fill(self, page: "_Page", route: Route, after: Place | None, until: Place | None) -> bool:
        """Read a part of the list; return whether there was room for all of it."""
        chosen = route.part(after, until) | route.rest
        order = {route.order: -1}
        async with self._jobs.find(chosen, sort=order, limit=page.room + 1, hint=route.by) as cursor:
            async for found in cursor:
                if not page.take(found):
                    return False
        return True

    async def _end_of_window(self, route: Route, after: Place | None, window: int) -> Place | None:
        """Return the last place of a window of keys; None where there are no keys behind it."""
        places = self._jobs.find(
            route.part(after),
            {"_id": 0, route.order: 1},
            sort={route.order: -1},
            skip=window - 1,
            limit=2,
            hint=route.by,
        )
        ends: list[Place] = [found[route.order] async for found in places]
        return ends[0] if len(ends) > 1 else None

    async def _rarest_label(self, wanted: JobFilter) -> str | None:
        """Say which of the labels leads to the fewest jobs, as far as it is worth counting."""
        texts = texts_of(wanted)
        if len(texts) < 2:  # noqa: PLR2004  one is the rarest
            return texts[0] if texts else None
        counted = [(await self._count(wanted, text), text) for text in texts]
        return min(counted)[1]

    async def _count(self, wanted: JobFilter, label: str) -> int:
        chosen = {"labels": label} | with_status(wanted)
        return await self._jobs.count_documents(chosen, limit=_COUNTED, hint="labelled")


class _Page:
    """What has been found, as far as there is room for it."""

    def __init__(self, limit: int) -> None:
        self.jobs: list[Job] = []
        self.room = limit
        self._bytes = 0

    def take(self, found: Document) -> bool:
        """Add a job; False, and nothing is done, where there is no room for it."""
        self._bytes += sum(len((found.get(name) or "").encode()) for name in ("payload", "result", "error"))
        if not self.room or (self.jobs and self._bytes > PAGE_BYTES):
            return False
        self.jobs.append(job_of(found))
        self.room -= 1
        return True
