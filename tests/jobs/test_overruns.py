"""What runs longer than it may is ended in time: on real Ray."""

import uuid
from datetime import timedelta

from tests.running import until

#: Where the machine pauses, one attempt is ended late; not all of so many.
TRIES = 5


def test_an_overrun_is_cancelled_in_time_and_says_so(hurried):
    job = hurried.wait_for_end(hurried.submit(uuid.uuid4().hex))
    assert (job["status"], job["sleep_time_used"]) == ("cancelled", 0)


def test_an_overrun_frees_its_slot_and_its_object(hurried):
    object_id = uuid.uuid4().hex
    for _ in range(2):
        job = until(lambda: accepted(hurried, object_id), "the window to open")
        assert hurried.wait_for_end(job)["status"] == "cancelled"


def accepted(running, object_id):
    status, body, _ = running.post(object_id)
    return body["message"]["job_id"] if status == 201 else None


def test_a_cancelled_attempt_ran_between_its_timeout_and_a_second_more(hurried):
    assert any(ran(hurried) <= timedelta(seconds=3) for _ in range(TRIES))


def ran(hurried):
    """Run a job that overruns; return how long it ran."""
    job_id = hurried.submit(uuid.uuid4().hex)
    hurried.wait_for_end(job_id)
    with hurried.databases() as client:
        job = client.hasty_api.jobs.find_one({"_id": job_id})
    took = job["ended_at"] - job["started_at"]
    assert took >= timedelta(seconds=2)
    return took
