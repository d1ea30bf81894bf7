"""Waiting for the end of a job, through answers that never come and a hasty that starts again."""

import dataclasses
import math

import httpx

from hasty.client.calls import JobId, get_job
from hasty.client.models import Job, Json
from hasty.client.patience import Limits, Patience
from hasty.client.problems import Failure, failure
from hasty.client.steps import Answer, Call, Course, Now, Pause
from hasty.errors import HastyError, InvalidRequest, JobCancelled, JobFailed, WaitTimeout

#: hasty is asked to hold its answer for so long, in seconds.
_HOLD_S = 30

#: Where it does not, it is not asked more often than this, in seconds.
_LOOK_S = 1.0

#: For so long in a row, in seconds, hasty may be away: it starts again within a fraction of that.
AWAY_S = 60.0

#: The last answer may come so many seconds after the caller's time is over.
_GRACE_S = 2.0


def wait(job_id: JobId, timeout_s: float | None, limits: Limits) -> Course[Job]:
    """Lead to the job once it has ended. It is looked at once at least; an answer makes up for all failures.

    hasty may be away for `AWAY_S` in a row, whatever the limits say. Raises WaitTimeout after so many
    seconds, None: never. Raises the error of the last try where none succeeded, and one that waiting
    does not help against.
    """
    if timeout_s is not None and not timeout_s >= 0:
        raise InvalidRequest(complaints=(("timeout", "must be a number of seconds, from 0 on"),))
    patience, job = Patience(limits, at_least_s=AWAY_S), None
    until_s = (yield Now()) + (math.inf if timeout_s is None else timeout_s)
    while True:
        asked_s = yield Now()
        left_s = max(until_s - asked_s, 0.0)
        question = get_job(job_id, min(left_s, _HOLD_S))
        answer: Answer = yield _no_later(left_s, question.call, limits)
        failed, now_s = failure(answer), (yield Now())
        if isinstance(answer, httpx.Response) and failed is None:
            job = question.read(answer)
            if job.final:
                return job
            patience.relax()
        if now_s >= until_s:
            raise _late(job, failed)
        if failed is not None:
            yield from patience.bear(failed, until_s - now_s)
        else:
            yield Pause(max(min(asked_s + _LOOK_S, until_s) - now_s, 0.0))


def result(job_id: JobId, timeout_s: float | None, limits: Limits) -> Course[Json]:
    """Lead to what the job returned. Raises JobFailed and JobCancelled, and what `wait` raises."""
    job = yield from wait(job_id, timeout_s, limits)
    if job.status == "finished":
        return job.result
    error = job.error or {}
    why = ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))
    told = f"job {job.id} of {job.handler!r} {'failed' if job.status == 'failed' else 'was cancelled'}"
    kind = JobFailed if job.status == "failed" else JobCancelled
    raise kind(f"{told}: {why}" if why else told, job=job)


def _no_later(left_s: float, call: Call, limits: Limits) -> Call:
    """Return the call with the time that one try has; no more than its caller has, and a little grace."""
    return dataclasses.replace(call, within_s=min(limits.silence_s, left_s - call.held_s + _GRACE_S))


def _late(job: Job | None, failed: Failure | None) -> HastyError:
    """Return what to raise when the caller's time is over."""
    if job is None or (failed is not None and not failed.passes):
        assert failed is not None
        return failed.error
    return WaitTimeout(f"job {job.id} of {job.handler!r} is still {job.status}", job=job)
