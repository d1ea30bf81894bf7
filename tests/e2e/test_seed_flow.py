"""The seed system's own flow, through `hasty up` with the defaults, as a user runs it."""

import concurrent.futures
import itertools
import json
import subprocess
import sys
import time
from collections import Counter

import pytest

from hasty.local.folder import DataFolder
from tests.e2e.readme import UP
from tests.running import HASTY, Running, leftovers, until

WAIT = "you need to wait 5 minutes before rerunning the same job"


@pytest.fixture(scope="package")
def flow(hasty):
    """The job of the flow, which was just admitted, and what a client will read that waits for its end."""
    status, body, _ = hasty.post("video-2")
    assert status == 201
    assert list(body) == ["message"]
    assert list(body["message"]) == ["job_id"]
    with concurrent.futures.ThreadPoolExecutor(1) as client:
        job_id = body["message"]["job_id"]
        yield job_id, client.submit(hasty.wait_for_end, job_id, within_s=47)


def test_a_job_is_admitted_once_and_runs(hasty, flow):
    job_id, _ = flow
    status, body, headers = hasty.post("video-2")
    assert (status, body) == (400, {"message": WAIT})
    assert 290 <= int(headers["Retry-After"]) <= 300

    job = hasty.job(job_id)
    assert time.time() - 10 <= job.pop("timestamp") <= time.time()
    assert job == {
        "id": job_id,
        "job_id": job_id,
        "object_id": "video-2",
        "status": "processing",
        "sleep_time_used": 0,
    }


@pytest.fixture(scope="package")
def crowd(hasty):
    """5,000 jobs for the default pool, with the default sleep of 15 to 45 s: how they were answered."""
    command = [sys.executable, "-m", "hasty.bench.load", str(hasty.port), "64", "30", "5000"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["statuses"]


def test_5000_jobs_are_accepted(crowd):
    assert crowd == {"201": 5000}


@pytest.mark.at_the_end
def test_it_has_finished_in_time_and_says_how_long_it_slept(hasty, flow):
    job_id, end = flow
    job = end.result()
    assert (job["id"], job["status"]) == (job_id, "finished")
    assert 15 <= job["sleep_time_used"] <= 45
    assert hasty.post("video-2")[:2] == (400, {"message": WAIT})


def test_two_instances_live_side_by_side(hasty, shop):
    assert [running.post("in-both")[0] for running in (hasty, shop, hasty, shop)] == [201, 201, 400, 400]


def test_an_unknown_job_is_told_apart(hasty):
    assert hasty.ask("GET", "/nobody")[:2] == (400, {"message": "no job with id: nobody"})


def test_of_64_posts_at_once_for_one_object_one_is_accepted_each_time(hasty):
    with concurrent.futures.ThreadPoolExecutor(64) as clients:
        for round_ in range(10):
            answers = clients.map(hasty.post, [f"hot-{round_}"] * 64)
            assert sorted(answer[0] for answer in answers) == [201] + [400] * 63


def test_a_body_over_the_limit_is_refused(hasty):
    status, body, _ = hasty.ask("POST", "/", b'{"object_id": "' + b"x" * (1 << 20) + b'"}')
    assert status == 413
    assert body["message"]


def test_the_health_pages_answer(hasty):
    assert hasty.ask("GET", "/healthz")[:2] == (200, {"message": "ok"})
    assert hasty.ask("GET", "/readyz")[:2] == (200, {"message": "ready"})


def test_after_a_kill_of_everything_each_acknowledged_job_is_there_and_ends(shop):
    jobs = [shop.submit(f"object-{n}") for n in range(100)]
    shop.kill_everything()
    shop.up(*UP[2:])
    assert {shop.wait_for_end(job)["status"] for job in jobs} == {"finished"}
    check_stop_drains_and_leaves_nothing(shop)


def check_stop_drains_and_leaves_nothing(running: Running) -> None:
    """`hasty down` elsewhere: no new jobs, running ones end, then nothing is left; and what ended stays."""
    instance = DataFolder(running.data_dir).instance()
    job_id = running.submit("the-last")
    down = subprocess.Popen([HASTY, "down"], env=running.environment, stdout=subprocess.PIPE, text=True)
    refused = until(lambda: refusal(running), "new jobs to be refused")
    assert refused[0] == 503
    assert int(refused[2]["Retry-After"]) >= 1
    ended = running.wait_for_end(job_id)
    assert running.finish() == 0
    told, _ = down.communicate()
    assert (down.returncode, told.splitlines()[-1]) == (0, "hasty is down")
    assert leftovers(instance, running.port) == []
    assert ended["status"] == "finished"
    assert any(line.startswith("waiting for") for line in running.output)


def refusal(running: Running):
    answer = running.post(f"late-{time.monotonic()}")
    return answer if answer[0] != 201 else None


@pytest.mark.at_the_end
@pytest.mark.usefixtures("crowd")
def test_the_5000_ran_at_the_same_time_and_ended_in_time(hasty):
    with hasty.databases() as client:
        jobs = client.hasty_api.jobs
        bench = {"object_id": {"$regex": "^bench-"}}
        until(lambda: not jobs.count_documents({**bench, "live": True}), "the last job to end", 90)
        ended = list(jobs.find(bench))
    assert Counter(job["status"] for job in ended) == {"finished": 5000}
    assert {job["attempt"] for job in ended} == {1}
    most = at_once(ended)
    # None sleeps for less than 15 s, and the last is posted a few seconds after the first.
    assert most == 5000
    late = max((job["ended_at"] - job["started_at"]).total_seconds() for job in ended)
    assert late < 46
    waited = max((job["started_at"] - job["accepted_at"]).total_seconds() for job in ended)
    assert waited < 5


def at_once(jobs: list[dict]) -> int:
    """How many ran at the same time at most."""
    steps = [(job["started_at"], 1) for job in jobs] + [(job["ended_at"], -1) for job in jobs]
    return max(itertools.accumulate(step for _, step in sorted(steps)))
