"""What `hasty.store.base.Ledger` promises of attempts that are retried, and of jobs closed untouched."""

import asyncio
from datetime import timedelta

from hasty.job import Cause, Outcome, Status
from hasty.store.base import Blame, Claimed, Closing, Later, Over, Record, Spent, Stale
from tests.contract.test_ledger import CLOSED, NOW, a_claim, an_outcome, one

RUN_AT = NOW + timedelta(seconds=10)
MS = timedelta(milliseconds=1)

ERROR = {"type": "ValueError", "message": "no"}


def a_failure(attempt=1):
    return Outcome(Status.FAILED, NOW + timedelta(seconds=1), None, ERROR, attempt, NOW, "w")


def a_retry(claim="c1", attempt=1, job_id="job", run_at=RUN_AT):
    return Record(job_id, claim, 1, a_failure(attempt), run_at)


LATER = Later(1, RUN_AT, ERROR)


def at(moment, claim):
    return claim._replace(at=moment)


async def test_an_attempt_that_is_to_be_retried_ends_without_ending_its_job(ledger):
    await ledger.claim([a_claim()])
    assert await one(ledger.record([a_retry()])) == LATER
    assert await ledger.finals(["job"]) == {}
    assert await ledger.ids("", "z", 9) == ["job"]


async def test_a_retry_repeated_says_the_same_and_counts_once(ledger):
    await ledger.claim([a_claim("c1"), a_claim("other", "other")])
    for _ in range(2):
        # Beside one that is new: a batch is answered item by item.
        records = [a_retry(), Record("other", "other", 1, an_outcome())]
        assert await ledger.record(records) == [LATER, an_outcome()]
    answer = await one(ledger.claim([at(RUN_AT, a_claim("c2", token=(1, 2)))]))
    assert answer == Claimed(2, losses=0, retries=1)
    # By now it is another attempt's to say what becomes of the job.
    assert await one(ledger.record([a_retry()])) is None


async def test_before_its_time_nobody_may_claim_and_from_then_on_a_newer_token(ledger):
    await ledger.claim([a_claim("c1", token=(1, 5))])
    await ledger.record([a_retry()])
    early, due = RUN_AT - MS, RUN_AT
    assert await one(ledger.claim([at(early, a_claim("c2", token=(1, 6)))])) == LATER
    # What failed under a token, or came too early, is not started under that one, in whichever process.
    for token in ((1, 5), (1, 6)):
        assert await one(ledger.claim([at(due, a_claim("c1", token=token))])) in (LATER, Stale())
        assert await one(ledger.claim([at(due, a_claim("c3", token=token, boot=2))])) in (LATER, Stale())
        assert await one(ledger.claim([at(due, a_claim("c4", token=token, worker="x"))])) in (LATER, Stale())
    claimed = await one(ledger.claim([at(due, a_claim("c6", token=(1, 7)))]))
    assert claimed == Claimed(2, losses=0, retries=1)
    # It is in force: nothing of the delay is left.
    assert await one(ledger.claim([at(due, a_claim("c7", token=(1, 7)))])) == Stale()
    lost = await one(ledger.claim([at(early, a_claim("c8", token=(1, 8)))]))
    assert lost == Claimed(3, losses=1, retries=1)


async def test_under_the_latest_token_it_is_later_and_under_an_older_one_somebody_elses(ledger):
    """For whom the answer is news to tell, and for whom it is none."""
    await ledger.claim([a_claim("c1", token=(1, 5))])
    await ledger.record([a_retry()])
    for moment in (RUN_AT - MS, RUN_AT):
        assert await one(ledger.claim([at(moment, a_claim("c2", token=(1, 5)))])) == LATER
        assert await one(ledger.claim([at(moment, a_claim("c3", token=(1, 4)))])) == Stale()
    # A token that was answered so is the latest.
    early = at(RUN_AT - MS, a_claim("c4", token=(1, 7)))
    for _ in range(2):
        assert await one(ledger.claim([early])) == LATER
    assert await one(ledger.claim([at(RUN_AT, a_claim("c4", token=(1, 7)))])) == LATER
    assert await one(ledger.claim([at(RUN_AT, a_claim("c5", token=(1, 6)))])) == Stale()
    # Nor does it stand in the way of what somebody else records or closes.
    assert await one(ledger.record([a_retry()])) == LATER
    assert await one(ledger.close([Closing("job", CLOSED)])) == CLOSED


async def test_retries_are_counted_apart_from_losses_and_charges(ledger):
    await ledger.claim([a_claim("c1", token=(1, 1))])
    await ledger.record([a_retry("c1", 1)])
    assert await one(ledger.claim([at(RUN_AT, a_claim("c2", token=(1, 2)))])) == Claimed(2, 0, retries=1)
    await ledger.record([a_retry("c2", 2)])
    assert await one(ledger.claim([at(RUN_AT, a_claim("c3", token=(1, 3)))])) == Claimed(3, 0, retries=2)
    await ledger.blame([Blame("job", "c3", Cause.CRASHED)])
    assert await one(ledger.claim([at(RUN_AT, a_claim("c4", token=(1, 3)))])) == Claimed(4, 0, retries=2)
    strict = at(RUN_AT, a_claim("c5", token=(1, 4)))._replace(max_crashes=1)
    # Only what ended its process has a cause.
    assert await one(ledger.claim([strict])) == Spent((Cause.CRASHED,))


