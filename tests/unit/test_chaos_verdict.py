"""Each promise that is not kept is found: a story in which all is well, then one thing changed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hasty.chaos.answers import Answer, Reply
from hasty.chaos.evidence import Evidence
from hasty.chaos.verdict import violations
from hasty.job import Job, Outcome, Status
from hasty.store.mongo.audit import CHANGED, DELETED, Attempt, History, Page, Telling, Written

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW_S = 10
REFUSAL = "you need to wait 10 seconds before rerunning the same job"
FIRST, SECOND = "job-1", "job-2"


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def posted(status: int, sent_s: float, message, object_id: str = "o") -> Answer:
    job_id = message["job_id"] if status == 201 else None
    return Answer("POST", object_id, job_id, at(sent_s), at(sent_s + 0.1), Reply(status, message))


def asked(job_id: str, sent_s: float, status: str) -> Answer:
    return Answer("GET", "o", job_id, at(sent_s), at(sent_s + 0.1), Reply(200, {"status": status}))


def job(job_id: str, run: int, accepted_s: float) -> Job:
    """One that started a second after it was accepted, and finished a second later."""
    return Job(
        job_id=job_id,
        object_id="o",
        run=run,
        handler="sleep",
        status=Status.FINISHED,
        accepted_at=at(accepted_s),
        opens_at=at(accepted_s + WINDOW_S),
        expires_at=at(accepted_s + 100_000),
        timeout_s=46,
        started_at=at(accepted_s + 1),
        ended_at=at(accepted_s + 2),
        attempt=1,
        worker="w",
        result={"sleep_time_used": 1},
    )


def attempt(n: int, started_s: float, outcome: str) -> Attempt:
    return Attempt(
        n=n,
        claim=f"claim-{n}",
        worker="w",
        boot=n,
        started_at=at(started_s),
        ended_at=at(started_s + 1),
        outcome=outcome,
    )


def page(of: Job) -> Page:
    assert of.ended_at is not None and of.started_at is not None
    return Page(
        opened=None,
        attempts=(attempt(1, (of.started_at - BEGIN).total_seconds(), "finished"),),
        final=Outcome(of.status, of.ended_at, of.result, None, 1, of.started_at, "w"),
        final_claim="claim-1",
    )


def told(*words: str, begin_s: float = 0) -> tuple[Written, ...]:
    return tuple(Written(word, at(begin_s + position)) for position, word in enumerate(words))


JOBS = {FIRST: job(FIRST, 1, 0), SECOND: job(SECOND, 2, 14)}

ALL_IS_WELL = Evidence(
    answers=(
        posted(201, 0, {"job_id": FIRST}),
        posted(400, 5, REFUSAL),
        posted(503, 6, "MongoDB gave no clear answer"),
        Answer("POST", "p", None, at(7), at(22), Reply(None)),
        Answer("POST", "p", None, at(8), at(9), Reply(404)),
        asked(FIRST, 1, "processing"),
        asked(FIRST, 4, "finished"),
        posted(201, 14, {"job_id": SECOND}),
    ),
    jobs=JOBS,
    pages={job_id: page(of) for job_id, of in JOBS.items()},
    history=History(
        jobs={FIRST: told("queued", "running", "finished"), SECOND: told("queued", "finished", begin_s=14)},
        ledger={FIRST: told("finished"), SECOND: told("finished")},
    ),
    telling=Telling(
        {FIRST: ("job.queued", "job.running", "job.finished"), SECOND: ("job.queued", "job.finished")}, 0, 0
    ),
    window_s=WINDOW_S,
)


def found(evidence: Evidence) -> list[str]:
    return [violation.promise for violation in violations(evidence)]


def with_job(changed: Job) -> Evidence:
    # What was told of it is another matter.
    return replace(ALL_IS_WELL, jobs={**JOBS, changed.job_id: changed}, telling=None)


def with_page(changed: Page) -> Evidence:
    return replace(ALL_IS_WELL, pages={**ALL_IS_WELL.pages, FIRST: changed})


def with_answer(answer: Answer) -> Evidence:
    return replace(ALL_IS_WELL, answers=(*ALL_IS_WELL.answers, answer))


def with_history(**changed) -> Evidence:
    return replace(ALL_IS_WELL, history=ALL_IS_WELL.history._replace(**changed))


def test_where_all_is_well_nothing_is_found():
    assert violations(ALL_IS_WELL) == []


def test_a_violation_names_promise_and_job():
    (violation,) = violations(with_answer(posted(201, 30, {"job_id": "gone"}, "q")))
    assert str(violation) == "P1 gone: was acknowledged and is not there"


# P1 -------------------------------------------------------------------------------------------


def test_a_job_of_another_object_is_found():
    answers = [a._replace(object_id="q") if a.job_id == SECOND else a for a in ALL_IS_WELL.answers]
    assert found(replace(ALL_IS_WELL, answers=answers)) == ["P1"]


def test_one_job_for_two_requests_is_found():
    assert found(with_answer(posted(201, 14, {"job_id": SECOND}))) == ["P1"]


def test_an_acknowledged_job_that_a_client_was_told_is_unknown_is_found():
    unknown = Reply(400, f"no job with id: {FIRST}")
    assert found(with_answer(Answer("GET", "o", FIRST, at(1), at(2), unknown))) == ["P1"]


# P2 -------------------------------------------------------------------------------------------


def test_a_job_that_never_ends_is_found():
    stuck = replace(JOBS[SECOND], status=Status.RUNNING, ended_at=None, result=None)
    assert found(with_job(stuck)) == ["P2"]


@pytest.mark.parametrize(
    "changed",
    [
        {"status": Status.CANCELLED},
        {"result": {"sleep_time_used": 2}},
        {"error": {"code": "crashed"}},
        {"ended_at": at(15)},
        {"attempt": 2},
        {"worker": "another"},
    ],
    ids=str,
)
def test_jobs_and_ledger_that_differ_are_found(changed):
    assert found(with_job(replace(JOBS[SECOND], **changed))) == ["P2"]


def test_an_end_that_the_ledger_knows_nothing_of_is_found():
    assert found(with_page(replace(page(JOBS[FIRST]), final=None, final_claim=None, attempts=()))) == ["P2"]
    without = {job_id: page for job_id, page in ALL_IS_WELL.pages.items() if job_id != FIRST}
    assert found(replace(ALL_IS_WELL, pages=without)) == ["P2"]


@pytest.mark.parametrize(
    "words",
    [
        ("queued", "finished", "running"),
        ("queued", "finished", "finished"),
        ("queued", "cancelled", "finished"),
        ("queued", "finished", CHANGED),
        ("queued", "finished", DELETED),
        ("queued", DELETED),
    ],
    ids=" ".join,
)
def test_a_write_after_the_end_is_found(words):
    assert "P2" in found(with_history(jobs={**ALL_IS_WELL.history.jobs, FIRST: told(*words)}))


def test_a_second_outcome_in_the_ledger_is_found():
    twice = {**ALL_IS_WELL.history.ledger, FIRST: told("finished", "cancelled")}
    assert found(with_history(ledger=twice)) == ["P2"]


def test_an_end_that_the_history_does_not_know_is_found():
    assert found(with_history(ledger={SECOND: told("finished")})) == ["P2"]


def test_an_end_that_a_client_saw_change_is_found():
    assert found(with_answer(asked(FIRST, 6, "processing"))) == ["P2"]
    assert found(with_answer(asked(SECOND, 20, "cancelled"))) == ["P2"]


def test_a_question_that_was_on_its_way_may_be_overtaken():
    assert found(with_answer(asked(FIRST, 4.05, "processing"))) == []


# P3 -------------------------------------------------------------------------------------------


def second_accepted_at(seconds: float) -> Evidence:
    evidence = with_job(replace(JOBS[SECOND], accepted_at=at(seconds)))
    return replace(evidence, answers=evidence.answers[:1])


def test_two_jobs_in_one_window_are_found():
    assert found(second_accepted_at(8.9)) == ["P3"]


def test_a_second_of_clock_is_allowed():
    assert found(second_accepted_at(9.1)) == []


def test_a_job_accepted_while_its_predecessor_ran_is_found():
    late = replace(JOBS[FIRST], ended_at=at(16))
    evidence = replace(with_job(late), pages={**ALL_IS_WELL.pages, FIRST: page(late)})
    assert found(evidence) == ["P3"]


def test_a_gap_between_runs_is_found():
    assert found(with_job(replace(JOBS[SECOND], run=3))) == ["P3"]


def test_a_refusal_while_the_window_was_open_is_found():
    assert found(with_answer(posted(400, 11.5, REFUSAL))) == ["P3"]


def test_a_refusal_of_an_object_without_a_job_is_found():
    assert found(with_answer(posted(400, 5, REFUSAL, "never admitted"))) == ["P3"]


def test_a_refusal_while_the_predecessor_is_not_settled_is_right():
    late = {**ALL_IS_WELL.history.jobs, FIRST: (Written("queued", at(0)), Written("finished", at(11.8)))}
    evidence = with_answer(posted(400, 11.5, REFUSAL))
    assert found(replace(evidence, history=evidence.history._replace(jobs=late))) == []


def test_a_refusal_for_another_reason_is_found():
    assert found(with_answer(posted(400, 5, "you must provide an object_id"))) == ["P3"]


# P5 -------------------------------------------------------------------------------------------


def with_attempts(*attempts: Attempt, **changed) -> Evidence:
    return with_page(replace(page(JOBS[FIRST]), attempts=attempts, **changed))


def decided_by(n: int, claim: str, *attempts: Attempt) -> Evidence:
    first = replace(JOBS[FIRST], attempt=n)
    final = page(JOBS[FIRST]).final
    assert final is not None
    evidence = with_attempts(*attempts, final=final._replace(attempt=n), final_claim=claim)
    return replace(evidence, jobs={**JOBS, FIRST: first})


def test_an_attempt_after_a_lost_one_is_right():
    assert found(decided_by(2, "claim-2", attempt(1, 0.5, "lost"), attempt(2, 1, "finished"))) == []


def test_two_attempts_that_both_count_are_found():
    both = attempt(1, 0.5, "finished"), attempt(2, 1, "finished")
    assert found(decided_by(2, "claim-2", *both)) == ["P5"]


def test_a_stale_attempt_that_counts_is_found():
    stale = attempt(1, 0.5, "finished"), attempt(2, 1, "lost")
    assert found(decided_by(2, "claim-2", *stale)) == ["P5"]


def test_an_outcome_by_a_claim_that_was_not_the_last_is_found():
    assert found(decided_by(2, "claim-1", attempt(1, 0.5, "lost"), attempt(2, 1, "finished"))) == ["P5"]


def test_an_attempt_that_is_open_after_the_end_is_found():
    opened = attempt(2, 3, "")
    assert found(with_page(replace(page(JOBS[FIRST]), opened=opened))) == ["P5"]


def test_a_missing_attempt_is_found():
    assert found(decided_by(3, "claim-3", attempt(1, 0.5, "lost"), attempt(3, 1, "finished"))) == ["P5"]


def test_one_claim_in_two_attempts_is_found():
    again = replace(attempt(2, 1, "finished"), claim="claim-1")
    assert found(decided_by(2, "claim-1", attempt(1, 0.5, "lost"), again)) == ["P5"]


def test_attempts_that_go_back_in_time_are_found():
    assert found(decided_by(2, "claim-2", attempt(1, 5, "lost"), attempt(2, 1, "finished"))) == ["P5"]


def test_a_job_that_was_closed_needs_no_attempt():
    closed = replace(JOBS[FIRST], status=Status.CANCELLED, result=None, attempt=0)
    final = Outcome(Status.CANCELLED, at(2))
    told_so = telling("job.queued", "job.cancelled").telling
    evidence = replace(with_page(Page(opened=None, attempts=(), final=final)), jobs={**JOBS, FIRST: closed})
    evidence = replace(evidence, telling=told_so)
    cancelled = [a for a in evidence.answers if a.method == "POST"]
    assert found(replace(evidence, answers=cancelled)) == []


# Events ---------------------------------------------------------------------------------------


def telling(*types: str) -> Evidence:
    assert ALL_IS_WELL.telling is not None
    types_of = {**ALL_IS_WELL.telling.types, FIRST: types}
    return replace(ALL_IS_WELL, telling=Telling(types_of, 0, 0))


@pytest.mark.parametrize(
    "types",
    [
        (),
        ("job.queued",),
        ("job.finished",),
        ("job.queued", "job.finished", "job.finished"),
        ("job.queued", "job.cancelled"),
        ("job.queued", "job.cancelled", "job.finished"),
        ("job.queued", "job.finished", "job.running"),
        ("job.running", "job.queued", "job.finished"),
    ],
    ids=str,
)
def test_a_job_of_which_something_else_was_told_is_found(types):
    assert found(telling(*types)) == ["Events"]


def test_what_is_told_of_a_job_that_still_runs_is_its_beginning():
    runs = replace(JOBS[FIRST], status=Status.RUNNING, ended_at=None, result=None)
    evidence = replace(telling("job.queued", "job.running"), jobs={**JOBS, FIRST: runs})
    assert "Events" not in found(evidence)


@pytest.mark.parametrize(("missing", "gaps"), [(1, 0), (0, 1)])
def test_numbers_that_are_missing_are_found(missing, gaps):
    assert ALL_IS_WELL.telling is not None
    evidence = replace(ALL_IS_WELL, telling=ALL_IS_WELL.telling._replace(missing=missing, gaps=gaps))
    assert found(evidence) == ["Events"]


def test_where_no_events_are_kept_none_is_missed():
    assert found(replace(ALL_IS_WELL, telling=None)) == []
