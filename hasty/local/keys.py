"""How this machine reaches the API keys of a hasty: whether it runs or not."""

import asyncio
import os
import shlex
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from hasty.errors import AlreadyRunning, CannotStart
from hasty.local.folder import DataFolder
from hasty.local.mongod import Mongod, find_mongod
from hasty.local.processes import COOKIE
from hasty.local.signals import stop_as_by_ctrl_c, surely
from hasty.settings import Settings
from hasty.store.mongo import MongoKeys
from hasty.store.mongo.connection import connect, server_time
from hasty.store.mongo.server import check_replica_set

Answer = TypeVar("Answer")

#: What is asked of the keys; the time is MongoDB's.
Question = Callable[[MongoKeys, datetime], Awaitable[Answer]]

#: A hasty that starts or stops is done with it by then.
_PATIENCE_S = 60.0

_LOOK_S = 0.05


def ask(uri: str, question: Question[Answer]) -> Answer:
    """Return what the keys at a MongoDB say. Raises StoreUnavailable."""

    async def asked() -> Answer:
        async with connect(uri) as client:
            return await question(MongoKeys(client), await server_time(client))

    return asyncio.run(asked())


def require_a_key(settings: Settings, uri: str) -> None:
    """Raise CannotStart where requests need an API key and there is none yet."""
    if settings.needs_keys and not ask(uri, lambda keys, now: keys.any_live(now)):
        add = ["hasty", "keys", "add", "NAME"]
        if settings.api_mongo_uri is None and "data_dir" in settings.model_fields_set:
            add += ["--data-dir", str(settings.data_dir)]
        raise CannotStart(
            f"requests to {settings.http_host} need an API key, and there is none: run `{shlex.join(add)}` "
            "first, or say --no-auth (HASTY_AUTH=false): then whoever can reach it may do everything"
        )


@contextmanager
def keys_database(settings: Settings, *, create: bool = False) -> Iterator[str]:
    """Yield the URI of the MongoDB that keeps the keys.

    It is the one that is set; else that of the data folder. Where that one does not run, it runs
    meanwhile. Raises CannotStart; also where nothing is in the folder yet, unless it is to `create` it.
    """
    if settings.api_mongo_uri is not None:
        check_replica_set(settings.jobs_uri)
        yield settings.jobs_uri
        return
    folder = DataFolder(settings.data_dir)
    if not create and not Mongod(Path(), folder.path, {}).exists:
        raise CannotStart(
            f"no hasty has been in the data folder {folder.path}: set HASTY_DATA_DIR, or HASTY_API_MONGO_URI"
        )
    if not _hold_unless_it_runs(folder):
        yield Mongod(Path(), folder.path, os.environ).uri
        return
    stop_as_by_ctrl_c()
    try:
        with _running_meanwhile(folder) as uri:
            yield uri
    finally:
        folder.release()


def _hold_unless_it_runs(folder: DataFolder) -> bool:
    """Become the holder of a data folder; or say no: a hasty runs with it, on a MongoDB in it."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            folder.hold()
        except AlreadyRunning:
            record = folder.record()
        else:
            return True
        if record.get("embedded"):
            return False
        if "embedded" in record:
            raise CannotStart(
                f"the hasty that runs with the data folder {folder.path} keeps its keys in another MongoDB: "
                "set HASTY_API_MONGO_URI to that"
            )
        if time.monotonic() > deadline:
            raise CannotStart(f"the data folder {folder.path} is in use: try again, or set HASTY_DATA_DIR")
        time.sleep(_LOOK_S)


@contextmanager
def _running_meanwhile(folder: DataFolder) -> Iterator[str]:
    """Run the MongoDB of a folder that we hold, unless a hasty was killed and left it running."""
    environment = {**os.environ, COOKIE: folder.instance()}
    mongod = Mongod(find_mongod(os.environ), folder.path, environment)
    if mongod.serves:
        yield mongod.uri
        return
    # Whoever cleans up after us, were we killed, finds it by that. Of a hasty that was killed before
    # us stays what is to be cleaned up, and not how it could be reached.
    kept = {name: found for name, found in folder.record().items() if name == "run_dir"}
    folder.write_record(instance=folder.instance(), **kept)
    try:
        yield mongod.start()
    finally:
        surely(mongod.stop)
        if not kept:
            folder.remove_record()
