"""The seed system's own flow, through `hasty up` with the defaults, as a user runs it."""

import concurrent.futures
import json
import subprocess
import sys
import time
from collections import Counter

import pytest

from hasty.local.folder import DataFolder
from tests.e2e.readme import UP
from tests.held import Held
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
        yield job_id, client.submit(hasty.wait_for_end, job_id, within_s=75)


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
def crowd(hasty, tmp_path_factory):
    """5,000 jobs in the default pool, which run until they are let go."""
    jobs = Held(hasty, tmp_path_factory.mktemp("crowd"))
    jobs.submit_all(f"crowd-{number}" for number in range(5000))
    until(lambda: of_the_crowd(hasty, "running") == 5000, "all of the crowd to run", 120)
    yield jobs
    jobs.let_go()


def of_the_crowd(hasty, status: str) -> int:
    with hasty.databases() as client:
        return client.hasty_api.jobs.count_documents({"handler": "held", "status": status})


@pytest.fixture(scope="package")
def load(hasty, crowd):
    """1,000 jobs beside those, with the default sleep of 15 to 45 s: how they were answered."""
    command = [sys.executable, "-m", "hasty.bench.load", str(hasty.port), "64", "300", "1000"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["statuses"]


def test_while_5000_jobs_run_at_the_same_time_1000_more_are_accepted(hasty, crowd, load):
    assert load == {"201": 1000}
    assert of_the_crowd(hasty, "running") == 5000
    # As if they had slept: not all at the same moment.
    crowd.let_go(over_s=20)


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


@pytest.mark.timeout(400)
def test_after_a_kill_of_everything_each_acknowledged_job_is_there_and_ends(shop, tmp_path):
    jobs = [shop.submit(f"object-{n}") for n in range(100)]
    shop.kill_everything()
    shop.up(*UP[2:], "--handlers", "held")
    assert {shop.wait_for_end(job)["status"] for job in jobs} == {"finished"}
    check_stop_drains_and_leaves_nothing(shop, Held(shop, tmp_path))


def check_stop_drains_and_leaves_nothing(running: Running, held: Held) -> None:
    """`hasty down` elsewhere: no new jobs, running ones end, then nothing is left; and what ended stays."""
    instance = DataFolder(running.data_dir).instance()
    job_id = held.submit("the-last")
    command = [HASTY, "down"]
    with subprocess.Popen(command, env=running.environment, stdout=subprocess.PIPE, text=True) as down:
        try:
            running.wait_until_said("waiting for")
            status, _, headers = running.post("late")
            assert status == 503
            assert int(headers["Retry-After"]) >= 1
            held.let_go()
            ended = running.wait_for_end(job_id)
            assert running.finish() == 0
            told, _ = down.communicate()
        finally:
            down.kill()
    assert (down.returncode, told.splitlines()[-1]) == (0, "hasty is down")
    assert leftovers(instance, running.port) == []
    assert ended["status"] == "finished"


@pytest.mark.at_the_end
@pytest.mark.usefixtures("load")
def test_each_of_the_6000_ran_once_and_none_waited_for_another(hasty):
    with hasty.databases() as client:
        jobs = client.hasty_api.jobs
        many = {"object_id": {"$regex": "^(bench|crowd)-"}}
        until(lambda: not jobs.count_documents({**many, "live": True}), "the last job to end", 120)
        ended = list(jobs.find(many))
    assert Counter((job["handler"], job["status"]) for job in ended) == {
        ("held", "finished"): 5000,
        ("sleep", "finished"): 1000,
    }
    assert {job["attempt"] for job in ended} == {1}
    slept = [job for job in ended if job["handler"] == "sleep"]
    assert min((job["ended_at"] - job["started_at"]).total_seconds() for job in slept) > 14
    # For a slot one would wait until another has slept, which takes 15 s at least.
    assert max((job["started_at"] - job["accepted_at"]).total_seconds() for job in slept) < 14
