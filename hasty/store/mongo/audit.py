"""Reads what hasty wrote, for whoever checks its promises. Writes nothing.

jobs, pages   the documents as they are now, of one prefix of object ids
telling       the events that are kept of them
history       what was written to them, in order, from the change streams: the server keeps it,
              so nobody need watch while it happens
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from bson import Timestamp
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from hasty.job import Job, Outcome, Status, first_id_of
from hasty.messages import EventType
from hasty.store.mongo.connection import Document, clear_answers, from_text
from hasty.store.mongo.jobs import MongoJobStore

#: What a change stream tells of one write.
Event = Mapping[str, Any]

#: A stream that has nothing more to tell says so after this.
_STREAM_WAIT_MS = 1_000

#: What is written when a job ends, and never again.
_OUTCOME = frozenset({"status", "result", "error", "ended_at", "attempt"})

#: Events that tell of an end.
ENDS = [f"job.{status}" for status in Status if status.final]

#: Instead of a status: somebody wrote to an outcome without saying a status, or removed the document.
CHANGED, DELETED = "changed", "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of a handler, as the ledger has it."""

    n: int
    claim: str
    worker: str
    boot: int
    started_at: datetime
    #: None while it is open.
    ended_at: datetime | None = None
    outcome: str | None = None
    #: Why it was lost, where that is known.
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A job's page of the ledger."""

    opened: Attempt | None
    attempts: tuple[Attempt, ...]
    final: Outcome | None
    #: The claim that recorded `final`; None where the job was closed without one.
    final_claim: str | None = None


class Moment(NamedTuple):
    """A point in the history of both databases."""

    jobs: Timestamp
    ledger: Timestamp


class Written(NamedTuple):
    """One write to a document: the status that it wrote, or `changed`, or `deleted`; and when."""

    word: str
    at: datetime


class History(NamedTuple):
    """What was written to each document, by job id, oldest first. Of the ledger: what touched `final`."""

    jobs: Mapping[str, tuple[Written, ...]]
    ledger: Mapping[str, tuple[Written, ...]]


class Telling(NamedTuple):
    """What was told of some jobs, by job id, in the order in which it was told."""

    types: Mapping[str, tuple[str, ...]]
    #: Numbers between the first and the last of these events that no event has.
    missing: int
    #: Events that say that something was not kept.
    gaps: int


class Audit:
    """Every method may raise StoreUnavailable, and may be called again."""

    def __init__(
        self,
        jobs: AsyncMongoClient[Document],
        ledger: AsyncMongoClient[Document],
        *,
        api: str = "hasty_api",
        worker: str = "hasty_worker",
    ) -> None:
        """Read database `api` from the one, `worker` from the other; nothing is sent yet."""
        self._store = MongoJobStore(jobs, api)
        self._api = jobs[api]
        self._worker = ledger[worker]

    async def moment(self) -> Moment:
        """Return the present point of the history."""
        with clear_answers():
            api, worker = await self._api.command("hello"), await self._worker.command("hello")
        return Moment(api["operationTime"], worker["operationTime"])

    async def jobs(self, prefix: str) -> dict[str, Job]:
        """Return the jobs of all objects whose ids begin with `prefix`."""
        with clear_answers():
            found = self._api["jobs"].find(_beginning_with(prefix), {"_id": 1})
            job_ids = [job["_id"] async for job in found]
        return await self._store.get(job_ids)

    async def live(self, prefix: str) -> int:
        """Return how many of them have not ended."""
        with clear_answers():
            return await self._api["jobs"].count_documents({**_beginning_with(prefix), "live": True})

    async def pages(self, job_ids: Collection[str]) -> dict[str, Page]:
        """Return the ledger's pages of these jobs."""
        with clear_answers():
            found = self._worker["ledger"].find({"_id": {"$in": list(job_ids)}})
            return {page["_id"]: _page(page) async for page in found}

    async def claimed_since(self, moment: datetime) -> bool:
        """Tell whether a job that was asked for after that moment has been started."""
        with clear_answers():
            found = await self._worker["ledger"].find_one({"_id": {"$gt": first_id_of(moment)}}, {"_id": 1})
        return found is not None

    async def open_from_before(self, moment: datetime) -> int:
        """Count the attempts of live jobs that were started before that moment and are still open."""
        with clear_answers():
            live = [job["_id"] async for job in self._api["jobs"].find({"live": True}, {"_id": 1})]
            started = {"_id": {"$in": live}, "open.started_at": {"$lt": moment}}
            return await self._worker["ledger"].count_documents(started)

    async def telling(self, job_ids: Collection[str]) -> Telling:
        """Return the events of these jobs."""
        events = self._api["events"]
        types: dict[str, tuple[str, ...]] = {}
        numbers = []
        with clear_answers():
            async for event in events.find({"job_id": {"$in": list(job_ids)}}, sort={"_id": 1}):
                types[event["job_id"]] = (*types.get(event["job_id"], ()), event["type"])
                numbers.append(event["_id"])
            if not numbers:
                return Telling({}, 0, 0)
            between = {"_id": {"$gte": numbers[0], "$lte": numbers[-1]}}
            kept = await events.count_documents(between)
            gaps = await events.count_documents({**between, "type": EventType.GAP})
        return Telling(types, numbers[-1] - numbers[0] + 1 - kept, gaps)

    async def untold(self, prefix: str) -> int:
        """Count the jobs of these objects that have ended without an event that says so."""
        over = {**_beginning_with(prefix), "live": {"$exists": False}}
        with clear_answers():
            ended = [job["_id"] async for job in self._api["jobs"].find(over, {"_id": 1})]
            about = {"job_id": {"$in": ended}, "type": {"$in": ENDS}}
            return len(ended) - len(await self._api["events"].distinct("job_id", about))

    async def told_since(self, moment: datetime) -> bool:
        """Tell whether something that happened after that moment is told of."""
        with clear_answers():
            return await self._api["events"].find_one({"at": {"$gt": moment}}, {"_id": 1}) is not None

    async def history(self, since: Moment) -> History:
        """Return what was written since that moment, to any job."""
        with clear_answers():
            jobs = await _told(_events(self._api["jobs"], since.jobs), _of_job)
            ledger = await _told(_events(self._worker["ledger"], since.ledger), _of_page)
        return History(jobs, ledger)


