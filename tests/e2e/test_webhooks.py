"""Webhooks, while nobody listens, and when somebody does."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.running import ROOT, free_port, until

#: Ends that are told.
ENDS = 20

#: So long the receiver is down, at least.
DOWN_S = 60.0

#: The next try comes within this after it: it waits longer each time.
NEXT_TRY_S = 60.0


class Unheard(NamedTuple):
    """Jobs whose ends are told to a port where nobody listens, and since when."""

    jobs: list[str]
    port: int
    since: float


@pytest.fixture(scope="session")
def unheard(hasty):
    port, jobs = free_port(), []
    for number in range(ENDS):
        body = {"object_id": f"told-{number}", "webhook": {"url": f"http://127.0.0.1:{port}/ends"}}
        status, job, _ = hasty.ask("POST", "/v1/jobs", json.dumps(body).encode())
        assert status == 201, job
        assert hasty.ask("POST", f"/v1/jobs/{job['id']}/cancel")[0] == 200
        jobs.append(job["id"])
    return Unheard(jobs, port, time.monotonic())


def test_what_nobody_hears_is_tried_again(hasty, unheard):
    def tried():
        status, log, _ = hasty.ask("GET", f"/v1/jobs/{unheard.jobs[0]}/deliveries")
        assert (status, log["state"]) == (200, "pending")
        return log["deliveries"]

    delivery = until(tried, "the first try")[0]
    assert (delivery["delivered"], delivery["status_code"]) == (False, None)
    assert delivery["error"]


@pytest.mark.at_the_end
@pytest.mark.timeout(300)
def test_a_receiver_that_was_down_for_a_minute_gets_each_call_once(hasty, unheard, tmp_path):
    until(lambda: time.monotonic() > unheard.since + DOWN_S, "a minute to be over", DOWN_S + 1)
    ends = tmp_path / "ends.db"
    secret = (hasty.data_dir / "webhook.secret").read_text().strip()
    environment = {**os.environ, "HASTY_WEBHOOK_SECRET": secret, "ENDS": str(ends)}
    receiver = subprocess.Popen(
        [sys.executable, "-m", "examples.receiver", str(unheard.port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for job_id in unheard.jobs:
            until(lambda job_id=job_id: delivered(hasty, job_id), "the call to be taken", NEXT_TRY_S)
        with closing(sqlite3.connect(ends)) as database:
            told = database.execute("SELECT job_id, status FROM ends ORDER BY job_id").fetchall()
    finally:
        receiver.kill()
        receiver.wait()
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
