"""Every store under one suite: the reference in memory, and MongoDB for real. And real children."""

import asyncio
import uuid

import pytest
from pymongo import MongoClient

from hasty.children import Children
from hasty.clock import SystemClock
from hasty.store.memory import MemoryJobStore, MemoryLedger
from hasty.store.mongo import MongoJobStore, MongoLedger
from hasty.store.mongo.connection import connect
from tests.contract import errands
from tests.contract.raising import PATIENCE_S, living, result, started


@pytest.fixture(scope="session")
def mongo_uri(mongo_uri):
    """Nothing is forgotten by itself: the days of the examples are long past, and their ends expired."""
    with MongoClient(mongo_uri) as client:
        client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
    return mongo_uri


@pytest.fixture
async def database(mongo_uri):
    """A client and the name of a database that goes when the test ends."""
    name = f"test_{uuid.uuid4().hex}"
    async with connect(mongo_uri) as client:
        yield client, name
        await client.drop_database(name)


@pytest.fixture
async def mongo_jobs(database):
    store = MongoJobStore(*database)
    await store.prepare()
    return store


@pytest.fixture
async def mongo_ledger(database):
    return MongoLedger(*database)


@pytest.fixture(params=["memory", "mongo"])
def jobs(request):
    if request.param == "memory":
        return MemoryJobStore(SystemClock())
    return request.getfixturevalue("mongo_jobs")


@pytest.fixture(params=["memory", "mongo"])
def ledger(request):
    return (
        MemoryLedger(SystemClock()) if request.param == "memory" else request.getfixturevalue("mongo_ledger")
    )


@pytest.fixture
async def raised():
    """Make children, and see that none is left."""
    before, made = living(), []

    def make(slots=1, prepare=errands.prepare, **options):
        made.append(Children(slots, prepare, **options))
        return made[-1]

    yield make
    for children in made:
        await asyncio.wait_for(children.close(), PATIENCE_S)
    assert living() == before


@pytest.fixture
async def only_child(raised):
    """A pool of one child, which nobody has asked for anything."""
    return raised()


@pytest.fixture
async def neighbour(raised, tmp_path):
    """A pool of two children, and a call in one of them that ends when its file is written."""
    children, file = raised(2), tmp_path / "word"
    file.touch()
    call = await started(children.start("wait_for", str(file)))
    (child,) = living()
    yield children
    # Whatever happened beside it:
    file.write_text("go on")
    assert await result(call) == child
