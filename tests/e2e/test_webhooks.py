"""Webhooks, while nobody listens, and when somebody does."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.running import ROOT, free_port, until

#: Ends that are told.
ENDS = 20

#: So long the receiver is down.
DOWN_S = 60.0

#: The next try comes within this after it: it waits longer each time.
NEXT_TRY_S = 60.0


class Receiver:
    """The example, which is started a minute after its fixture asked for jobs."""

    def __init__(self, port: int, environment: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "examples.receiver", str(port)]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._start = threading.Timer(DOWN_S, self._run)
        self._start.start()

    def _run(self) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdout=quiet, stderr=quiet
        )

    def stop(self) -> None:
        self._start.cancel()
        self._start.join()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Unheard(NamedTuple):
    """Jobs whose ends are told to a port where nobody listens until a minute has passed."""

    jobs: list[str]
    asked_at: datetime
    #: What the receiver writes down.
    ends: Path


@pytest.fixture(scope="package")
def unheard(hasty, tmp_path_factory):
    port, jobs, asked_at = free_port(), [], datetime.now(UTC)
    for number in range(ENDS):
        body = {"object_id": f"told-{number}", "webhook": {"url": f"http://127.0.0.1:{port}/ends"}}
        status, job, _ = hasty.ask("POST", "/v1/jobs", json.dumps(body).encode())
        assert status == 201, job
        status, answer, _ = hasty.ask("POST", f"/v1/jobs/{job['id']}/cancel")
        assert status == 200, answer
        jobs.append(job["id"])
    ends = tmp_path_factory.mktemp("told") / "ends.db"
    secret = (hasty.data_dir / "webhook.secret").read_text().strip()
    receiver = Receiver(port, {**os.environ, "HASTY_WEBHOOK_SECRET": secret, "ENDS": str(ends)})
    yield Unheard(jobs, asked_at, ends)
    receiver.stop()


@pytest.mark.at_the_start
def test_what_nobody_hears_is_tried_again(hasty, unheard):
    def tried():
        status, log, _ = hasty.ask("GET", f"/v1/jobs/{unheard.jobs[0]}/deliveries")
        assert (status, log["state"]) == (200, "pending")
        return log["deliveries"]

    delivery = until(tried, "the first try")[0]
    assert (delivery["delivered"], delivery["status_code"]) == (False, None)
    assert delivery["error"]


@pytest.mark.at_the_end
@pytest.mark.timeout(400)
def test_a_receiver_that_was_down_for_a_minute_gets_each_call_once(hasty, unheard):
    for job_id in unheard.jobs:
        tries = until(lambda job_id=job_id: delivered(hasty, job_id), "the call", DOWN_S + NEXT_TRY_S)
        taken_at = datetime.fromisoformat(tries[-1]["at"])
        assert timedelta(seconds=DOWN_S) <= taken_at - unheard.asked_at
    with closing(sqlite3.connect(unheard.ends)) as database:
        told = database.execute("SELECT job_id, status FROM ends ORDER BY job_id").fetchall()
    assert told == [(job_id, "cancelled") for job_id in sorted(unheard.jobs)]


def delivered(hasty, job_id):
    """Return its deliveries once the call was taken: one of them, the last."""
    _, log, _ = hasty.ask("GET", f"/v1/jobs/{job_id}/deliveries")
    if log["state"] != "delivered":
        return None
    assert [each["delivered"] for each in log["deliveries"]] == [False] * (len(log["deliveries"]) - 1) + [
        True
    ]
    return log["deliveries"]