def _beginning_with(prefix: str) -> Document:
    # Two comparisons need no escaping, and use the index as a regular expression would.
    return {"object_id": {"$gte": prefix, "$lt": prefix + "\U0010ffff"}}


def _page(found: Document) -> Page:
    final = found["final"]
    return Page(
        opened=_attempt(found["open"]) if found["open"] else None,
        attempts=tuple(_attempt(attempt) for attempt in found["attempts"]),
        final=_outcome(final) if final else None,
        final_claim=final["claim"] if final else None,
    )


def _attempt(found: Document) -> Attempt:
    told: dict[str, Any] = {field.name: found.get(field.name) for field in fields(Attempt)}
    return Attempt(**told)


def _outcome(final: Document) -> Outcome:
    return Outcome(
        status=Status(final["status"]),
        ended_at=final["ended_at"],
        result=from_text(final["result"]),
        error=from_text(final["error"]),
        attempt=final["attempt"],
        started_at=final["started_at"],
        worker=final["worker"],
    )


async def _told(
    events: AsyncIterator[Event], word_of: Callable[[Event], str | None]
) -> dict[str, tuple[Written, ...]]:
    """Collect the words about each document."""
    found: dict[str, list[Written]] = {}
    async for event in events:
        word = DELETED if event["operationType"] == "delete" else word_of(event)
        if word is not None:
            found.setdefault(event["documentKey"]["_id"], []).append(Written(word, event["wallTime"]))
    return {job_id: tuple(written) for job_id, written in found.items()}


async def _events(collection: AsyncCollection[Document], since: Timestamp) -> AsyncIterator[Event]:
    """Yield what was written up to now; the server says when there is no more."""
    stream = collection.watch(start_at_operation_time=since, max_await_time_ms=_STREAM_WAIT_MS)
    async with await stream as events:
        while (event := await events.try_next()) is not None:
            yield event


def _of_job(event: Event) -> str | None:
    written = _written(event)
    return str(written.get("status", CHANGED)) if written.keys() & _OUTCOME else None


def _of_page(event: Event) -> str | None:
    written = _written(event)
    final = written.get("final")
    if final is not None:
        return str(final["status"])
    # A page begins with no final; taking one away, or a part of it, is a change.
    changed = event["operationType"] != "insert" and any(name.split(".")[0] == "final" for name in written)
    return CHANGED if changed else None


def _written(event: Event) -> Mapping[str, Any]:
    """Return the fields that an insert, a replacement or an update wrote."""
    if event["operationType"] != "update":
        whole: Mapping[str, Any] = event["fullDocument"]
        return whole
    update = event["updateDescription"]
    return {**update["updatedFields"], **dict.fromkeys(update["removedFields"])}
