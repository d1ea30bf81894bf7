"""From a fault to "running again", in seconds: computed afterwards, from the evidence."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import ceil

from hasty.chaos.answers import Answer
from hasty.chaos.evidence import Evidence
from hasty.chaos.faults import Fault, Sign

#: Attempts that were closed because another one took over.
_LOST = "lost"


def seconds_to_recover(fault: Fault, evidence: Evidence) -> float | None:
    """Return how long it took until what the fault hit ran again; None if nothing did, or nothing ran."""
    if fault.over_at is None or fault.cut_short:
        return None
    again = _SIGNS[fault.kind.sign](fault.at, fault.over_at, evidence)
    return (again - fault.at).total_seconds() if again is not None else None


def _served(at: datetime, over_at: datetime, evidence: Evidence) -> datetime | None:
    """Return when the first 201 came to a POST that was sent after the last one without a clear answer."""
    posts = [answer for answer in evidence.answers if answer.method == "POST"]
    lost = [post.sent_at for post in posts if at < post.sent_at <= over_at and not post.clear]
    last = max(lost, default=at)
    return min((post.received_at for post in posts if post.accepted and post.sent_at > last), default=None)


def _started(at: datetime, _over_at: datetime, evidence: Evidence) -> datetime | None:
    """Return when the first of the jobs started that were accepted after the fault."""
    new = (evidence.pages[job_id] for job_id, job in evidence.jobs.items() if job.accepted_at > at)
    return min((page.attempts[0].started_at for page in new if page.attempts), default=None)


def _moved(at: datetime, over_at: datetime, evidence: Evidence) -> datetime | None:
    """Return when the last of the jobs had another attempt that lost theirs."""
    moves = (
        attempt.ended_at
        for page in evidence.pages.values()
        for attempt in page.attempts
        if attempt.outcome == _LOST and attempt.started_at <= at and attempt.ended_at is not None
    )
    return max((moved for moved in moves if at < moved <= over_at), default=None)


def _told(_at: datetime, over_at: datetime, _evidence: Evidence) -> datetime:
    """Return when it was seen that something was told: no event says when."""
    return over_at


_SIGNS: Mapping[Sign, Callable[[datetime, datetime, Evidence], datetime | None]] = {
    Sign.SERVED: _served,
    Sign.STARTED: _started,
    Sign.MOVED: _moved,
    Sign.TOLD: _told,
}


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the value that so many of a hundred do not exceed; with few values, the next one above."""
    return ordered[max(ceil(len(ordered) * percent / 100) - 1, 0)]


def unclear_during(fault: Fault, answers: Sequence[Answer]) -> int:
    """Count the posts without a clear answer that were sent from the fault until it was over."""
    posts = [answer for answer in answers if answer.method == "POST" and answer.sent_at > fault.at]
    return sum(not post.clear and (fault.over_at is None or post.sent_at <= fault.over_at) for post in posts)
