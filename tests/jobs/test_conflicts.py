"""`on_conflict` and `Idempotency-Key`, while Gateway and Registry are killed again and again."""

import http.client
import itertools
import json
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psutil
import pytest

from tests.running import until

POLICIES = ("reject", "attach", "replace", "after")

#: They are killed so often, one after the other, and until so many jobs were accepted.
KILLS, ACCEPTED = 5, 20

OBJECTS = 6

#: The clocks of two processes on one machine are off by less.
CLOCK_S = 0.2


@pytest.fixture
def records(hurried):
    with hurried.databases() as client:
        yield client


class Wisher:
    """A client that asks for each job until it has a clear answer, and then once more."""

    def __init__(self, hurried, stop, seed):
        self.hurried, self.stop = hurried, stop
        self.chance = random.Random(seed)
        self.run = uuid.uuid4().hex[:8]
        self.wishes = {}

    def __call__(self):
        for number in itertools.count():
            if self.stop.is_set():
                return
            key = f"{self.run}-{number}"
            wish = {
                "object_id": f"conflict-{self.chance.randrange(OBJECTS)}",
                "handler": "doubles",
                "payload": number,
                "on_conflict": self.chance.choice(POLICIES),
                "labels": {"wish": key},
            }
            self.wishes[key] = [self.answered(key, wish), self.answered(key, wish)]

    def accepted(self):
        return {key: answers for key, answers in self.wishes.copy().items() if answers[0] is not None}

    def answered(self, key, wish):
        """Return the job of the answer; None where it was refused."""
        while True:
            status, body = answer_of(
                self.hurried, "POST", "/v1/jobs", json.dumps(wish).encode(), {"Idempotency-Key": key}
            )
            if status in {200, 201}:
                return body["id"]
            if status == 409:
                assert body["code"] in {"rerun_window", "unfinished"}
                return None
            assert status in {0, 500, 503}, body
            time.sleep(0.05)  # between two tries; what is waited for is a clear answer


def answer_of(hurried, *request):
    """Return status and body; 0 and None where there is no answer."""
    try:
        return hurried.ask(*request)[:2]
    except (OSError, http.client.HTTPException):
        return 0, None


def kill_in_turns(hurried, enough):
    """Kill Registry and Gateway, again as soon as the last one is back."""
    for killed, title in enumerate(itertools.cycle(("ray::RegistryHost", "ray::ServeReplica"))):
        if killed >= KILLS and enough():
            return
        process = hurried.actor(title)
        process.kill()
        psutil.wait_procs([process])
        until(lambda title=title: hurried.actors(title), f"{title} to come back")
        until(lambda: answer_of(hurried, "GET", "/readyz")[0] == 200, "hasty to be ready")


def ended(records, ids):
    return lambda: not records.hasty_api.jobs.count_documents({"_id": {"$in": ids}, "live": True})


@pytest.mark.timeout(400)
def test_conflicts_and_keys_while_gateway_and_registry_are_killed(hurried, records):
    stop = threading.Event()
    wishers = [Wisher(hurried, stop, seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(wisher) for wisher in wishers]

        def enough():
            # One that ends by itself has something to complain of.
            accepted = sum(len(wisher.accepted()) for wisher in wishers)
            return accepted >= ACCEPTED or any(each.done() for each in asked)

        try:
            kill_in_turns(hurried, enough)
        finally:
            stop.set()
        for each in asked:
            each.result()
    accepted = {key: answers for wisher in wishers for key, answers in wisher.accepted().items()}
    # The first answer is the answer.
    assert [key for key, (first, again) in accepted.items() if first != again] == []
    jobs = list(records.hasty_api.jobs.find({"object_id": {"$regex": "^conflict-"}}))
    ids = [job["_id"] for job in jobs]
    # No wish made two jobs, and none that was answered is missing.
    made_for = [label for job in jobs for label in job["labels"]]
    assert len(set(made_for)) == len(made_for)
    assert {job_id for answers in accepted.values() for job_id in answers} <= set(ids)
    until(ended(records, ids), "every job to end")
    _one_at_a_time(records, jobs)


def _one_at_a_time(records, jobs):
    """No two of an object ran at once, and the window of each that ran was shut for the next."""
    pages = {page["_id"]: page for page in records.hasty_worker.ledger.find()}
    jobs = list(records.hasty_api.jobs.find({"_id": {"$in": [job["_id"] for job in jobs]}}))
    for _, group in itertools.groupby(sorted(jobs, key=lambda job: (job["object_id"], job["run"])), _object):
        its = list(group)
        assert [job["run"] for job in its] == list(range(1, len(its) + 1))
        ran = [job for job in its if pages.get(job["_id"], {}).get("attempts")]
        for earlier, later in itertools.pairwise(ran):
            begun = pages[later["_id"]]["attempts"][0]["started_at"]
            assert begun >= pages[earlier["_id"]]["final"]["ended_at"], (earlier, later)
            assert later.get("replaces") or begun >= earlier["opens_at"] - timedelta(seconds=CLOCK_S)


def _object(job):
    return job["object_id"]
