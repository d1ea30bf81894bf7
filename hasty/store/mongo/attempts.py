"""The ledger as people read it, in MongoDB. Writes nothing.

attempts  the job's page, and the documents of the workers that are named there
"""

from pymongo import AsyncMongoClient

from hasty.job import Cause, Json
from hasty.store.base import Attempt, outcome_of
from hasty.store.mongo.connection import Document, from_text, in_time

#: Nobody is shown this here, and it may be long.
_WITHOUT_RESULT = {"final.result": 0}

_Processes = dict[tuple[str, int], Document]


class MongoAttempts:
    """See `hasty.store.base.AttemptReader`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_worker") -> None:
        """Use `client`; nothing is sent yet."""
        self._pages = client[database]["ledger"]
        self._workers = client[database]["workers"]

    async def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """See `AttemptReader`."""
        with in_time():
            page = await self._pages.find_one({"_id": job_id}, _WITHOUT_RESULT)
            if page is None:
                return ()
            closed, opened = page["attempts"], page["open"]
            starts = closed if opened is None else [*closed, opened]
            known = await self._processes({start["worker"] for start in starts})
        told = [_closed(attempt, page, known) for attempt in closed]
        return (*told, *([_opened(opened, known)] if opened is not None else []))

    async def _processes(self, workers: set[str]) -> _Processes:
        """Return the processes that each of these workers has been, as far as they are kept."""
        found = self._workers.find({"_id": {"$in": sorted(workers)}}, {"boots": 1})
        return {
            (worker["_id"], boot["n"]): boot async for worker in found for boot in worker.get("boots", ())
        }


def _closed(attempt: Document, page: Document, known: _Processes) -> Attempt:
    final, last = page["final"], page["attempts"][-1]
    end = from_text(final["error"]) if final is not None else None
    error = from_text(attempt.get("error"))
    outcome, why = outcome_of(attempt["outcome"], error, end, decided=final is not None and attempt is last)
    return _told(attempt, known, outcome, attempt.get("cause"), why)


def _opened(attempt: Document, known: _Processes) -> Attempt:
    blame = attempt.get("blame")
    return _told(attempt, known, "running" if blame is None else "lost", blame)


def _told(
    attempt: Document,
    known: _Processes,
    outcome: str,
    cause: str | None,
    error: dict[str, Json] | None = None,
) -> Attempt:
    process = known.get((attempt["worker"], attempt["boot"]), {})
    return Attempt(
        n=attempt["n"],
        worker=attempt["worker"],
        boot=attempt["boot"],
        node=process.get("node"),
        pid=process.get("pid"),
        started_at=attempt["started_at"],
        ended_at=attempt.get("ended_at"),
        outcome=outcome,
        cause=Cause(cause) if cause is not None else None,
        error=error,
    )
