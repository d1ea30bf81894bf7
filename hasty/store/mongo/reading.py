"""Lists of jobs in MongoDB. Writes nothing.

page    newest first, by the index that fits; what no index answers is looked for in windows of one
object  its newest run, and the newest of those that were not passed over: a seek for each

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
from hasty.store.mongo.turns import STANDING

if TYPE_CHECKING:
    from hasty.job import Job

#: Where no index answers a question whole, so many of its keys are looked at for one page; a few at first.
LOOKED_AT = 10_000
_LOOKED_AT_FIRST = 500

#: And no more once it took so long, in seconds: half a megabyte each is slow to read.
_LOOKED_FOR_S = 1.0

#: Which label is the rarest is found out by counting, up to this.
_COUNTED = 10_000


class MongoJobReader:
    """See `hasty.store.base.JobReader`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_api") -> None:
        """Use `client`; nothing is sent yet."""
        self._client = client
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
        seeks: list[tuple[Document, str]] = [({}, "run_of_object"), *STANDING]
        with in_time():
            # In a session of this kind all is read at one moment.
            async with self._client.start_session(snapshot=True) as session:
                found = [
                    await self._jobs.find_one(
                        {"object_id": object_id} | jobs, sort={"run": -1}, hint=index, session=session
                    )
                    for jobs, index in seeks
                ]
        jobs = [job_of(each) for each in found if each is not None]
        return ObjectJobs.of(sorted(jobs, key=lambda job: job.run, reverse=True))

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
