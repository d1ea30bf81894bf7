"""The promises P1 to P5 and what is told, held against the evidence: pure, every rule a function of its own.

P1  what was acknowledged is there                      acknowledged, shown
P2  one final status, in both databases, for ever       ended, unchanged, shown
P3  one job of an object in one window                  apart, refusals
P4  no kill loses a job or doubles an outcome           what the others find, found after kills
P5  an outcome counts once; stale attempts are refused  attempts

And beside these: of each job it is told, in order, what happened   told
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import dropwhile, pairwise
from typing import NamedTuple

from hasty.chaos.answers import Answer
from hasty.chaos.evidence import Evidence
from hasty.job import Job, Outcome, Status
from hasty.messages import EventType
from hasty.store.base import ATTEMPTS_KEPT
from hasty.store.mongo.audit import DELETED, ENDS, Page, Written

#: "To within 1 s of clock", as P3 has it.
CLOCK = timedelta(seconds=1)

_FINAL = frozenset(str(status) for status in Status if status.final)

#: How the ledger closes an attempt that somebody else took over.
_LOST = "lost"

#: How the refusal of a shut window is told from that of a bad request.
_REFUSAL = "before rerunning the same job"


class Violation(NamedTuple):
    """A promise that was not kept, and the id by which to look it up."""

    promise: str
    about: str
    what: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.promise} {self.about}: {self.what}"


def violations(evidence: Evidence) -> list[Violation]:
    """Return everything that should not be; nothing when all was kept."""
    rules = (acknowledged, shown, ended, unchanged, apart, refusals, attempts, told)
    return [violation for rule in rules for violation in rule(evidence)]


def acknowledged(evidence: Evidence) -> Iterator[Violation]:
    """P1: every 201 names a job of its own, of the object that was asked for."""
    accepted = [answer for answer in evidence.answers if answer.accepted]
    for job_id, times in Counter(str(answer.job_id) for answer in accepted).items():
        if times > 1:
            yield Violation("P1", job_id, f"{times} requests were told that it is theirs")
    for answer in accepted:
        job = evidence.jobs.get(str(answer.job_id))
        if job is None:
            yield Violation("P1", str(answer.job_id), "was acknowledged and is not there")
        elif job.object_id != answer.object_id:
            yield Violation("P1", job.job_id, f"is of {job.object_id}, not of {answer.object_id}")


def shown(evidence: Evidence) -> Iterator[Violation]:
    """P1, P2: a job that was acknowledged is never unknown; the first end that was shown is its end."""
    asked: dict[str, list[Answer]] = {}
    for answer in evidence.answers:
        if answer.method == "GET" and answer.clear:
            asked.setdefault(str(answer.job_id), []).append(answer)
    for job_id, answers in asked.items():
        for refused in (answer for answer in answers if answer.refused):
            yield Violation("P1", job_id, f"a client was told: {refused.reply.message}")
        yield from _shown_alike(job_id, [answer for answer in answers if answer.shown], evidence)


def _shown_alike(job_id: str, answers: Sequence[Answer], evidence: Evidence) -> Iterator[Violation]:
    over = [answer for answer in answers if _status(answer) in _FINAL]
    if not over:
        return
    first = min(over, key=lambda answer: answer.received_at)
    later = {_status(answer) for answer in answers if answer.sent_at > first.received_at}
    job = evidence.jobs.get(job_id)
    now = "gone" if job is None else str(job.status)
    for other in sorted({now, *later} - {_status(first)}):
        yield Violation("P2", job_id, f"was shown as {_status(first)}, later it is {other}")


def _status(answer: Answer) -> str:
    return str(answer.reply.message["status"])


def ended(evidence: Evidence) -> Iterator[Violation]:
    """P2: every job ended, and jobs and ledger say the same of how."""
    for job_id, job in evidence.jobs.items():
        page = evidence.pages.get(job_id)
        if job.live:
            yield Violation("P2", job_id, f"never ended: it is {job.status}")
        elif page is None or page.final is None:
            yield Violation("P2", job_id, f"is {job.status}, and the ledger has no outcome")
        elif differing := _differing(_outcome_of(job), page.final):
            yield Violation("P2", job_id, f"jobs and ledger differ in {', '.join(differing)}")


def _outcome_of(job: Job) -> Outcome:
    assert job.ended_at is not None
    return Outcome(job.status, job.ended_at, job.result, job.error, job.attempt, job.started_at, job.worker)


def _differing(in_jobs: Outcome, in_ledger: Outcome) -> list[str]:
    """Name what differs. Where no attempt decided, jobs keep what they had of the last one."""
    of_attempt = () if in_ledger.attempt else ("attempt", "started_at", "worker")
    names = [name for name in Outcome._fields if name not in of_attempt]
    return [name for name in names if getattr(in_jobs, name) != getattr(in_ledger, name)]


def unchanged(evidence: Evidence) -> Iterator[Violation]:
    """P2: once a final status was written, in jobs or ledger, nothing about the outcome was again."""
    for job_id, job in evidence.jobs.items():
        of_job, of_page = evidence.history.jobs.get(job_id, ()), evidence.history.ledger.get(job_id, ())
        if not job.live and not of_page:
            yield Violation("P2", job_id, "the ledger's history tells of no end")
        yield from _nothing_after_the_end(job_id, "jobs", of_job)
        yield from _nothing_after_the_end(job_id, "ledger", of_page)


def _nothing_after_the_end(job_id: str, where: str, history: Sequence[Written]) -> Iterator[Violation]:
    words = [written.word for written in history]
    after = list(dropwhile(lambda word: word not in _FINAL, words))
    if len(after) > 1 or DELETED in words:
        yield Violation("P2", job_id, f"was written in {where} as {', '.join(words)}")


def apart(evidence: Evidence) -> Iterator[Violation]:
    """P3: runs are numbered from 1 without gaps, a window apart, each after the end of the one before."""
    window = timedelta(seconds=evidence.window_s) - CLOCK
    for object_id, jobs in evidence.of_objects().items():
        runs = [job.run for job in jobs]
        if runs != list(range(1, len(jobs) + 1)):
            yield Violation("P3", object_id, f"has the runs {runs}")
        for earlier, later in pairwise(jobs):
            gap = later.accepted_at - earlier.accepted_at
            if gap < window:
                what = f"and its predecessor {earlier.job_id} were accepted {gap.total_seconds():g} s apart"
                yield Violation("P3", later.job_id, what)
            if earlier.ended_at is None or earlier.ended_at > later.accepted_at + CLOCK:
                what = f"was accepted before its predecessor {earlier.job_id} ended"
                yield Violation("P3", later.job_id, what)


def refusals(evidence: Evidence) -> Iterator[Violation]:
    """P3: nobody was refused but for a window that was shut, or a job that was not settled."""
    jobs = evidence.of_objects()
    for answer in evidence.answers:
        if answer.method != "POST" or not answer.refused:
            continue
        if _REFUSAL not in str(answer.reply.message):
            yield Violation("P3", answer.object_id, f"was refused with: {answer.reply.message}")
        elif not any(_shuts(job, answer, evidence) for job in jobs.get(answer.object_id, ())):
            yield Violation("P3", answer.object_id, f"was refused at {answer.sent_at}, its window open")


def _shuts(job: Job, answer: Answer, evidence: Evidence) -> bool:
    """Tell whether that job was a reason to refuse, at some time while the request was under way."""
    settled = [w.at for w in evidence.history.jobs.get(job.job_id, ()) if w.word in _FINAL]
    until = max(job.opens_at, settled[0] if settled else answer.received_at)
    return job.accepted_at <= answer.received_at + CLOCK and until >= answer.sent_at - CLOCK


def attempts(evidence: Evidence) -> Iterator[Violation]:
    """P5: one attempt decided, all others were lost, and they follow one another."""
    for job_id, page in evidence.pages.items():
        for complaint in (_complaint_on_order(page), _complaint_on_end(page)):
            if complaint is not None:
                yield Violation("P5", job_id, complaint)


def told(evidence: Evidence) -> Iterator[Violation]:
    """Events: the first tells that a job is there, the last how it ended, and no number is missing."""
    telling = evidence.telling
    if telling is None:
        return
    if telling.missing or telling.gaps:
        yield Violation("Events", "all", f"{telling.missing} are missing, {telling.gaps} tell of a gap")
    for job_id, job in evidence.jobs.items():
        types = telling.types.get(job_id, ())
        ends = [kind for kind in types if kind in ENDS]
        expected = [] if job.live else [f"job.{job.status}"]
        if types[:1] != (EventType.QUEUED,) or ends != expected or (ends and types[-1] != ends[0]):
            yield Violation("Events", job_id, f"is {job.status}, and was told to be {', '.join(types)}")


def _complaint_on_order(page: Page) -> str | None:
    numbers = [attempt.n for attempt in page.attempts]
    first = numbers[0] if len(numbers) == ATTEMPTS_KEPT else 1
    if numbers != list(range(first, first + len(numbers))):
        return f"has the attempts {numbers}"
    if len({attempt.claim for attempt in page.attempts}) < len(numbers):
        return "has two attempts of one claim"
    if any(later.started_at < earlier.started_at - CLOCK for earlier, later in pairwise(page.attempts)):
        return "has an attempt that began before the one before it"
    return None


def _complaint_on_end(page: Page) -> str | None:
    if page.final is None:
        return None  # That it has no end is said elsewhere.
    if page.opened is not None:
        return f"has an outcome, and attempt {page.opened.n} is open"
    told = [(attempt.n, attempt.outcome) for attempt in page.attempts if attempt.outcome != _LOST]
    decided = [(page.final.attempt, str(page.final.status))] if page.final.attempt else []
    if told != decided and (decided or len(told) > 1):
        return f"has the outcomes {told}, and {decided} counts"
    claims = {attempt.claim for attempt in page.attempts if attempt.n == page.final.attempt}
    if decided and claims != {page.final_claim}:
        return f"was decided by claim {page.final_claim}, which is not attempt {page.final.attempt}"
    return None
