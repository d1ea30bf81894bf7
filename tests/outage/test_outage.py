"""MongoDB away under load, frozen or dead: clients are told to come back, and nothing is lost."""

import asyncio
import logging
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import NamedTuple

import psutil
import pytest

from hasty.errors import Overloaded, TryAgainLater
from tests.outage.servers import Member, replica_set
from tests.outage.system import System, running
from tests.outage.watcher import Watcher, eventually

_logger = logging.getLogger(__name__)

#: Tried with a minute as well: HASTY_OUTAGE_S=60.
OUTAGE_S = float(os.environ.get("HASTY_OUTAGE_S", "6"))

#: A client has its answer within the Gateway's bound of 10 s, and what busy cores take.
ANSWERED_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def server():
    with replica_set(1) as servers:
        yield servers.primary


class Answer(NamedTuple):
    at: float
    took_s: float
    status: int
    retry_after: str | None


class Clients:
    """Ask for a new object's job twenty times a second, over HTTP."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.answers: list[Answer] = []

    @asynccontextmanager
    async def asking(self):
        async with self._system.http() as client:
            posts: set[asyncio.Task[None]] = set()
            driver = asyncio.ensure_future(self._ask_all(client, posts))
            try:
                yield self
            finally:
                driver.cancel()
                await asyncio.wait([driver, *posts])

    async def _ask_all(self, client, posts) -> None:
        while True:
            task = asyncio.ensure_future(self._ask(client))
            posts.add(task)
            task.add_done_callback(posts.discard)
            await asyncio.sleep(0.05)

    async def _ask(self, client) -> None:
        began = time.monotonic()
        answer = await client.post("/", json={"object_id": uuid.uuid4().hex})
        now = time.monotonic()
        self.answers.append(Answer(now, now - began, answer.status_code, answer.headers.get("Retry-After")))
        if answer.status_code == 201:
            self._system.accepted[answer.json()["message"]["job_id"]] = now

    async def accepted(self, more: int) -> None:
        """Wait until so many more jobs were accepted."""
        wanted = len(self._system.accepted) + more

        async def enough() -> bool:
            return len(self._system.accepted) >= wanted

        await eventually(enough, f"{more} more to be accepted")


async def told_to_come_back(answers: list[Answer], since: float) -> None:
    """Wait until somebody is: how long the driver waits for an answer first is not ours to say."""

    async def told() -> bool:
        return any(answer.status == 503 and answer.at > since for answer in answers)

    await eventually(told, "a client to be told to come back")


async def some_at_work(system: System) -> None:
    async def some() -> bool:
        return len(system.at_work) > 5

    await eventually(some, "handlers to be at work")


@contextmanager
def frozen(server: Member) -> Iterator[None]:
    """It is there and does not answer: SIGSTOP."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextmanager
def killed(server: Member) -> Iterator[None]:
    """It is gone: SIGKILL, and another start on the same data."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@pytest.mark.parametrize(
    ("outage", "failures"), [(frozen, 0), (killed, 0), (killed, 1)], ids=["frozen", "killed", "retries"]
)
async def test_an_outage_delays_jobs_and_loses_none(server, outage, failures):
    async with running(server.uri, longest_s=2.0, failures=failures) as system:
        async with Watcher(system).watching() as watcher:
            async with Clients(system).asking() as clients:
                await clients.accepted(40)
                await some_at_work(system)
                began, ended_before, at_work = time.monotonic(), system.ended, len(system.at_work)
                with outage(server):
                    await asyncio.sleep(OUTAGE_S)  # its length is the example
                    await told_to_come_back(clients.answers, began)
                    ran_on = system.ended - ended_before
                back = time.monotonic()
                await clients.accepted(1)
                accepted_after_s = time.monotonic() - back
            await system.settle_down()
            settled_after_s = time.monotonic() - back
            await eventually(lambda: watcher.saw_the_end_of(system.accepted), "clients to see every end")
        jobs = await system.check()
    during = [answer for answer in clients.answers if began < answer.at < back]
    longest_s = max(answer.took_s for answer in clients.answers)
    _logger.info(
        "%s for %g s: %d jobs, %d handlers ended meanwhile; %d told to come back, the longest wait %.1f s; "
        "accepted again after %.1f s, all ended after %.1f s",
        *(outage.__name__, OUTAGE_S, len(jobs), ran_on, len(during), longest_s),
        *(accepted_after_s, settled_after_s),
    )
    # What ran went on; its outcomes were written when there was somebody to write them to.
    assert ran_on >= at_work
    assert 503 in {answer.status for answer in during}
    assert longest_s < ANSWERED_WITHIN_S
    for answer in clients.answers:
        assert answer.status == 201 or (answer.status == 503 and int(answer.retry_after) > 0), answer


#: A cancel is answered when it is on record and shown, or after 30 s; and what busy cores take.
CANCEL_ANSWERED_WITHIN_S = 50.0


class Cancels:
    """Clients that each cancel a job over HTTP. Some ask once, the others until they are told."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.answers: list[Answer] = []
        #: Jobs whose cancel was answered with a 200.
        self.promised: set[str] = set()

    async def cancel(self, client, job_id: str, *, once: bool) -> None:
        while job_id not in self.promised:
            began = time.monotonic()
            answer = await client.post(f"/v1/jobs/{job_id}/cancel")
            now = time.monotonic()
            self.answers.append(
                Answer(now, now - began, answer.status_code, answer.headers.get("Retry-After"))
            )
            if answer.status_code == 200:
                assert answer.json()["status"] == "cancelled"
                self.promised.add(job_id)
            if once:
                return
            await asyncio.sleep(0.2)  # as a client does that is told to come back

    async def all_at_work(self) -> bool:
        return self._system.at_work == self._system.accepted.keys()

    async def promised_are_stopped(self) -> bool:
        return not self._system.at_work & self.promised


