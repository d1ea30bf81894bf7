"""Ten thousand jobs of all kinds, pools that grow and shrink, new code under running jobs: on real Ray."""

import asyncio
import contextlib
import itertools
import json
import random
import shutil
import statistics
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.running import HASTY, Running, short_folder, until

ALL_ENDED_WITHIN_S = 300.0

#: Eight workers take long to start where others want the same two cores.
WORKERS_WITHIN_S = 180.0

#: In each worker of the pool `default`.
SLOTS = 10

CONFIG = f"""
handlers = ["busy"]
workers = 1
slots = {SLOTS}
[pools.wide]
min_workers = 2
slots = 4000
"""


def code(version: str) -> str:
    return (Path(__file__).parent / "busy.py").read_text().replace("VERSION", version)


@pytest.fixture(scope="module")
def busy():
    folder = short_folder()
    (folder / "busy.py").write_text(code("old"))
    (folder / "hasty.toml").write_text(CONFIG)
    running = Running(folder / "data", directory=folder, config=folder / "hasty.toml")
    yield running.up()
    running.end()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def databases(busy):
    with busy.databases() as client:
        yield client


class Connection:
    """One kept-alive connection: cheaper than a client library, for two cores that also run hasty."""

    def __init__(self, port):
        self._port = port
        self._streams = None

    async def post(self, path, body):
        """Return status and decoded body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: hasty\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        return int(lines[0].split()[1]), json.loads(await reader.readexactly(length))

    def close(self):
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


_NUMBERS = itertools.count()


#: What a client sees of a connection that was cut. Then its job may exist or not, as after a 503.
CUT = (asyncio.IncompleteReadError, ConnectionError)


async def submit(connection, handler, payload=None, may_be_cut=True):
    while True:
        body = {"object_id": f"{handler}-{next(_NUMBERS)}", "handler": handler, "payload": payload}
        try:
            status, job = await connection.post("/v1/jobs", body)
        except CUT:
            connection.close()
            if not may_be_cut:
                raise
        else:
            if status == 503 and may_be_cut:
                await asyncio.sleep(0.1)  # between two tries
                continue
            assert status == 201, job
            return job["id"]


async def submit_all(
    port, kinds, each=lambda _handler, _job_id: None, *, connections=32, may_be_cut=True, given=None
):
    """Submit a job for each name in `kinds`; return their ids. `each` hears of each as it is accepted."""
    kinds = iter(list(kinds))
    accepted = {}

    async def client():
        connection = Connection(port)
        for handler in kinds:
            number = random.randrange(1_000)
            payload = number if handler in {"quick", "doubles"} else given
            job_id = await submit(connection, handler, payload, may_be_cut)
            accepted[job_id] = handler, number
            each(handler, job_id)
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return accepted


KINDS = {
    "quick": 6_600,
    "doubles": 1_000,
    "flaky": 900,
    "hopeless": 400,
    "mistaken": 47,
    "overruns": 300,
    "lingers": 730,
    "exits": 3,
    "dies": 20,
}


#: So many of those that linger are asked to end when they have ended.
TOO_LATE = 10


async def cancel(port, job_id):
    """Return the answer to a cancel."""
    while True:
        connection = Connection(port)
        with contextlib.suppress(*CUT), contextlib.closing(connection):
            answer = await connection.post(f"/v1/jobs/{job_id}/cancel", {"reason": "on purpose"})
            if answer[0] != 503:
                return answer
        await asyncio.sleep(0.1)  # between two tries


@pytest.mark.timeout(600)
def test_ten_thousand_mixed_jobs_end_as_they_should(busy, databases):
    cancels, late = {}, []

    async def cancel_some_time(job_id):
        await asyncio.sleep(random.uniform(0, 4))
        cancels[job_id] = await cancel(busy.port, job_id)

    async def scenario():
        cancelling = []

        def each(handler, job_id):
            if handler == "lingers" and len(late) < TOO_LATE:
                late.append(job_id)
            elif handler == "lingers":
                cancelling.append(asyncio.ensure_future(cancel_some_time(job_id)))

        kinds = random.sample(list(Counter(KINDS).elements()), sum(KINDS.values()))
        accepted = await submit_all(busy.port, kinds, each)
        await asyncio.gather(*cancelling)
        return accepted

    accepted = asyncio.run(scenario())
    assert len(accepted) == 10_000
    jobs, pages = databases.hasty_api.jobs, databases.hasty_worker.ledger
    mine = {"_id": {"$in": list(accepted)}}
    until(lambda: not jobs.count_documents({**mine, "live": True}), "all jobs to end", ALL_ENDED_WITHIN_S)
    cancels |= {job_id: asyncio.run(cancel(busy.port, job_id)) for job_id in late}
    found = {job["_id"]: job for job in jobs.find(mine)}
    ledger = {page["_id"]: page for page in pages.find(mine)}
    wrong = [
        (handler, what, found[job_id], ledger[job_id]["attempts"])
        for job_id, (handler, number) in accepted.items()
        if not all(
            (what := ended_rightly(number, found[job_id], ledger[job_id], cancels.get(job_id))).values()
        )
    ]
    assert not wrong, (Counter(handler for handler, *_ in wrong), wrong[:3])
    # Both ends of the race were met.
    assert {status for status, _ in cancels.values()} == {200, 409}
    # Each may be late where the machine pauses; not most of them.
    assert statistics.median(ran_s(job) for job in found.values() if job["handler"] == "overruns") < 2


def ran_s(job):
    return (job["ended_at"] - job["started_at"]).total_seconds()


def ended_rightly(number, job, page, cancelled):
    """What must hold of a job, and whether it does."""
    handler, status, error = job["handler"], job["status"], json.loads(job["error"] or "{}").get("type")
    result = None if job["result"] is None else json.loads(job["result"])
    attempts = [attempt["outcome"] for attempt in page["attempts"]]
    starts = len(attempts) - attempts.count("lost")
    shown = (status, job["result"]) == (page["final"]["status"], page["final"]["result"])
    return {"as the ledger says": shown and not page["open"]} | ENDS[handler](
        Seen(number, job, status, error, result, starts, cancelled)
    )


class Seen(NamedTuple):
    number: int
    job: dict
    status: str
    error: str | None
    result: object
    #: Attempts that were not lost with their process: a neighbour may end that.
    starts: int
    cancelled: tuple | None


def _finished(expected):
    return lambda seen: {
        "finished": (seen.status, seen.result) == ("finished", expected(seen.number)),
        "started once": seen.starts == 1,
    }


def _failed(error, starts):
    return lambda seen: {
        "failed": (seen.status, seen.error) == ("failed", error),
        "started as often as it may": seen.starts == starts,
    }


def _flaky(seen):
    return {"finished": seen.status == "finished" and seen.result == seen.job["attempt"] >= 3}


def _overran(seen):
    return {
        "cancelled": (seen.status, seen.error, seen.starts) == ("cancelled", "Timeout", 1),
        f"at its timeout, after {ran_s(seen.job)} s": 1 <= ran_s(seen.job) < 30,
    }


def _cancelled(seen):
    answer, body = seen.cancelled
    if answer == 200:
        won = (seen.status, seen.error, body["status"]) == ("cancelled", "CancelRequested", "cancelled")
        return {"the cancel won": won}
    return {"the end won": (answer, seen.status, body["job_status"]) == (409, "finished", "finished")}


def _crashed(seen):
    causes = json.loads(seen.job["error"]).get("causes", [])
    return {
        "given up": (seen.status, seen.error) == ("failed", "Crashed"),
        "charged twice": causes.count("crashed") == 2,
    }


ENDS = {
    "quick": _finished(lambda number: number + 1),
    "doubles": _finished(lambda number: 2 * number),
    "flaky": _flaky,
    "hopeless": _failed("ValueError", 2),
    "mistaken": _failed("BadResult", 1),
    "overruns": _overran,
    "lingers": _cancelled,
    "exits": _crashed,
    "dies": _crashed,
}


def scale(busy, size):
    said = subprocess.run(
        [HASTY, "scale", f"default={size}"], env=busy.environment, capture_output=True, text=True, check=True
    )
    assert f"default: {size} workers" in said.stdout


def pool(busy):
    _, body, _ = busy.ask("GET", "/v1/pools")
    return next(pool for pool in body["pools"] if pool["name"] == "default")


@pytest.mark.timeout(600)
def test_a_pool_grows_and_shrinks_under_a_backlog_and_loses_nothing(busy, databases):
    jobs, live = databases.hasty_api.jobs, {"live": True}
    enough = busy.directory / "enough"
    # They hold every slot there is: how many run at once tells how many workers take jobs.
    stay = asyncio.run(submit_all(busy.port, ["stays"] * 8 * SLOTS, given=str(enough)))
    accepted = stay | asyncio.run(submit_all(busy.port, ["naps"] * 5_000))
    held = {"_id": {"$in": list(stay)}, "status": "running"}
    until(lambda: jobs.count_documents(held) >= SLOTS, "the first to run")
    assert jobs.count_documents(held) == SLOTS
    scale(busy, 8)
    until(lambda: jobs.count_documents(held) == 8 * SLOTS, "the new workers to work", WORKERS_WITHIN_S)
    until(lambda: pool(busy)["present"] == 8, "all to be counted")
    enough.touch()
    until(lambda: jobs.count_documents(live) < 2_500, "the eight to work on the backlog", ALL_ENDED_WITHIN_S)
    scale(busy, 1)
    until(
        lambda: pool(busy)["present"] == 1 and pool(busy)["workers"] == 1,
        "the others to go",
        WORKERS_WITHIN_S,
    )
    until(lambda: not jobs.count_documents(live), "all jobs to end", ALL_ENDED_WITHIN_S)
    ended = Counter((job["status"], job["attempt"]) for job in jobs.find({"_id": {"$in": list(accepted)}}))
    assert ended == {("finished", 1): len(accepted)}
    until(lambda: len(busy.actors("WorkerHost")) == 3, "their processes to be gone")


@pytest.mark.timeout(600)
def test_new_code_under_500_running_jobs_costs_none_an_attempt(busy, databases):
    jobs = databases.hasty_api.jobs
    old = asyncio.run(submit_all(busy.port, ["long"] * 500))
    # On a slow machine the first have ended when the last one starts.
    started = {"_id": {"$in": list(old)}, "started_at": {"$ne": None}}
    until(lambda: jobs.count_documents(started) == 500, "all to run", ALL_ENDED_WITHIN_S)
    (busy.directory / "busy.py").write_text(code("new"))
    # Meanwhile nobody is refused, and jobs run.
    beside = []
    with subprocess.Popen(
        [HASTY, "up"], cwd=busy.directory, env=busy.environment, stdout=subprocess.PIPE, text=True
    ) as rolling:
        try:
            while rolling.poll() is None:
                beside += asyncio.run(submit_all(busy.port, ["version"], connections=1, may_be_cut=False))
            said = rolling.stdout.read()
        finally:
            rolling.kill()
    assert rolling.returncode == 0, said
    assert "replacing workers one by one" in said
    new = asyncio.run(submit_all(busy.port, ["version"] * 20))
    until(lambda: not jobs.count_documents({"live": True}), "all jobs to end", ALL_ENDED_WITHIN_S)

    def ends(of):
        return Counter(
            (job["status"], job["attempt"], job["result"]) for job in jobs.find({"_id": {"$in": list(of)}})
        )

    assert ends(old) == {("finished", 1, '"old"'): 500}
    assert ends(new) == {("finished", 1, '"new"'): 20}
    assert {end[:2] for end in ends(beside)} == {("finished", 1)}
