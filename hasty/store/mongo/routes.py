"""Which index of the jobs answers a list, and what it leaves open."""

from datetime import timedelta
from typing import Any, NamedTuple

from pymongo import ASCENDING, IndexModel

from hasty.job import Status, first_id_of
from hasty.store.base import JobFilter, Place
from hasty.store.mongo.connection import Document

#: For each way to ask, the ids in order. A job moves its keys whenever its status changes.
LIST_INDEXES = [
    IndexModel([("status", ASCENDING), ("_id", ASCENDING)], name="of_status"),
    IndexModel([("handler", ASCENDING), ("status", ASCENDING), ("_id", ASCENDING)], name="of_handler"),
    IndexModel(
        [("labels", ASCENDING), ("status", ASCENDING), ("_id", ASCENDING)],
        name="labelled",
        partialFilterExpression={"labels": {"$exists": True}},
    ),
]

#: An id is made so long before its job is accepted, and by a clock that differs by so much. A client's job
#: waits for seconds; a schedule's firing, whose id was made when it was decided, for as long as too many
#: jobs wait or MongoDB is away: beyond this it is not found by the time of its acceptance. The price is
#: that the last pages of a list look at the jobs of so many minutes more.
_ADMITTED_WITHIN = timedelta(minutes=5)
_CLOCKS_DIFFER = timedelta(seconds=5)


class Route(NamedTuple):
    """A way to what is wanted: a part of an index, walked from its end to its beginning."""

    #: The index.
    by: str
    #: What the index answers.
    keys: Document
    #: What only the documents answer; empty where the index answers all.
    rest: Document
    #: What it is ordered by, after `keys`.
    order: str = "_id"
    #: Nothing is looked for before the one, nor from the other on.
    lowest: str | None = None
    behind: str | None = None

    def part(self, after: Place | None, until: Place | None = None) -> Document:
        """Return what chooses the keys behind one place, as far as another."""
        above: list[Any] = [bound for bound in (self.lowest, until) if bound is not None]
        below: list[Any] = [bound for bound in (self.behind, after) if bound is not None]
        between = ({"$gte": max(above)} if above else {}) | ({"$lt": min(below)} if below else {})
        return self.keys | {self.order: between} if between else self.keys


def route_of(wanted: JobFilter, rarest: str | None = None) -> Route:
    """Choose an index; where labels are wanted, the keys of the `rarest` of them are walked.

    An object's jobs are in order in one index already, and what else is wanted of them is looked for
    there: one more would cost every job a key.
    """
    times = _accepted(wanted)
    if wanted.object_id is not None:
        labels: Document = {"labels": {"$all": texts_of(wanted)}} if wanted.labels else {}
        status: Document = with_status(wanted) if wanted.statuses else {}
        rest = status | _of_handler(wanted) | labels | times
        return Route("run_of_object", {"object_id": wanted.object_id}, rest, "run")
    lowest, behind = _ids(wanted)
    if rarest is not None:
        rest = _of_handler(wanted) | _labels_but(rarest, wanted) | times
        return Route("labelled", {"labels": rarest} | with_status(wanted), rest, lowest=lowest, behind=behind)
    index, keys = "_id_", Document()
    if wanted.handler is not None:
        index, keys = "of_handler", _of_handler(wanted) | with_status(wanted)
    elif wanted.statuses:
        index, keys = "of_status", with_status(wanted)
    return Route(index, keys, times, lowest=lowest, behind=behind)


def texts_of(wanted: JobFilter) -> list[str]:
    """Return the labels as they are kept."""
    return [f"{name}={value}" for name, value in wanted.labels]


def with_status(wanted: JobFilter) -> Document:
    """Choose by status. Where any will do all are named: then the keys of each are in order."""
    return {"status": {"$in": sorted(map(str, wanted.statuses or Status))}}


def _of_handler(wanted: JobFilter) -> Document:
    return {"handler": wanted.handler} if wanted.handler is not None else {}


def _labels_but(rarest: str, wanted: JobFilter) -> Document:
    """Choose by the other labels, in words that no index understands: it is not to be walked by those."""
    others = [text for text in texts_of(wanted) if text != rarest]
    return {"$expr": {"$setIsSubset": [{"$literal": others}, "$labels"]}} if others else {}


def _accepted(wanted: JobFilter) -> Document:
    bounds = {"$gte": wanted.accepted_after, "$lt": wanted.accepted_before}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return {"accepted_at": given} if given else {}


def _ids(wanted: JobFilter) -> tuple[str | None, str | None]:
    """Return between which ids all lie that were accepted between those times."""
    after, before = wanted.accepted_after, wanted.accepted_before
    return (
        None if after is None else first_id_of(after - _ADMITTED_WITHIN - _CLOCKS_DIFFER),
        None if before is None else first_id_of(before + _CLOCKS_DIFFER),
    )
