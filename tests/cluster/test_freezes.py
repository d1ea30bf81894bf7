"""What freezes is found and replaced: on real Ray, with real SIGSTOPs."""

import signal
import subprocess
import sys
import time

import pytest

from tests.cluster.test_faults import all_running, some_objects
from tests.running import until

#: From the freeze to running again: the 15 s of the design, three times over. It takes 7 s to be sure, and
#: then a process starts, which is slow where others want the processors too.
REPLACED_WITHIN_S = 45.0

#: The processes of hasty that Ray runs. It has others in store, which come and go as it likes.
ACTORS = ("WorkerHost", "DispatcherHost", "RegistryHost", "ClerkHost", "ServeReplica")


@pytest.fixture
def frozen():
    """Freezes processes, and lets go of those that are still there at the end."""
    stopped = []

    def freeze(process):
        process.send_signal(signal.SIGSTOP)
        stopped.append(process)

    yield freeze
    for process in stopped:
        if process.is_running():
            process.send_signal(signal.SIGCONT)


def test_the_jobs_of_a_frozen_worker_run_again_soon(patient, records, frozen, held):
    jobs = [held.submit(object_id) for object_id in some_objects(20)]
    until(all_running(records, jobs), "the jobs to run")
    ledger, workers = records.hasty_worker.ledger, records.hasty_worker.workers
    chosen = ledger.find_one({"_id": jobs[0]})["open"]["worker"]
    its = ledger.distinct("_id", {"_id": {"$in": jobs}, "open.worker": chosen})
    pid = workers.find_one({"_id": chosen})["pid"]
    (worker,) = (process for process in patient.actors("ray::WorkerHost") if process.pid == pid)
    frozen(worker)
    again = {"_id": {"$in": its}, "$or": [{"open.n": 2}, {"final.attempt": 2}]}
    until(lambda: ledger.count_documents(again) == len(its), "its jobs to run again", REPLACED_WITHIN_S)
    held.let_go()
    until(lambda: not worker.is_running(), "nothing to be left of it that could thaw")
    assert {patient.wait_for_end(job)["status"] for job in jobs} == {"finished"}
    for page in ledger.find({"_id": {"$in": jobs}}):
        causes = ["frozen", None] if page["_id"] in its else [None]
        assert [attempt.get("cause") for attempt in page["attempts"]] == causes
        assert page["charges"] == 0


def test_a_frozen_dispatcher_is_replaced_and_starts_nothing_twice(patient, records, frozen, held):
    jobs = [held.submit(object_id) for object_id in some_objects(5)]
    until(all_running(records, jobs), "the jobs to run")
    frozen(patient.actor("ray::DispatcherHost"))
    job = patient.submit(some_objects(1)[0])
    started = {"_id": job, "$or": [{"open": {"$ne": None}}, {"final": {"$ne": None}}]}
    until(lambda: records.hasty_worker.ledger.find_one(started), "a job to start", REPLACED_WITHIN_S)
    held.let_go()
    assert {patient.wait_for_end(job)["status"] for job in jobs} == {"finished"}
    for page in records.hasty_worker.ledger.find({"_id": {"$in": jobs}}):
        assert len(page["attempts"]) == 1


def test_a_frozen_registry_is_replaced(patient, frozen):
    frozen(patient.actor("ray::RegistryHost"))
    (object_id,) = some_objects(1)
    until(lambda: admitted(patient, object_id), "a job to be admitted", REPLACED_WITHIN_S)


def test_a_frozen_clerk_is_replaced_and_what_happened_meanwhile_is_told(patient, records, frozen):
    jobs = [patient.submit(object_id) for object_id in some_objects(5)]
    events = records.hasty_api.events

    def told_of():
        return len(events.distinct("job_id", {"job_id": {"$in": jobs}}))

    until(lambda: told_of() == 5, "five jobs to be told of")
    frozen(patient.actor("ray::ClerkHost"))
    jobs += [patient.submit(object_id) for object_id in some_objects(5)]
    until(lambda: told_of() == 10, "ten jobs to be told of", REPLACED_WITHIN_S)
    assert {patient.wait_for_end(job)["status"] for job in jobs} == {"finished"}
    ends = {"job_id": {"$in": jobs}, "type": "job.finished"}
    until(lambda: events.count_documents(ends) == 10, "ten ends to be told of")
    numbers = [event["_id"] for event in events.find({}, {"_id": 1}, sort={"_id": 1})]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for job in jobs:
        told = [event["type"] for event in events.find({"job_id": job}, sort={"_id": 1})]
        assert told in (["job.queued", "job.running", "job.finished"], ["job.queued", "job.finished"])


def admitted(running, object_id) -> bool:
    try:
        return running.post(object_id)[0] in {201, 400}
    except OSError:  # a connection that was cut says nothing: ask again
        return False


def test_a_machine_at_its_limit_kills_nobody(patient, records):
    """Slow is not frozen: eight processes that want the two processors are no reason to kill."""
    before = actors_of(patient)
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    try:
        until_over = time.monotonic() + 10
        while time.monotonic() < until_over:
            jobs = [patient.submit(object_id) for object_id in some_objects(10)]
        assert {patient.wait_for_end(job)["status"] for job in jobs} == {"finished"}
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert actors_of(patient) == before
    for page in records.hasty_worker.ledger.find({"_id": {"$in": jobs}}):
        assert len(page["attempts"]) == 1


def actors_of(running):
    return {process for title in ACTORS for process in running.actors(f"ray::{title}")}
