"""Events, as those see them who follow them over HTTP."""

import contextlib
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hasty import Client
from tests.running import until

FOLLOWER = Path(__file__).with_name("follower.py")

#: Lives of the client that follows.
LIVES = 100


class Work:
    """Jobs that come all the time, so that there is something to follow."""

    def __init__(self, running):
        self._running = running
        self._enough = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self.jobs = []

    def __enter__(self):
        self._done = self._thread.submit(self._submit)
        return self

    def __exit__(self, *_):
        self._enough.set()
        self._thread.shutdown()
        self._done.result()

    def _submit(self):
        # The client asks again where a Gateway dies under it, until there is another.
        with Client(f"http://127.0.0.1:{self._running.port}", retries=100, timeout=170) as client:
            while not self._enough.is_set():
                job = client.submit(f"followed-{len(self.jobs)}", {"items": ["tea"]}, handler="invoice")
                self.jobs.append(job.id)


@contextlib.contextmanager
def a_follower(url, file):
    """A client that follows into the file, and is killed in the end."""
    follower = subprocess.Popen([sys.executable, "-S", FOLLOWER, url, file])
    try:
        yield
    finally:
        follower.kill()
        follower.wait()


@pytest.mark.timeout(400)
def test_a_client_that_is_killed_a_hundred_times_has_every_event_once(shop, tmp_path, records):
    file, chance = tmp_path / "events", random.Random(1)
    url = f"http://127.0.0.1:{shop.port}"
    with Work(shop) as work:
        for life in range(LIVES):
            had = file.stat().st_size if file.exists() else 0
            with a_follower(url, file):
                until(lambda had=had: file.exists() and file.stat().st_size > had, "the next event")
                # Somewhere in the middle of whatever it does.
                follower_ends = chance.choice((0.0, 0.01, 0.05))
                threading.Event().wait(follower_ends)
            if life == LIVES // 2:
                for title in ("ray::ClerkHost", "ray::ServeReplica"):
                    shop.actor(title).kill()
    last = until(lambda: ended(records, work.jobs), "the last job to be told of")
    with a_follower(url, file):
        until(lambda: seen(file) and seen(file)[-1][0] >= last, "the last event")
    events = seen(file)
    kept = records.hasty_api.events.find(
        {"_id": {"$gte": events[0][0], "$lte": events[-1][0]}}, sort={"_id": 1}
    )
    assert events == [(each["_id"], each["type"]) for each in kept]
    assert len({number for number, _ in events}) == len(events) > LIVES
    assert "gap" not in {kind for _, kind in events}


def seen(file):
    """What the client has written; not a line that was cut off."""
    whole = file.read_text().rpartition("\n")[0].splitlines()
    return [(int(number), kind) for number, kind in (line.split() for line in whole) if kind != "-"]


def ended(records, jobs):
    """The event of the end of the last job."""
    told = records.hasty_api.events.find_one({"job_id": jobs[-1], "type": "job.finished"})
    return told["_id"] if told else None
