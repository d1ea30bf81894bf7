"""How hasty talks to MongoDB: one client's settings, and what its errors mean to us."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pymongo
from pymongo import AsyncMongoClient
from pymongo.errors import BulkWriteError, PyMongoError

from hasty.errors import StoreUnavailable
from hasty.job import Json

Document = dict[str, Any]

#: One operation, with its retries, takes so long at most; then its outcome is unknown.
_OPERATION_MS = 5_000

#: A missing server is noticed after this: clients wait for a 503 meanwhile.
_SELECTION_MS = 2_000

#: What only people wait for is given up after this, in seconds.
READ_WITHIN_S = 3.0

_DUPLICATE_KEY = 11000


def connect(uri: str) -> AsyncMongoClient[Document]:
    """Return a client that reads and writes on a majority, journaled. Connects on first use."""
    return AsyncMongoClient(
        uri,
        appname="hasty",
        tz_aware=True,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        readPreference="primary",
        # Every write here may be asked again by whoever wants it; the driver's own way to make
        # that safe costs the server a fifth of its work in bookkeeping for each statement.
        retryWrites=False,
        timeoutMS=_OPERATION_MS,
        serverSelectionTimeoutMS=_SELECTION_MS,
    )


async def server_time(client: AsyncMongoClient[Document]) -> datetime:
    """Return the primary's wall time. Raises StoreUnavailable."""
    with clear_answers():
        hello = await client.admin.command("hello", codec_options=client.codec_options)
    moment: datetime = hello["localTime"]
    return moment


@contextmanager
def clear_answers() -> Iterator[None]:
    """Turn whatever leaves us in doubt into StoreUnavailable.

    The driver's own text is left out of the message: it may carry addresses and documents.
    """
    try:
        yield
    except PyMongoError as error:
        msg = f"MongoDB gave no clear answer ({type(error).__name__})"
        raise StoreUnavailable(msg) from error


@contextmanager
def in_time(seconds: float = READ_WITHIN_S) -> Iterator[None]:
    """As `clear_answers`, of reading for people: all of it is done within so many seconds, or not at all.

    The server gives up, too: whoever asks for too much does not keep it from its work.
    """
    with clear_answers():
        try:
            with pymongo.timeout(seconds):
                yield
        except PyMongoError as error:
            if not error.timeout:
                raise
            msg = f"MongoDB did not answer this within {seconds:g} s: ask for less, or ask again later"
            raise StoreUnavailable(msg) from error


def duplicates(error: BulkWriteError) -> set[int]:
    """Return the positions in a bulk write that met a taken key; raise if anything else went wrong.

    Raises StoreUnavailable: with a write concern error nothing of the batch is known to be durable.
    """
    details = error.details or {}
    failed = details.get("writeErrors", [])
    if details.get("writeConcernErrors") or any(e["code"] != _DUPLICATE_KEY for e in failed):
        msg = "MongoDB did not confirm a batch of writes"
        raise StoreUnavailable(msg) from error
    return {e["index"] for e in failed}


def to_text(value: Json) -> str | None:
    """Keep a JSON value as text: exact, whatever its keys and numbers are, and bounded in bytes."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def from_text(text: str | None) -> Json:
    """Return the value that `to_text` kept."""
    return None if text is None else json.loads(text)
