"""What `hasty.store.base.Ledger` promises."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from hasty.errors import StoreUnavailable
from hasty.job import Cause, Outcome, Status, Token
from hasty.messages import Process
from hasty.store.base import Blame, Boot, Claim, Claimed, Closing, Over, Record, Spent, Stale

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def a_claim(claim="c1", job_id="job", token=(1, 1), worker="w", boot=1):
    return Claim(job_id, Token(*token), claim, worker, boot, NOW)


def an_outcome(attempt=1, status=Status.FINISHED):
    return Outcome(status, NOW + timedelta(seconds=1), {"n": attempt}, None, attempt, NOW, "w")


CLOSED = Outcome(Status.CANCELLED, NOW, None, {"type": "Cancelled", "message": "by a test"})


def on(node):
    return Process(node, 1, 1)


async def one(answers):
    (answer,) = await answers
    return answer


async def test_the_first_claim_opens_the_first_attempt(ledger):
    assert await one(ledger.claim([a_claim()])) == Claimed(1)


async def test_a_claim_repeated_is_the_same_start(ledger):
    await ledger.claim([a_claim()])
    assert await one(ledger.claim([a_claim()])) == Claimed(1)


async def test_another_claim_under_the_same_token_is_stale(ledger):
    await ledger.claim([a_claim("c1")])
    assert await one(ledger.claim([a_claim("c2")])) == Stale()
    assert await one(ledger.claim([a_claim("c3", worker="other", boot=9)])) == Stale()


async def test_a_later_boot_of_the_same_worker_takes_over_what_its_predecessor_ran(ledger):
    await ledger.claim([a_claim("c1", boot=1)])
    assert await one(ledger.claim([a_claim("c2", boot=2)])) == Claimed(2, losses=1)
    assert await one(ledger.claim([a_claim("c3", boot=1)])) == Stale()


async def test_a_newer_token_takes_over_and_an_older_one_does_not(ledger):
    await ledger.claim([a_claim("c1", token=(1, 5))])
    assert await one(ledger.claim([a_claim("c2", token=(2, 1), worker="other")])) == Claimed(2, losses=1)
    assert await one(ledger.claim([a_claim("c3", token=(1, 6), boot=7)])) == Stale()


async def test_the_outcome_of_the_open_attempt_is_written(ledger):
    await ledger.claim([a_claim()])
    assert await one(ledger.record([Record("job", "c1", 1, an_outcome())])) == an_outcome()
    assert await one(ledger.claim([a_claim("c2", token=(9, 9))])) == Over(an_outcome())


async def test_a_record_repeated_says_the_same(ledger):
    await ledger.claim([a_claim()])
    for _ in range(2):
        assert await one(ledger.record([Record("job", "c1", 1, an_outcome())])) == an_outcome()


async def test_the_outcome_of_a_lost_attempt_counts_for_nothing(ledger):
    await ledger.claim([a_claim("c1")])
    await ledger.claim([a_claim("c2", token=(1, 2), worker="other")])
    assert await one(ledger.record([Record("job", "c1", 1, an_outcome(1))])) is None
    assert await one(ledger.record([Record("job", "c2", 1, an_outcome(2))])) == an_outcome(2)
    # It learns what stands instead.
    assert await one(ledger.record([Record("job", "c1", 1, an_outcome(1))])) == an_outcome(2)


async def test_of_two_claims_racing_under_one_token_one_wins(ledger):
    for job in map(str, range(20)):
        claims = [a_claim(f"c{n}", job_id=job, worker=f"w{n}") for n in range(6)]
        answers = await asyncio.gather(*(one(ledger.claim([claim])) for claim in claims))
        assert sum(answer == Claimed(1) for answer in answers) == 1
        assert sum(answer == Stale() for answer in answers) == 5


async def test_of_a_record_and_a_close_racing_one_wins_and_both_learn_which(ledger):
    for job in map(str, range(20)):
        await ledger.claim([a_claim("c1", job_id=job)])
        recorded, closed = await asyncio.gather(
            one(ledger.record([Record(job, "c1", 1, an_outcome())])),
            one(ledger.close([Closing(job, CLOSED)])),
        )
        assert recorded == closed
        assert recorded in (an_outcome(), CLOSED)


async def test_a_close_at_the_moment_of_the_first_claim_ends_the_job(ledger):
    """The page may come between the look for it and the write of one: also then something is closed."""
    for job in map(str, range(300)):
        claim, end = a_claim(job_id=job), Closing(job, CLOSED)
        claimed, closed = await asyncio.gather(one(ledger.claim([claim])), one(ledger.close([end])))
        assert claimed in (Claimed(1), Over(CLOSED))
        assert closed == CLOSED
        assert await ledger.finals([job]) == {job: CLOSED}


@pytest.mark.parametrize("shown", [{}, {"job": {"_id": "job", "final": None}}], ids=["nothing", "open"])
async def test_what_a_new_primary_does_not_show_yet_is_no_clear_answer(mongo_ledger, monkeypatch, shown):
    """It may answer with what a majority had before its predecessor confirmed the last write."""
    await mongo_ledger.claim([a_claim("c1", job_id="claimed")])

    async def behind(_job_ids):
        return shown

    monkeypatch.setattr(mongo_ledger, "_read", behind)
    with pytest.raises(StoreUnavailable):
        await mongo_ledger.close([Closing("job", CLOSED)])
    with pytest.raises(StoreUnavailable):
        await mongo_ledger.claim([a_claim("c2", job_id="claimed", token=(2, 1))])
    monkeypatch.undo()
    assert await one(mongo_ledger.close([Closing("job", an_outcome())])) == CLOSED
    assert await one(mongo_ledger.claim([a_claim("c2", job_id="claimed", token=(2, 1))])) == Claimed(
        2, losses=1
    )


async def test_closing_ends_a_job_that_never_started(ledger):
    assert await one(ledger.close([Closing("job", CLOSED)])) == CLOSED
    assert await one(ledger.close([Closing("job", an_outcome())])) == CLOSED
    assert await one(ledger.claim([a_claim()])) == Over(CLOSED)


async def test_closing_takes_the_attempt_from_whom_it_ran(ledger):
    await ledger.claim([a_claim()])
    assert await one(ledger.close([Closing("job", CLOSED)])) == CLOSED
    assert await one(ledger.record([Record("job", "c1", 1, an_outcome())])) == CLOSED


async def test_a_batch_is_answered_item_by_item(ledger):
    await ledger.claim([a_claim("c1", "running"), a_claim("c2", "ended")])
    await ledger.record([Record("ended", "c2", 1, an_outcome())])
    claims = [
        a_claim("c3", "new"),
        a_claim("c4", "running"),
        a_claim("c5", "ended"),
        a_claim("c6", "running", token=(3, 0)),
        a_claim("c7", "newer"),
    ]
    assert await ledger.claim(claims) == [
        Claimed(1),
        Stale(),
        Over(an_outcome()),
        Claimed(2, losses=1),
        Claimed(1),
    ]
    records = [Record("new", "c3", 1, an_outcome()), Record("running", "c1", 1, an_outcome())]
    assert await ledger.record(records) == [an_outcome(), None]


async def test_attempts_are_numbered_on_however_often_they_are_lost(ledger):
    for n in range(1, 41):
        answer = await one(ledger.claim([a_claim(f"c{n}", token=(1, n))]))
        assert answer == Claimed(n, losses=n - 1)


async def test_boots_count_up_for_each_worker(ledger):
    boots = [await ledger.boot(name, on("node-1"), 1.5) for name in ("a", "b", "a")]
    assert boots == [Boot(1), Boot(1), Boot(2, "node-1")]


async def test_a_process_whose_place_was_taken_by_one_born_later_is_not_counted(ledger):
    assert await ledger.boot("w", on("node-1"), 7.5) == Boot(1)
    assert await ledger.boot("w", on("node-1"), 7.25) is None
    # Clocks of two nodes cannot be compared.
    assert await ledger.boot("w", on("node-2"), 0.5) == Boot(2, "node-1")
    assert await ledger.boot("w", on("node-2"), 0.25) is None
    assert await ledger.boot("other", on("node-2"), 0.25) == Boot(1)
    # One that was not counted left no trace.
    assert await ledger.condemn("w", 2)
    assert await ledger.boot("w", on("node-2"), 0.5) == Boot(3, "node-2", condemned=True)


async def test_of_processes_that_boot_at_once_the_one_born_last_is_the_latest(ledger):
    for worker in map(str, range(20)):
        booting = (ledger.boot(worker, on("node-1"), float(born_s)) for born_s in range(6))
        boots = [boot.n for boot in await asyncio.gather(*booting) if boot is not None]
        assert boots == list(range(1, len(boots) + 1))
        assert await ledger.boot(worker, on("node-1"), 4.0) is None
        assert (await ledger.boot(worker, on("node-1"), 5.0)).n == boots[-1] + 1


async def test_pages_are_found_by_ranges_of_ids_and_forgotten(ledger):
    await ledger.claim([a_claim(f"c{n}", f"job-{n}") for n in range(5)])
    assert await ledger.ids("", "job-4", 3) == ["job-0", "job-1", "job-2"]
    assert await ledger.ids("job-2", "job-4", 3) == ["job-3"]
    await ledger.forget(["job-0", "job-1", "unknown"])
    assert await ledger.ids("", "z", 9) == ["job-2", "job-3", "job-4"]


async def test_what_a_boot_learns_of_the_one_before(ledger):
    assert await ledger.boot("w", on("node-1"), 1.0) == Boot(1)
    assert await ledger.condemn("w", 1)
    assert await ledger.boot("w", on("node-2"), 1.0) == Boot(2, "node-1", condemned=True)
    # Condemned was the first, not the second.
    assert await ledger.boot("w", on("node-2"), 1.0) == Boot(3, "node-2")


async def test_only_the_boot_that_is_meant_is_condemned(ledger):
    await ledger.boot("w", on("node-1"), 1.0)
    await ledger.boot("w", on("node-1"), 2.0)
    assert not await ledger.condemn("w", 1)
    assert not await ledger.condemn("unknown", 1)
    assert await ledger.boot("w", on("node-1"), 3.0) == Boot(3, "node-1")


async def test_a_blamed_attempt_is_over_and_its_worker_may_start_the_next(ledger):
    await ledger.claim([a_claim("c1")])
    await ledger.blame([Blame("job", "c1", Cause.CRASHED)])
    assert await one(ledger.record([Record("job", "c1", 1, an_outcome())])) is None
    assert await one(ledger.claim([a_claim("c2", worker="other")])) == Stale()
    # A charge is no loss: it is explained.
    assert await one(ledger.claim([a_claim("c3")])) == Claimed(2, losses=0)


async def test_only_the_attempt_that_is_meant_is_blamed(ledger):
    await ledger.claim([a_claim("c1")])
    await ledger.claim([a_claim("c2", token=(1, 2))])
    await ledger.blame([Blame("job", "c1", Cause.CRASHED), Blame("unknown", "c1", Cause.CRASHED)])
    assert await one(ledger.record([Record("job", "c2", 1, an_outcome(2))])) == an_outcome(2)
    await ledger.blame([Blame("job", "c2", Cause.CRASHED)])
    assert await one(ledger.claim([a_claim("c3", token=(9, 9))])) == Over(an_outcome(2))


async def test_a_job_is_given_up_once_it_has_cost_its_budget(ledger):
    for n in (1, 2, 3):
        assert await one(ledger.claim([a_claim(f"c{n}", boot=n)])) == Claimed(n)
        await ledger.blame([Blame("job", f"c{n}", (Cause.CRASHED, Cause.BLOCKED, Cause.CRASHED)[n - 1])])
    spent = Spent((Cause.CRASHED, Cause.BLOCKED, Cause.CRASHED))
    # Whoever asks, and asks again: nobody may start it.
    assert await one(ledger.claim([a_claim("c4", boot=4)])) == spent
    assert await one(ledger.claim([a_claim("c5", token=(7, 7), worker="other")])) == spent
    assert await one(ledger.claim([a_claim("c6", boot=4)._replace(max_crashes=4)])) == Claimed(4)


async def test_a_job_that_was_given_up_is_closed(ledger):
    await ledger.claim([a_claim("c1")])
    await ledger.blame([Blame("job", "c1", Cause.CRASHED)])
    strict = a_claim("c2", boot=2)._replace(max_crashes=1)
    assert await one(ledger.claim([strict])) == Spent((Cause.CRASHED,))
    assert await one(ledger.close([Closing("job", CLOSED)])) == CLOSED
    assert await one(ledger.claim([strict])) == Over(CLOSED)


async def test_each_lost_attempt_keeps_its_cause(ledger):
    """And only what nobody can explain counts as a loss."""
    await ledger.claim([a_claim("c1", boot=1)])
    lost = await one(ledger.claim([a_claim("c2", boot=2)._replace(predecessor=Cause.NODE_LOST)]))
    assert lost == Claimed(2, losses=0)
    lost = await one(ledger.claim([a_claim("c3", boot=3)._replace(predecessor=Cause.FROZEN)]))
    assert lost == Claimed(3, losses=1)
    # The boot between died before it claimed: this one knows nothing of the one before that.
    lost = await one(ledger.claim([a_claim("c4", boot=5)._replace(predecessor=Cause.NODE_LOST)]))
    assert lost == Claimed(4, losses=2)
    lost = await one(ledger.claim([a_claim("c5", token=(2, 2), worker="other")]))
    assert lost == Claimed(5, losses=3)
    await ledger.blame([Blame("job", "c5", Cause.BLOCKED)])
    spent = await one(ledger.claim([a_claim("c6", token=(2, 3))._replace(max_crashes=1)]))
    assert spent == Spent(
        (Cause.NODE_LOST, Cause.FROZEN, Cause.KILLED, Cause.UNREACHABLE, Cause.BLOCKED),
    )


async def test_a_boot_is_told_the_latest_epoch_that_was_announced(ledger):
    """So that it refuses whoever was in office before, though it never heard the one who is."""
    assert (await ledger.boot("w", on("node-1"), 1.0)).epoch == 0
    for epoch in (3, 5, 4):
        await ledger.announce(epoch)
    assert (await ledger.boot("w", on("node-1"), 2.0)).epoch == 5
    assert (await ledger.boot("other", on("node-2"), 1.0)) == Boot(1, epoch=5)
