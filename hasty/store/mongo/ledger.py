"""The ledger in MongoDB: database hasty_worker, collections ledger and workers.

claim     insert (a job's first attempt); where that meets a document, a conditional update
record    update while open.claim is mine, to the end or to a retry; where the total is short, read back
blame     update while open.claim is the one that is blamed
close     upsert on {final: null}, or an insert; where that meets a document, once more
announce  $max on a document of its own, which boot reads
boot      one more on the worker's document, unless a later process was counted; its latest are named there
condemn   update while the boot is still the one meant
ids, forget   by ranges of ids, which are ordered by time: no index and no write for each job

A bulk write reports totals, not which item won, so each path reads back what is in doubt.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from pymongo import AsyncMongoClient, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError

from hasty.clock import to_milliseconds
from hasty.errors import StoreUnavailable
from hasty.job import UNEXPLAINED, Cause, Outcome, Status
from hasty.messages import Process
from hasty.store.base import (
    ATTEMPTS_KEPT,
    Blame,
    Boot,
    Claim,
    ClaimAnswer,
    Claimed,
    Closing,
    Later,
    Over,
    Record,
    Spent,
    Stale,
)
from hasty.store.mongo.connection import (
    Document,
    clear_answers,
    duplicates,
    from_text,
    server_time,
    to_text,
)

#: So many processes of a worker are named in its document; older ones fall out.
BOOTS_KEPT = 100

#: A new primary may show a majority's state from before a write that the old one has confirmed.
_NOT_SHOWN_YET = "MongoDB does not show yet what was written"

#: Among the workers, the document that tells the epoch. No worker bears such a name.
_ANNOUNCED = "epoch"


class MongoLedger:
    """See `hasty.store.base.Ledger`."""

    def __init__(self, client: AsyncMongoClient[Document], database: str = "hasty_worker") -> None:
        """Use `client`; nothing is sent yet."""
        self._client = client
        self._pages = client[database]["ledger"]
        self._workers = client[database]["workers"]

    async def server_time(self) -> datetime:
        """See `Ledger`."""
        return await server_time(self._client)

    async def boot(self, worker: str, process: Process, born_s: float) -> Boot | None:
        """See `Ledger`."""
        with clear_answers():
            # A document for those that boot at once to meet at: of two that insert it one is refused.
            await self._workers.update_one({"_id": worker}, {"$setOnInsert": {"boot": 0}}, upsert=True)
            before = await self._workers.find_one_and_update(
                {"_id": worker, **_none_later(process, born_s)},
                [{"$set": _counted(process, born_s)}],
                return_document=ReturnDocument.BEFORE,
            )
            if before is None:
                return None
            announced = await self._workers.find_one({"_id": _ANNOUNCED})
        condemned = before["boot"] > 0 and before.get("condemned") == before["boot"]
        epoch = announced["epoch"] if announced is not None else 0
        return Boot(before["boot"] + 1, before.get("node"), condemned, epoch)

    async def announce(self, epoch: int) -> None:
        """See `Ledger`."""
        with clear_answers():
            await self._workers.update_one({"_id": _ANNOUNCED}, {"$max": {"epoch": epoch}}, upsert=True)

    async def condemn(self, worker: str, boot: int) -> bool:
        """See `Ledger`."""
        with clear_answers():
            chosen = {"_id": worker, "boot": boot}
            result = await self._workers.update_one(chosen, {"$set": {"condemned": boot}})
        return result.matched_count == 1

    async def claim(self, claims: Sequence[Claim]) -> list[ClaimAnswer]:
        """See `Ledger`."""
        met: set[int] = set()
        with clear_answers():
            try:
                await self._pages.insert_many([_first_page(claim) for claim in claims], ordered=False)
            except BulkWriteError as error:
                met = duplicates(error)
            later = [claims[position] for position in met]
            answers = await self._claim_again(later) if later else {}
        return [answers.get(claim.claim, Claimed(1)) for claim in claims]

    async def _claim_again(self, claims: list[Claim]) -> dict[str, ClaimAnswer]:
        """Claim jobs that have a page already; the answers are what the pages say afterwards."""
        # Of the two updates of a claim one finds nothing.
        updates = [update for claim in claims for update in (_takeover(claim), _spending(claim))]
        await self._pages.bulk_write(updates, ordered=False)
        pages = await self._read_back(claim.job_id for claim in claims)
        return {claim.claim: _answer(pages[claim.job_id], claim) for claim in claims}

    async def blame(self, blames: Sequence[Blame]) -> None:
        """See `Ledger`."""
        with clear_answers():
            await self._pages.bulk_write([_blaming(blame) for blame in blames], ordered=False)

    async def record(self, records: Sequence[Record]) -> list[Outcome | Later | None]:
        """See `Ledger`."""
        with clear_answers():
            result = await self._pages.bulk_write([_recording(r) for r in records], ordered=False)
            if result.matched_count == len(records):
                return [record.later or record.outcome for record in records]
            pages = await self._read(record.job_id for record in records)
        return [_what_stands(pages.get(record.job_id), record.claim) for record in records]

    async def close(self, closings: Sequence[Closing]) -> list[Outcome | None]:
        """See `Ledger`."""
        with clear_answers():
            # An upsert that meets a page which came just now, by the first claim, closes nothing. The
            # second finds it: whoever meets a page once more meets one that is closed.
            if met := await self._close(closings):
                await self._close([closings[position] for position in met])
            pages = await self._read_back(closing.job_id for closing in closings)
        stands = [_final(pages[closing.job_id]) for closing in closings]
        if any(end is None and not closing.untouched for closing, end in zip(closings, stands, strict=True)):
            raise StoreUnavailable(_NOT_SHOWN_YET)
        return stands

    async def finals(self, job_ids: Collection[str]) -> dict[str, Outcome]:
        """See `Ledger`."""
        chosen = {"_id": {"$in": list(job_ids)}, "final": {"$ne": None}}
        with clear_answers():
            finals = {page["_id"]: _final(page) async for page in self._pages.find(chosen)}
        return {job_id: final for job_id, final in finals.items() if final is not None}

    async def ids(self, after: str, before: str, limit: int) -> list[str]:
        """See `Ledger`."""
        between = {"_id": {"$gt": after, "$lt": before}}
        with clear_answers():
            cursor = self._pages.find(between, {"_id": 1}, sort={"_id": 1}, limit=limit)
            return [page["_id"] async for page in cursor]

    async def forget(self, job_ids: Collection[str]) -> None:
        """See `Ledger`."""
        with clear_answers():
            await self._pages.delete_many({"_id": {"$in": list(job_ids)}})

    async def _close(self, closings: Sequence[Closing]) -> set[int]:
        """Close what is open; return the positions of those that met a page in their way."""
        try:
            await self._pages.bulk_write([_closing(closing) for closing in closings], ordered=False)
        except BulkWriteError as error:
            return duplicates(error)
        return set()

    async def _read_back(self, job_ids: Iterable[str]) -> dict[str, Document]:
        """Read pages that are there. Raises StoreUnavailable where a new primary does not show one yet."""
        wanted = set(job_ids)
        pages = await self._read(wanted)
        if wanted - pages.keys():
            raise StoreUnavailable(_NOT_SHOWN_YET)
        return pages

    async def _read(self, job_ids: Iterable[str]) -> dict[str, Document]:
        cursor = self._pages.find({"_id": {"$in": list(job_ids)}})
        return {page["_id"]: page async for page in cursor}


def _counted(process: Process, born_s: float) -> Document:
    """Count a process, and name it among the latest of its worker."""
    n = {"$add": ["$boot", 1]}
    named = {"n": n, "node": {"$literal": process.node}, "pid": process.pid}
    boots = {"$concatArrays": [{"$ifNull": ["$boots", []]}, [named]]}
    return {
        "boot": n,
        "node": {"$literal": process.node},
        "pid": process.pid,
        "born_s": born_s,
        "booted_at": "$$NOW",
        "boots": {"$slice": [boots, -BOOTS_KEPT]},
    }


def _none_later(process: Process, born_s: float) -> Document:
    """Choose only if no process that was born later on this node was counted."""
    return {"$or": [{"node": {"$ne": process.node}}, {"born_s": {"$not": {"$gt": born_s}}}]}


def _attempt(claim: Claim) -> Document:
    return {
        "claim": claim.claim,
        "worker": claim.worker,
        "boot": claim.boot,
        "started_at": claim.at,
    }


def _first_page(claim: Claim) -> Document:
    return {
        "_id": claim.job_id,
        "token": int(claim.token),
        "open": {"n": 1, **_attempt(claim)},
        "attempts": [],
        "losses": 0,
        "charges": 0,
        "final": None,
    }


def _takeover(claim: Claim) -> UpdateOne:
    """Open the next attempt where the rule of `Ledger.claim` allows it."""
    token = int(claim.token)
    mine = {"token": token, "open.worker": claim.worker}
    may = {
        "_id": claim.job_id,
        "final": None,
        # Also where there is none.
        "later.run_at": {"$not": {"$gt": claim.at}},
        "$or": [
            {"token": {"$lt": token}},
            {**mine, "open.boot": {"$lt": claim.boot}},
            {**mine, "open.blame": {"$ne": None}},
        ],
        "$expr": {"$lt": [_CHARGES, claim.max_crashes]},
    }
    cause = {"$ifNull": ["$open.blame", _cause_without_blame(claim)]}
    lost = {"ended_at": claim.at, "outcome": "lost", "cause": cause}
    unexplained = {"$and": [_IS_OPEN, {"$in": [cause, [str(each) for each in UNEXPLAINED]]}]}
    last_n = {"$ifNull": ["$open.n", {"$ifNull": [{"$last": "$attempts.n"}, 0]}]}
    opened = {"$mergeObjects": [{"n": {"$add": [last_n, 1]}}, {"$literal": _attempt(claim)}]}
    taken = {
        "token": token,
        "attempts": _with_open_closed(lost),
        "losses": {"$add": ["$losses", {"$cond": [unexplained, 1, 0]}]},
        "charges": _CHARGES,
        "open": opened,
        "later": None,
    }
    return UpdateOne(may, [{"$set": taken}])


def _spending(claim: Claim) -> UpdateOne:
    """Spend the token of a claim that comes too early: who is given it late must not start after all."""
    token = int(claim.token)
    early = {"_id": claim.job_id, "final": None, "later.run_at": {"$gt": claim.at}, "token": {"$lt": token}}
    return UpdateOne(early, {"$set": {"token": token}})


_IS_OPEN = {"$ne": [{"$ifNull": ["$open", None]}, None]}

_IS_BLAMED = {"$ne": [{"$ifNull": ["$open.blame", None]}, None]}

_CHARGES = {"$add": [{"$ifNull": ["$charges", 0]}, {"$cond": [_IS_BLAMED, 1, 0]}]}


def _cause_without_blame(claim: Claim) -> Document:
    """Say why the open attempt was lost: its worker's next boot knows best, the one after it less."""
    next_boot = {"$eq": [{"$add": ["$open.boot", 1]}, claim.boot]}
    mine = {"$cond": [next_boot, str(claim.predecessor), str(Cause.KILLED)]}
    return {"$cond": [{"$eq": ["$open.worker", {"$literal": claim.worker}]}, mine, str(Cause.UNREACHABLE)]}


