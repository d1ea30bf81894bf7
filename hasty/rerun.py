"""The rule of the rerun window: may this object have another job now, and when may a scheduled one run?"""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from hasty.job import KEPT_AFTER_WINDOW, Job, Status, Work
from hasty.messages import Attached, OnConflict, Reason, Refused, Request

#: Runs of one object are at least this far apart, so that their fences differ.
_APART = timedelta(milliseconds=1)

#: How long to tell a client to wait for a job whose window is open but which has not ended.
_UNFINISHED_RETRY_S = 5.0

#: Who waits for the end of another job is told of it; if that is lost, it looks by itself: after this,
#: and then less and less often.
_LOOK_AGAIN = timedelta(seconds=5)
_LOOK_AT_LEAST = timedelta(minutes=1)


class Past(NamedTuple):
    """What an object's jobs so far mean for the next one."""

    newest: Job
    #: The newest, but for those that ended before they had their turn: its window counts, and its end.
    #: None: it is forgotten, or there was none.
    standing: Job | None


def decide(past: Past | None, request: Request, now: datetime) -> Job | Attached | Refused:
    """Return the job to insert, or the one that is the answer, or why there is none.

    The past must be as fresh as its answer matters: a job that is still live, or a window that is shut, in
    a stale one only refuses or attaches too much. A request that meets itself gets its own job back.
    Where the end of a job decides on its window, that is shut for as long at least as if it counted
    from acceptance, and no successor comes before the end.

    Whatever the request wants: no job that it makes can run before every other of its object has ended.
    """
    if past is None:
        return _job(request, now, run=1)
    newest, standing = past
    if newest.job_id == request.job_id:
        return newest
    accepted_at, run = max(now, newest.accepted_at + _APART), newest.run + 1
    refused = _conflict(standing, request, now) if standing is not None else None
    if standing is None or refused is None:
        return _job(request, accepted_at, run, standing)
    return _despite(standing, request, accepted_at, run) or refused


def _despite(standing: Job, request: Request, now: datetime, run: int) -> Job | Attached | None:
    """Return what the client would have where a job stands in the way; None: nothing."""
    match request.on_conflict:
        case OnConflict.ATTACH:
            return Attached(standing.job_id)
        case OnConflict.AFTER if standing.waits_for_turn:
            return Attached(standing.job_id)
        case OnConflict.AFTER:
            # An end that moves the window may open it sooner than is known now: so it is looked then.
            fixed = standing.window is None and not request.force
            due = standing.opens_at if fixed else now
            return _job(request, now, run, standing, due=max(now, due))
        case OnConflict.REPLACE if standing.live:
            return _job(request, now, run, standing, due=now, replaces=True)
    return None


def _conflict(standing: Job, request: Request, now: datetime) -> Refused | None:
    if now < standing.opens_at and not request.force:
        return Refused(Reason.WINDOW, standing.job_id, (standing.opens_at - now).total_seconds())
    if standing.live:
        return Refused(Reason.UNFINISHED, standing.job_id, _UNFINISHED_RETRY_S)
    return None


def _job(
    request: Request,
    now: datetime,
    run: int,
    standing: Job | None = None,
    *,
    due: datetime | None = None,
    replaces: bool = False,
) -> Job:
    """Return a job that is queued at once, or scheduled for when it is `due` and the client wants it."""
    wanted = now + _whole_ms(request.delay_s) if request.delay_s is not None else request.run_at
    if wanted is not None and wanted > now:
        due = max(due or now, wanted)
    window, patience_s = request.window, request.queue_timeout_s
    opens_at = (due or now) + _whole_ms(window.seconds)
    if standing is not None and standing.opens_at > now:
        opens_at = max(opens_at, standing.opens_at)
        window = window._replace(not_before=standing.opens_at)
    scheduled = due is not None
    return Job(
        job_id=request.job_id,
        object_id=request.object_id,
        run=run,
        handler=request.handler,
        payload=request.payload,
        status=Status.SCHEDULED if scheduled else Status.QUEUED,
        priority=request.priority,
        accepted_at=now,
        opens_at=opens_at,
        expires_at=opens_at + KEPT_AFTER_WINDOW,
        timeout_s=request.timeout_s,
        pool=request.pool,
        # Of one that is scheduled it begins with its turn.
        window=None if window.fixed and not scheduled else window,
        give_up_at=None if patience_s is None or scheduled else now + _whole_ms(patience_s),
        due_at=due,
        turn_due=due,
        follows=standing.job_id if scheduled and standing is not None else None,
        replaces=replaces,
        forced=scheduled and request.force,
        patience_s=patience_s if scheduled else None,
        labels=request.labels,
        webhook=request.webhook,
        idempotency_key=request.idempotency_key,
        fingerprint=request.fingerprint,
    )


class Begin(NamedTuple):
    """It is this job's turn."""

    #: Its window does not open before: that of the job it follows is shut until then.
    not_before: datetime | None = None


class PutOff(NamedTuple):
    """It is not this job's turn before then, and not before the end of the job that it follows."""

    until: datetime
    follows: str | None


class GiveWay(NamedTuple):
    """It is this job's turn once the one that it replaces has been ended."""

    ahead: Job


def turn(job: Job, ahead: Job | None, now: datetime) -> Begin | PutOff | GiveWay:
    """Say whether a job that is scheduled since its acceptance may run now.

    `ahead` is the job that it follows; None: that is forgotten, or there is none. What is said to begin
    may begin at any later time, too: an end is final, and its window does not move after it.
    """
    if job.due_at is not None and now < job.due_at:
        # It is looked at sooner where the end of the job that it follows was told.
        return PutOff(job.due_at, job.follows)
    if ahead is None:
        return Begin()
    if ahead.live:
        return GiveWay(ahead) if job.replaces else _look_again(job, now)
    if ahead.waits_for_turn:
        return PutOff(now, ahead.follows)
    if now < ahead.opens_at and not (job.replaces or job.forced):
        return PutOff(ahead.opens_at, ahead.job_id)
    return Begin(ahead.opens_at)


def _look_again(job: Job, now: datetime) -> PutOff:
    waited = now - (job.due_at or now)
    return PutOff(now + min(max(waited / 2, _LOOK_AGAIN), _LOOK_AT_LEAST), job.follows)


def begun(job: Job, begin: Begin, now: datetime) -> Job:
    """Return a job that has its turn now: from here on its window counts, and its wait for its start."""
    assert job.window is not None
    # What was known of it before is of no account: it was guessed from a job that may never have had a turn.
    opens_at = max(now + _whole_ms(job.window.seconds), begin.not_before or now)
    return replace(
        job,
        status=Status.QUEUED,
        opens_at=opens_at,
        expires_at=opens_at + KEPT_AFTER_WINDOW,
        window=job.window._replace(not_before=begin.not_before),
        give_up_at=None if job.patience_s is None else now + _whole_ms(job.patience_s),
        turn_due=None,
        follows=None,
        patience_s=None,
    )


def opening(work: Work, status: Status, ended_at: datetime) -> datetime | None:
    """Return when the object's window opens after this end; None: as it was fixed before.

    Never before the predecessor's, also where its job did not wait for that.
    """
    window = work.window
    if window is None:
        return None
    if status not in window.after:
        opens_at = ended_at
    elif window.from_end:
        opens_at = ended_at + _whole_ms(window.seconds)
    else:
        return None
    return max(opens_at, window.not_before or opens_at)


def _whole_ms(seconds: float) -> timedelta:
    """Return whole milliseconds: the same before and after storage."""
    return timedelta(milliseconds=math.ceil(seconds * 1000))