@pytest.mark.parametrize("outage", [frozen, killed])
async def test_a_cancel_in_an_outage_is_a_503_or_durable(server, outage):
    async with running(server.uri) as system, system.http() as client:
        # None of them ends by itself.
        system.last_s(600.0)
        for _ in range(60):
            await system.post(uuid.uuid4().hex)
        cancels = Cancels(system)
        await eventually(cancels.all_at_work, "the jobs to run")
        async with Watcher(system).watching() as watcher:
            asking = []
            with ExitStack() as trouble:
                for number, job_id in enumerate(system.accepted):
                    if number == 20:
                        trouble.enter_context(outage(server))
                        began = time.monotonic()
                    asking.append(asyncio.ensure_future(cancels.cancel(client, job_id, once=number % 3 == 0)))
                    # So that some are under way when it begins.
                    await asyncio.sleep(0.05)
                await asyncio.sleep(began + OUTAGE_S - time.monotonic())  # its length is the example
                await told_to_come_back(cancels.answers, began)
            back = time.monotonic()
            await asyncio.gather(*asking)
            # Whoever was told so finds it so, and nothing is at work for it any more.
            found = await system.jobs().get(system.accepted)
            assert {found[job_id].status for job_id in cancels.promised} == {"cancelled"}
            await eventually(cancels.promised_are_stopped, "the handlers to be stopped")
            # The others may be cancelled or not; if anybody asks, that is found out.
            assert await asyncio.gather(*map(system.cancel, system.accepted)) == [True] * 60
            await eventually(lambda: watcher.saw_the_end_of(system.accepted), "clients to see every end")
        jobs, pages = await system.ended_jobs()
    assert {(job.status, job.attempt) for job in jobs.values()} == {("cancelled", 1)}
    assert [len(page["attempts"]) for page in pages.values()] == [1] * 60
    during = [answer.status for answer in cancels.answers if began < answer.at < back]
    _logger.info(
        "%s: %d cancels answered meanwhile, %d of 60 were told 200",
        outage.__name__,
        *(len(during), len(cancels.promised)),
    )
    assert 503 in during
    assert len(cancels.promised) >= 40
    assert max(answer.took_s for answer in cancels.answers) < CANCEL_ANSWERED_WITHIN_S
    for answer in cancels.answers:
        assert answer.status == 200 or (answer.status == 503 and int(answer.retry_after) > 0), answer


async def test_what_piles_up_is_refused_and_takes_no_memory(server):
    async with running(server.uri) as system, system.http() as client:
        before = psutil.Process().memory_info().rss
        with frozen(server):
            asked = await ask(system, 25_000)
            # One batch is on its way: so much more fits.
            asked += await ask(system, 500)
            began = time.monotonic()
            answer = await client.post("/", json={"object_id": "one more"})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json() == {"message": "20000 items are waiting already"}
            assert time.monotonic() - began < 5
            # Counted: to compare lists of this length takes pytest minutes.
            refused = Counter(type(task.exception()) for task in asked if task.done())
            assert refused[Overloaded] == 5_000
            grown = psutil.Process().memory_info().rss - before
            told = await asyncio.gather(*asked, return_exceptions=True)
            assert time.monotonic() - began < 2 * ANSWERED_WITHIN_S
            assert all(isinstance(error, TryAgainLater) for error in told)
        _logger.info("25,500 requests while it was frozen: %d MB", grown >> 20)
        assert grown < 400 << 20
        await eventually(lambda: accepts(client), "a job to be accepted again")
        await system.settle_down()


async def ask(system: System, times: int) -> list[asyncio.Task]:
    tasks = [asyncio.ensure_future(system.gateway.submit(uuid.uuid4().hex)) for _ in range(times)]
    # Until each has found its place, and a batch has left.
    for _ in range(4):
        await asyncio.sleep(0)
    return tasks


async def accepts(client) -> bool:
    return (await client.post("/", json={"object_id": "at last"})).status_code == 201