def _with_open_closed(end: Document) -> Document:
    """Compute the attempts with the open one, if any, appended as ended."""
    closed = [{"$mergeObjects": ["$open", end]}]
    attempts = {"$ifNull": ["$attempts", []]}
    both = {"$concatArrays": [attempts, {"$cond": [_IS_OPEN, closed, []]}]}
    return {"$slice": [both, -ATTEMPTS_KEPT]}


def _end(outcome: Outcome) -> Document:
    return {"ended_at": outcome.ended_at, "outcome": str(outcome.status)}


def _finals(outcome: Outcome, claim: str | None) -> Document:
    fields: dict[str, Any] = outcome._asdict()
    return fields | {
        "status": str(outcome.status),
        "result": to_text(outcome.result),
        "error": to_text(outcome.error),
        "claim": claim,
    }


def _recording(record: Record) -> UpdateOne:
    outcome, later = record.outcome, record.later
    attempt = {
        "n": outcome.attempt,
        "claim": record.claim,
        "worker": outcome.worker,
        "boot": record.boot,
        "started_at": outcome.started_at,
    }
    attempt |= _end(outcome)
    written: Document = {"open": None, "final": _finals(outcome, record.claim)}
    changes: Document = {}
    if later is not None:
        noted = later._asdict() | {"error": to_text(later.error)}
        # What the last attempt failed of stands in `final`.
        attempt["error"] = noted["error"]
        written = {"open": None, "later": noted}
        changes = {"$inc": {"retries": 1}}
    changes |= {"$set": written, "$push": {"attempts": {"$each": [attempt], "$slice": -ATTEMPTS_KEPT}}}
    return UpdateOne({"_id": record.job_id, "open.claim": record.claim, "open.blame": None}, changes)


