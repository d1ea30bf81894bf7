"""Writes that MongoDB carried out though whoever asked got an error: each comes to one right end."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from hasty.job import Cause, Job, Token
from hasty.store.base import Blame, Claim, Claimed
from tests.outage.proxy import Proxy
from tests.outage.servers import memory_folder, replica_set
from tests.outage.system import System
from tests.outage.watcher import Watcher, eventually

#: So often in a row the same write is carried out without a clear answer.
TIMES = 3


@pytest.fixture(scope="module")
def server():
    with replica_set(1) as servers:
        yield servers.primary


class CutConnection:
    """The connection breaks when the server has answered and the driver has not read it."""

    def __init__(self, proxy: Proxy, _server) -> None:
        self._proxy, self.uri = proxy, proxy.uri

    def arrange(self, system: System, command: str, collection: str, times: int = TIMES) -> None:
        self._proxy.lose(command, collection, times)

    def happened(self) -> int:
        return self._proxy.lost.total()


class UnmetWriteConcern:
    """The server says that it has written, but not whether a majority has it."""

    def __init__(self, proxy: Proxy, server) -> None:
        self.uri, self._server = proxy.uri, server
        self._before = 0

    def arrange(self, system: System, command: str, collection: str, times: int = TIMES) -> None:
        self._before = self._server.set_failpoint("failCommand", "off")
        self._server.set_failpoint(
            "failCommand",
            {"times": times},
            failCommands=[command],
            namespace=system.namespace(collection),
            writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"},
        )

    def happened(self) -> int:
        return self._server.set_failpoint("failCommand", "off") - self._before


@pytest.fixture(params=[CutConnection, UnmetWriteConcern])
async def trouble(request, server):
    with memory_folder() as folder:
        async with Proxy(server.port, folder / "proxy.sock").listening() as proxy:
            yield request.param(proxy, server)


@pytest.fixture
async def system(request, trouble):
    """Its jobs fail as often, and then finish, as a test asks for."""
    system = System(trouble.uri, longest_s=0.1, failures=getattr(request, "param", 0))
    yield system
    await system.end()


@pytest.mark.parametrize(
    ("command", "collection", "times", "system"),
    [
        ("insert", "jobs", TIMES, 0),
        ("insert", "ledger", TIMES, 0),
        ("update", "ledger", TIMES, 0),
        ("update", "jobs", TIMES, 0),
        ("update", "ledger", 3 * TIMES, 2),
        # The first of them are marks, which are not written again.
        ("update", "jobs", 5 * TIMES, 2),
    ],
    ids=["admit", "claim", "record", "settle", "record a retry", "postpone and wake"],
    indirect=["system"],
)
async def test_a_job_is_admitted_started_and_ended_once(system, trouble, command, collection, times):
    """However often its attempts fail before: each of them is started once."""
    await system.serve()
    trouble.arrange(system, command, collection, times)
    objects = [uuid.uuid4().hex for _ in range(30)]
    async with Watcher(system).watching():
        # Each object is asked for twice at a time.
        answers = await asyncio.gather(*(system.post(name) for name in [*objects, *objects]))
        answers += [await system.post(uuid.uuid4().hex) for _ in range(TIMES)]
        await system.settle_down()
    # The server counts one more where two workers write at the same time.
    assert trouble.happened() >= times
    # The Registry read back what became of its insert: nobody was left in the dark.
    assert (answers.count("accepted"), answers.count("refused")) == (30 + TIMES, 30)
    assert len(await system.check()) == 30 + TIMES


@pytest.mark.parametrize(
    ("command", "collection"),
    [("findAndModify", "meta"), ("findAndModify", "workers")],
    ids=["take the epoch", "boot"],
)
async def test_an_office_and_a_boot_are_asked_for_until_they_are_known(system, trouble, command, collection):
    trouble.arrange(system, command, collection)
    await system.serve()
    assert trouble.happened() == TIMES
    assert await system.post("an object") == "accepted"
    await system.settle_down()
    (job,) = (await system.check()).values()
    found = await system.jobs()._meta.find_one({"_id": "dispatcher"})
    # What the Dispatcher writes under is the epoch that stands.
    assert job.epoch == found["epoch"] == (1 + TIMES if collection == "meta" else 1)


@pytest.mark.parametrize("collection", ["ledger", "jobs"])
async def test_a_job_is_cancelled_once_and_whoever_wanted_it_hears_so(system, trouble, collection):
    system.last_s(600.0)
    await system.serve()
    for n in range(10):
        await system.post(f"object {n}")
    await eventually(lambda: all_at_work(system), "the jobs to run")
    trouble.arrange(system, "update", collection)
    async with Watcher(system).watching():
        answers = await asyncio.gather(*map(system.cancel, system.accepted))
        await system.settle_down()
    assert trouble.happened() == TIMES
    assert answers == [True] * 10
    jobs, pages = await system.ended_jobs()
    assert {(job.status, job.attempt, job.error["type"]) for job in jobs.values()} == {
        ("cancelled", 1, "CancelRequested")
    }
    for page in pages.values():
        assert [attempt["outcome"] for attempt in page["attempts"]] == ["cancelled"]
    await eventually(lambda: none_at_work(system), "the handlers to be stopped")


async def all_at_work(system: System) -> bool:
    return system.at_work == system.accepted.keys()


async def none_at_work(system: System) -> bool:
    return not system.at_work


async def test_a_job_that_is_given_up_is_closed_once(system, trouble):
    job = await spend_its_budget(system)
    trouble.arrange(system, "update", "ledger")
    await system.serve()
    async with Watcher(system).watching():
        system.accepted[job.job_id] = 0
        await system.settle_down()
    assert trouble.happened() == TIMES
    (shown,) = (await system.all_jobs()).values()
    page = (await system.ledger()._read([job.job_id]))[job.job_id]
    assert (shown.status, page["final"]["status"], page["charges"]) == ("failed", "failed", 3)
    assert shown.error == {
        "type": "Crashed",
        "message": "given up after 3 lost attempts: crashed, crashed, crashed",
        "causes": ["crashed"] * 3,
    }
    assert [attempt["outcome"] for attempt in page["attempts"]] == ["lost"] * 3
    assert not system.starts


async def spend_its_budget(system: System) -> Job:
    """A job that has crashed three times in another life."""
    now = datetime.now(UTC).replace(microsecond=0)
    job = Job(
        job_id="spent",
        object_id="an object",
        run=1,
        handler="sleep",
        accepted_at=now,
        opens_at=now + timedelta(minutes=5),
        expires_at=now + timedelta(days=1),
        timeout_s=46.0,
    )
    jobs, ledger = system.jobs(), system.ledger()
    await jobs.prepare()
    await jobs.insert([job])
    for n in range(3):
        claim = Claim(job.job_id, Token(0, 1), f"claim-{n}", "elsewhere", 1, now)
        assert await ledger.claim([claim]) == [Claimed(n + 1)]
        await ledger.blame([Blame(job.job_id, claim.claim, Cause.CRASHED)])
    return job
