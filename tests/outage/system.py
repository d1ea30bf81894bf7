"""A whole hasty in one real loop on real MongoDB: the actors call each other directly, as Ray would."""

import asyncio
import contextlib
import random
import time
import uuid
from collections import Counter
from contextlib import asynccontextmanager

import httpx
import uuid_utils

from hasty.actors.dispatcher import Dispatcher, Draft
from hasty.actors.registry import Registry
from hasty.actors.stages import InLoop
from hasty.actors.worker import Worker
from hasty.api.app import build_app
from hasty.api.gateway import Gateway
from hasty.clock import SystemClock
from hasty.errors import TryAgainLater
from hasty.flight import SIZE, FlightRecorder
from hasty.handlers import SLEEP, Handler, Handlers
from hasty.handlers.catalogue import Retrying
from hasty.job import Window
from hasty.messages import Process, Refused
from hasty.pools import DEFAULT_POOL, PoolPlan, worker_names
from hasty.store.mongo import MongoJobStore, MongoLedger
from hasty.store.mongo.connection import connect
from tests.outage.watcher import eventually
from tests.refs import Ref

DAY_S = 86_400.0


class Pool:
    """Workers that are always there. See `hasty.actors.refs.Workers`."""

    def __init__(self) -> None:
        self.members: dict[str, Worker] = {}

    def follow(self, _plan):
        return None

    def worker(self, name):
        return Ref(self.members[name])

    async def revive(self, _name):
        return None

    async def kill(self, process):
        raise AssertionError(f"{process} was taken for frozen")

    async def restart(self, name):
        raise AssertionError(f"{name} was taken for stuck")

    async def dismiss(self, name):
        raise AssertionError(f"{name} was taken for superfluous")


