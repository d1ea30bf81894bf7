"""Examples that several unit tests start from, and how they run."""

import functools
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings

from hasty.job import Job, Window, Work
from hasty.messages import Request
from hasty.testing import run_virtually

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)

#: What the clock of a virtual loop shows at second zero.
VIRTUAL_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

#: Hypothesis draws the same examples each time, so that a run of CI can be repeated.
repeatable = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_request(job_id="job-1", **changes) -> Request:
    fields = {
        "job_id": job_id,
        "object_id": "video-1",
        "handler": "sleep",
        "timeout_s": 46.0,
        "window": Window(300.0),
    }
    return Request(**(fields | changes))


def a_job(job_id="job-1", **changes) -> Job:
    fields = {
        "job_id": job_id,
        "object_id": "video-1",
        "run": 1,
        "handler": "sleep",
        "accepted_at": NOW,
        "opens_at": after(300),
        "expires_at": after(300 + 86_400),
        "timeout_s": 46.0,
    }
    return Job(**(fields | changes))


def a_work(job_id="job-1", **changes) -> Work:
    fields = {
        "job_id": job_id,
        "object_id": "video-1",
        "run": 1,
        "handler": "sleep",
        "payload": None,
        "priority": 0,
        "accepted_at": NOW,
        "timeout_s": 46.0,
    }
    return Work(**(fields | changes))


def virtually(scenario):
    """Run an async test on the virtual loop: time passes when nothing else is left to do."""

    @functools.wraps(scenario)
    def run(*args, **kwargs):
        return run_virtually(scenario(*args, **kwargs))

    return run