async def test_a_blamed_attempt_cannot_be_retried(ledger):
    await ledger.claim([a_claim()])
    await ledger.blame([Blame("job", "c1", Cause.CRASHED)])
    assert await one(ledger.record([a_retry()])) is None
    assert await one(ledger.claim([a_claim("c2")])) == Claimed(2)


async def test_the_last_attempt_decides_as_any_other(ledger):
    await ledger.claim([a_claim()])
    await ledger.record([a_retry()])
    await ledger.claim([at(RUN_AT, a_claim("c2", token=(1, 2)))])
    opens_at = NOW + timedelta(minutes=5)
    last = an_outcome(2)._replace(opens_at=opens_at)
    assert await one(ledger.record([Record("job", "c2", 1, last)])) == last
    assert await one(ledger.record([a_retry()])) == last
    assert await ledger.finals(["job", "unknown"]) == {"job": last}


async def test_a_job_that_waits_for_its_retry_can_be_closed(ledger):
    await ledger.claim([a_claim()])
    await ledger.record([a_retry()])
    assert await one(ledger.close([Closing("job", CLOSED)])) == CLOSED
    assert await one(ledger.claim([at(RUN_AT, a_claim("c2", token=(1, 2)))])) == Over(CLOSED)
    assert await one(ledger.record([a_retry()])) == CLOSED


async def test_of_a_retry_and_a_close_racing_both_learn_what_stands(ledger):
    for job in map(str, range(20)):
        await ledger.claim([a_claim("c1", job_id=job)])
        recorded, closed = await asyncio.gather(
            one(ledger.record([a_retry(job_id=job)])), one(ledger.close([Closing(job, CLOSED)]))
        )
        # A retry does not keep a job from being closed.
        assert closed == CLOSED
        assert recorded in (LATER, CLOSED)
        assert await ledger.finals([job]) == {job: CLOSED}


async def test_of_claims_racing_when_it_is_due_one_wins(ledger):
    for job in map(str, range(20)):
        await ledger.claim([a_claim("c1", job_id=job)])
        await ledger.record([a_retry(job_id=job)])
        claims = [at(RUN_AT, a_claim(f"c{n}", job, (1, 2), f"w{n}")) for n in range(2, 8)]
        answers = await asyncio.gather(*(one(ledger.claim([claim])) for claim in claims))
        assert answers.count(Claimed(2, losses=0, retries=1)) == 1
        assert answers.count(Stale()) == 5


# Closed untouched ------------------------------------------------------------------------------


def untouched(job_id="job"):
    return Closing(job_id, CLOSED, untouched=True)


async def test_what_was_never_started_is_closed_untouched(ledger):
    for _ in range(2):
        assert await one(ledger.close([untouched()])) == CLOSED
    assert await one(ledger.claim([a_claim()])) == Over(CLOSED)
    assert await ledger.finals(["job"]) == {"job": CLOSED}


async def test_what_was_started_is_not_closed_untouched_and_its_end_is_told(ledger):
    await ledger.claim([a_claim("c1", "running"), a_claim("c2", "failed"), a_claim("c3", "ended")])
    await ledger.record([a_retry("c2", job_id="failed"), Record("ended", "c3", 1, an_outcome())])
    closings = [untouched(name) for name in ("running", "failed", "ended", "new")]
    assert await ledger.close([*closings, Closing("other", CLOSED)]) == [
        None,
        None,
        an_outcome(),
        CLOSED,
        CLOSED,
    ]
    # Nothing was done to them.
    assert await one(ledger.record([Record("running", "c1", 1, an_outcome())])) == an_outcome()
    claimed = await one(ledger.claim([at(RUN_AT, a_claim("c4", "failed", (1, 2)))]))
    assert claimed == Claimed(2, losses=0, retries=1)


async def test_of_a_claim_and_an_untouched_close_racing_one_wins_and_both_learn_which(ledger):
    won = []
    for job in map(str, range(40)):
        claim, close = ledger.claim([a_claim("c1", job_id=job)]), ledger.close([untouched(job)])
        # Whoever is asked first has a start.
        asked = (claim, close) if int(job) % 2 else (close, claim)
        answers = await asyncio.gather(*map(one, asked))
        claimed, closed = answers if int(job) % 2 else reversed(answers)
        assert (claimed, closed) in [(Claimed(1), None), (Over(CLOSED), CLOSED)]
        won.append(closed)
    assert None in won and CLOSED in won