class System:
    """The actors, each with clients of its own as in its own process, and what clients were told.

    Each job's first `failures` attempts fail.
    """

    def __init__(
        self,
        uri,
        *,
        workers=2,
        slots=4_000,
        window_s=300.0,
        timeout_s=46.0,
        longest_s=0.5,
        failures=0,
    ) -> None:
        name = uuid.uuid4().hex[:8]
        self._uri, self._api, self._ledger = uri, f"api_{name}", f"worker_{name}"
        self._clients = []
        self._duties = []
        self.window_s, self._lasts_s, self._failures = window_s, (0.0, longest_s), failures
        self.starts: Counter[tuple[str, int]] = Counter()
        #: Jobs whose handler is at work.
        self.at_work: set[str] = set()
        self.ended = 0
        self.accepted: dict[str, float] = {}
        self.handlers = Handlers(
            Handler(
                name=SLEEP,
                function=self._work,
                timeout_s=timeout_s,
                window=Window(window_s),
                retry=Retrying(failures, 0.5, 0.5),
            )
        )
        self.pool = Pool()
        self.dispatcher = Dispatcher(
            self.jobs(),
            self.ledger(),
            self.pool,
            SystemClock(),
            holder="one",
            draft=Draft({DEFAULT_POOL: PoolPlan(workers, workers, slots)}),
            keep_s=7 * DAY_S,
        )
        self.registry = Registry(self.jobs(), Ref(self.dispatcher), SystemClock())
        for name in worker_names(DEFAULT_POOL, 0, workers):
            self.pool.members[name] = self._worker(name, slots)
        self.gateway = Gateway(
            registry=Ref(self.registry),
            dispatcher=Ref(self.dispatcher),
            jobs=self.jobs(),
            handlers=self.handlers,
            mint=lambda: str(uuid_utils.uuid7()),
        )

    def _client(self):
        self._clients.append(connect(self._uri))
        return self._clients[-1]

    def jobs(self) -> MongoJobStore:
        return MongoJobStore(self._client(), self._api)

    def ledger(self) -> MongoLedger:
        return MongoLedger(self._client(), self._ledger)

    def namespace(self, collection) -> str:
        database = self._api if collection in {"jobs", "meta"} else self._ledger
        return f"{database}.{collection}"

    def _worker(self, name, slots) -> Worker:
        return Worker(
            name,
            process=Process("node", 1, 1),
            recorder=FlightRecorder(bytearray(SIZE)),
            child=InLoop(FlightRecorder(bytearray(SIZE))),
            ledger=self.ledger(),
            dispatcher=Ref(self.dispatcher),
            handlers=self.handlers,
            clock=SystemClock(),
            slots=slots,
            generation=1,
            mint=lambda: uuid.uuid4().hex,
        )

    async def _work(self, context, _payload):
        self.starts[context.job_id, context.attempt] += 1
        self.at_work.add(context.job_id)
        try:
            await asyncio.sleep(random.uniform(*self._lasts_s))
        finally:
            self.at_work.discard(context.job_id)
        self.ended += 1
        if context.attempt <= self._failures:
            raise ConnectionError("busy")
        return {"attempt": context.attempt}

    def last_s(self, seconds: float) -> None:
        """Let handlers be at work for so long."""
        self._lasts_s = seconds, seconds

    # Life ------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Return when jobs are being sent to workers."""
        self._duties.append(asyncio.ensure_future(self.dispatcher.serve()))
        await eventually(self._is_ready, "the Dispatcher to be ready")

    async def _is_ready(self) -> bool:
        return (await self.dispatcher.health()).problem is None

    async def end(self) -> None:
        for duty in self._duties:
            duty.cancel()
        if self._duties:
            await asyncio.wait(self._duties)
        for client in self._clients:
            await client.close()

    # Clients ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def http(self):
        transport = httpx.ASGITransport(build_app(self.gateway, self.window_s))
        async with httpx.AsyncClient(transport=transport, base_url="http://hasty", timeout=None) as client:
            yield client

    async def post(self, object_id: str) -> str:
        """Ask for a job as a client does; note what was promised."""
        try:
            answer = await self.gateway.submit(object_id)
        except TryAgainLater:
            return "unknown"
        if isinstance(answer, Refused):
            return "refused"
        self.accepted[answer.job_id] = time.monotonic()
        return "accepted"

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job as a client does that asks until it is told; return whether a cancel ended it."""
        while True:
            try:
                _, by_cancel = await self.gateway.cancel(job_id, "by a test")
            except TryAgainLater:
                await asyncio.sleep(0.1)  # as a client does that is told to come back
            else:
                return by_cancel

    @asynccontextmanager
    async def load(self, each_s=0.02):
        """Ask every `each_s` while the block runs, for new objects and for old ones again.

        Yields the answers so far.
        """
        answers: Counter[str] = Counter()
        posts: set[asyncio.Task[None]] = set()

        objects: list[str] = []

        async def post(object_id: str) -> None:
            answers[await self.post(object_id)] += 1

        async def clients() -> None:
            while True:
                objects.append(uuid.uuid4().hex)
                # The windows stay shut for as long as a test takes: the second can only be refused.
                for object_id in (objects[-1], random.choice(objects)):
                    task = asyncio.ensure_future(post(object_id))
                    posts.add(task)
                    task.add_done_callback(posts.discard)
                await asyncio.sleep(each_s)

        driver = asyncio.ensure_future(clients())
        try:
            yield answers
        finally:
            driver.cancel()
            await asyncio.wait([driver, *posts])

    # What must hold --------------------------------------------------------------------------

    async def all_jobs(self):
        """Every job there is, as the product reads it."""
        jobs = self.jobs()
        ids = [found["_id"] async for found in jobs._jobs.find({}, {"_id": 1})]
        return await jobs.get(ids)

    async def _all_ended(self) -> bool:
        with contextlib.suppress(TryAgainLater):
            jobs = await self.all_jobs()
            return self.accepted.keys() <= jobs.keys() and not any(job.live for job in jobs.values())
        return False

    async def settle_down(self) -> float:
        """Wait until every job has ended; return the seconds it took."""
        began = time.monotonic()
        await eventually(self._all_ended, "every job to end", each_s=0.1)
        return time.monotonic() - began

    async def check(self) -> dict:
        """Hold jobs, ledger and starts against the promises; return the jobs."""
        jobs, pages = await self.ended_jobs()
        attempts = list(range(1, self._failures + 2))
        for job_id, job in jobs.items():
            page = pages[job_id]
            assert job.status == "finished" and job.result == {"attempt": attempts[-1]}
            # A reply that was lost is no crash: nobody is charged, nothing is started twice.
            assert (page["charges"], page["losses"]) == (0, 0), page
            assert [attempt["n"] for attempt in page["attempts"]] == attempts, page
            assert page.get("retries", 0) == self._failures
            assert [self.starts[job_id, n] for n in attempts] == [1] * len(attempts)
        return jobs

    async def ended_jobs(self) -> tuple[dict, dict]:
        """Return all jobs, which have ended, and their pages; hold them against what holds for any end."""
        jobs = await self.all_jobs()
        # P1: nothing acknowledged is lost.
        assert self.accepted.keys() <= jobs.keys()
        pages = await self.ledger()._read(list(jobs))
        for job_id, job in jobs.items():
            page, final = pages[job_id], pages[job_id]["final"]
            # P2: one outcome, the ledger's.
            assert final is not None and page["open"] is None
            assert (job.status, job.ended_at) == (final["status"], final["ended_at"])
            # Of one that no attempt ended, the attempts are shown as they were.
            assert job.attempt == final["attempt"] or not final["attempt"]
        # P3: no window opened meanwhile, so there is one job of each object.
        assert len({job.object_id for job in jobs.values()}) == len(jobs)
        return jobs, pages


@asynccontextmanager
async def running(uri, **settings):
    """A system at work."""
    system = System(uri, **settings)
    try:
        await system.serve()
        yield system
    finally:
        await system.end()
