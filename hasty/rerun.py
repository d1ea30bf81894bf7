"""The rule of the rerun window: may this object have another job now?"""

import math
from datetime import datetime, timedelta

from hasty.job import KEPT_AFTER_WINDOW, Job, Status, Work
from hasty.messages import Reason, Refused, Request

#: Runs of one object are at least this far apart, so that their fences differ.
_APART = timedelta(milliseconds=1)

#: How long to tell a client to wait for a job whose window is open but which has not ended.
_UNFINISHED_RETRY_S = 5.0


def decide(previous: Job | None, request: Request, now: datetime) -> Job | Refused:
    """Return the job to insert, or why there is none.

    `previous` is the object's newest job, as fresh as its answer matters: a stale one that is
    still live only refuses too much. A request that meets itself gets its own job back.
    Where the end of a job decides on its window, that is shut for as long at least as if it counted
    from acceptance, and no successor comes before the end.
    """
    if previous is None:
        return _job(request, run=1, accepted_at=now)
    if previous.job_id == request.job_id:
        return previous
    if now < previous.opens_at:
        return Refused(Reason.WINDOW, previous.job_id, (previous.opens_at - now).total_seconds())
    if previous.live:
        return Refused(Reason.UNFINISHED, previous.job_id, _UNFINISHED_RETRY_S)
    return _job(request, run=previous.run + 1, accepted_at=max(now, previous.accepted_at + _APART))


def opening(work: Work, status: Status, ended_at: datetime) -> datetime | None:
    """Return when the object's window opens after this end; None: as it was fixed at admission.

    Never before the predecessor's: no job is admitted before that one is open.
    """
    if work.window is None:
        return None
    if status not in work.window.after:
        return ended_at
    return ended_at + _whole_ms(work.window.seconds) if work.window.from_end else None


def _whole_ms(seconds: float) -> timedelta:
    """Return whole milliseconds: the same before and after storage."""
    return timedelta(milliseconds=math.ceil(seconds * 1000))


def _job(request: Request, *, run: int, accepted_at: datetime) -> Job:
    window = request.window
    opens_at = accepted_at + _whole_ms(window.seconds)
    patience_s = request.queue_timeout_s
    return Job(
        job_id=request.job_id,
        object_id=request.object_id,
        run=run,
        handler=request.handler,
        payload=request.payload,
        priority=request.priority,
        accepted_at=accepted_at,
        opens_at=opens_at,
        expires_at=opens_at + KEPT_AFTER_WINDOW,
        timeout_s=request.timeout_s,
        pool=request.pool,
        window=None if window.fixed else window,
        give_up_at=None if patience_s is None else accepted_at + _whole_ms(patience_s),
        idempotency_key=request.idempotency_key,
    )