def _blaming(blame: Blame) -> UpdateOne:
    chosen = {"_id": blame.job_id, "open.claim": blame.claim}
    return UpdateOne(chosen, {"$set": {"open.blame": str(blame.cause)}})


def _closing(closing: Closing) -> UpdateOne:
    if closing.untouched:
        return UpdateOne({"_id": closing.job_id}, {"$setOnInsert": _untouched_page(closing)}, upsert=True)
    ended = _end(closing.outcome)
    lost = {"ended_at": closing.outcome.ended_at, "outcome": "lost", "cause": "$open.blame"}
    written = {
        "token": {"$ifNull": ["$token", 0]},
        "attempts": _with_open_closed({"$cond": [_IS_BLAMED, lost, ended]}),
        "losses": {"$ifNull": ["$losses", 0]},
        "charges": _CHARGES,
        "final": {"$literal": _finals(closing.outcome, None)},
        "open": None,
        "later": None,
    }
    return UpdateOne({"_id": closing.job_id, "final": None}, [{"$set": written}], upsert=True)


def _untouched_page(closing: Closing) -> Document:
    return {
        "token": 0,
        "open": None,
        "attempts": [],
        "losses": 0,
        "charges": 0,
        "final": _finals(closing.outcome, None),
    }


def _answer(page: Document, claim: Claim) -> ClaimAnswer:
    over = _final(page)
    if over is not None:
        return Over(over)
    opened = page["open"] or {}
    blame = opened.get("blame")
    if blame is None and opened.get("claim") == claim.claim:
        return Claimed(opened["n"], page["losses"], page.get("retries", 0))
    if page["charges"] + (blame is not None) >= claim.max_crashes:
        lost = [attempt.get("cause") for attempt in page["attempts"]]
        return Spent(tuple(Cause(cause) for cause in (*lost, blame) if cause is not None))
    later = _later(page)
    return later if later is not None and page["token"] <= int(claim.token) else Stale()


def _later(page: Document) -> Later | None:
    noted = page.get("later")
    if noted is None:
        return None
    return Later(noted["attempt"], to_milliseconds(noted["run_at"]), from_text(noted["error"]))


def _what_stands(page: Document | None, claim: str) -> Outcome | Later | None:
    """Return what a record of this claim led to, or was forestalled by."""
    if page is None:
        return None
    last = page["attempts"][-1] if page["attempts"] else {}
    mine = page["open"] is None and last.get("claim") == claim
    return _final(page) or (_later(page) if mine else None)


def _final(page: Document | None) -> Outcome | None:
    final = page["final"] if page is not None else None
    if final is None:
        return None
    return Outcome(
        status=Status(final["status"]),
        ended_at=to_milliseconds(final["ended_at"]),
        result=from_text(final["result"]),
        error=from_text(final["error"]),
        attempt=final["attempt"],
        started_at=final["started_at"],
        worker=final["worker"],
        opens_at=final.get("opens_at"),
    )
