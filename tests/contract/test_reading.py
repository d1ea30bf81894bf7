"""Lists of jobs and the attempts at one, as memory and MongoDB read them, and what that costs MongoDB."""

import asyncio
import itertools
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hasty.clock import SystemClock, epoch_ms
from hasty.dispatch import Mark, Postpone, Settle
from hasty.errors import StoreUnavailable
from hasty.job import Cause, Job, Outcome, Status, Token
from hasty.messages import Process
from hasty.store.base import (
    PAGE_BYTES,
    Attempt,
    Blame,
    Claim,
    Closing,
    JobFilter,
    JobPage,
    Record,
)
from hasty.store.memory import MemoryAttempts, MemoryJobReader, MemoryJobStore, MemoryLedger
from hasty.store.mongo import MongoAttempts, MongoJobReader, MongoJobStore, MongoLedger
from hasty.store.mongo import reading as mongo_reading
from hasty.store.mongo.connection import connect, in_time
from hasty.store.mongo.documents import document_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

HANDLERS = ["cut", "paste"]
LABELS = [("batch", "1"), ("batch", "2"), ("env", "prod"), ("note", "a=b=c")]


def an_id(at: datetime, number: int) -> str:
    """Make a UUIDv7 of that moment, as Gateways do, but the same in every run."""
    return str(uuid.UUID(int=epoch_ms(at) << 80 | 7 << 76 | 2 << 62 | number))


def a_job(number, *, at=NOW, late=timedelta(0), **about):
    """A job whose id was made at that moment, and which was accepted a little later."""
    named = an_id(at, number)
    about = {"object_id": f"object-{number}", "run": 1, "handler": "cut", **about}
    times = {"accepted_at": at + late, "opens_at": at, "expires_at": NOW + timedelta(days=900)}
    return Job(job_id=named, timeout_s=1.0, **times, **about)


async def brought_to(store, job, status):
    """Insert a job, and let it come as far as that."""
    assert await store.insert([job]) == {job.job_id}
    if status in {Status.RUNNING, Status.FINISHED, Status.FAILED, Status.CANCELLED}:
        await store.mark([Mark(job.job_id, "worker", 1, NOW)], 1)
    if status is Status.SCHEDULED:
        await store.postpone([Postpone(job.job_id, Token(1, 1), 1, NOW, None)], 1)
    elif status.final:
        await store.settle([Settle(job.job_id, Outcome(status, NOW))], 1, NOW + timedelta(days=900))


async def walk(reader, wanted, limit=3) -> list[JobPage]:
    """Read page after page."""
    pages = [await reader.page(wanted, None, limit)]
    while pages[-1].next is not None:
        pages.append(await reader.page(wanted, pages[-1].next, limit))
        assert len(pages) < 1000
    return pages


def jobs_of(pages):
    return [job for page in pages for job in page.jobs]


@pytest.fixture(params=["memory", "mongo"])
def both(request):
    """A store, and who reads it."""
    if request.param == "memory":
        store = MemoryJobStore(SystemClock())
        return store, MemoryJobReader(store)
    return request.getfixturevalue("mongo_jobs"), MongoJobReader(*request.getfixturevalue("database"))


# Lists ---------------------------------------------------------------------------------------


moments = st.integers(0, 40).map(lambda seconds: NOW + timedelta(seconds=seconds))

job_sets = st.lists(
    st.fixed_dictionaries(
        {
            "at": moments,
            "late": st.integers(-4_000, 9_000).map(lambda ms: timedelta(milliseconds=ms)),
            "object_id": st.sampled_from(["one", "two"]),
            "handler": st.sampled_from(HANDLERS),
            "labels": st.sets(st.sampled_from(LABELS)).map(
                lambda labels: tuple(sorted(dict(labels).items()))
            ),
            "status": st.sampled_from(list(Status)),
        }
    ),
    max_size=25,
)

filters = st.builds(
    JobFilter,
    statuses=st.frozensets(st.sampled_from(list(Status))),
    handler=st.none() | st.sampled_from([*HANDLERS, "nobody"]),
    object_id=st.none() | st.sampled_from(["one", "two", "three"]),
    labels=st.sets(st.sampled_from(LABELS), max_size=2).map(lambda labels: tuple(sorted(labels))),
    accepted_after=st.none() | moments,
    accepted_before=st.none() | moments,
)


@pytest.fixture
def small_windows(monkeypatch):
    """There are several windows in a page, and several pages in a walk."""
    monkeypatch.setattr(mongo_reading, "_LOOKED_AT_FIRST", 2)
    monkeypatch.setattr(mongo_reading, "LOOKED_AT", 6)


def naive(jobs, wanted):
    """Say the same as the readers, in the words of the guide."""
    found = [
        job
        for job in jobs
        if (not wanted.statuses or job.status in wanted.statuses)
        and (wanted.handler is None or job.handler == wanted.handler)
        and (wanted.object_id is None or job.object_id == wanted.object_id)
        and all(label in job.labels for label in wanted.labels)
        and (wanted.accepted_after is None or wanted.accepted_after <= job.accepted_at)
        and (wanted.accepted_before is None or job.accepted_at < wanted.accepted_before)
    ]
    order = (lambda job: job.run) if wanted.object_id is not None else (lambda job: job.job_id)
    return sorted(found, key=order, reverse=True)


@settings(
    # A failure stands as it was found: making it smaller costs minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sets=job_sets, wanted=st.lists(filters, min_size=1, max_size=8), limit=st.integers(1, 9))
async def test_a_walk_meets_what_is_wanted_and_nothing_else_newest_first(
    both, monkeypatch, sets, wanted, limit
):
    # So small that there are several windows in a page, and several pages in a walk.
    monkeypatch.setattr(mongo_reading, "_LOOKED_AT_FIRST", 2)
    monkeypatch.setattr(mongo_reading, "LOOKED_AT", 6)
    store, reader = both
    await emptied(store)
    runs = itertools.count(1)
    for number, about in enumerate(sets):
        status = about.pop("status")
        await brought_to(store, a_job(number, run=next(runs), **about), status)
        about["status"] = status
    ids = [an_id(about["at"], number) for number, about in enumerate(sets)]
    # Nobody waited for the marks; what is durable after them makes them so.
    assert await store.extend(ids, NOW + timedelta(days=901)) == set(ids)
    jobs = (await store.get(ids)).values()
    for each in wanted:
        assert jobs_of(await walk(reader, each, limit)) == naive(jobs, each)


async def emptied(store):
    """Forget everything, and keep the indexes."""
    if isinstance(store, MongoJobStore):
        await store._jobs.delete_many({})
    else:
        store.jobs.clear()
        store._runs.clear()


@pytest.mark.parametrize("late_s", [-4.9, 0, 14.9, 304.9])
async def test_a_job_is_found_by_the_time_of_its_acceptance_whenever_its_id_was_made(both, late_s):
    """A Timetable waits for minutes with what it has decided, and its clock may differ by five seconds."""
    store, reader = both
    job = a_job(1, at=NOW - timedelta(seconds=late_s), late=timedelta(seconds=late_s))
    await store.insert([job])
    assert job.accepted_at == NOW
    just_after = NOW + timedelta(milliseconds=1)
    met = JobFilter(accepted_after=NOW, accepted_before=just_after)
    assert (await reader.page(met, None, 5)).jobs == (job,)
    for missed in (JobFilter(accepted_before=NOW), JobFilter(accepted_after=just_after)):
        assert jobs_of(await walk(reader, missed)) == []


async def test_of_an_object_those_jobs_are_told_that_matter_for_its_next_one(both):
    store, reader = both
    assert await reader.object("x") is None
    waits = {"status": Status.SCHEDULED, "turn_due": NOW}
    runs = [
        a_job(9, object_id="x", run=1),
        *(a_job(n, object_id="x", run=n + 1, **waits) for n in range(1, 6)),
    ]
    for job in runs[1:4]:
        await brought_to(store, job, Status.CANCELLED)
    await store.insert([a_job(50, object_id="y"), runs[4]])
    without = await reader.object("x")
    assert [without.newest, without.standing, without.last, without.waiting] == [
        runs[4],
        runs[4],
        None,
        runs[4],
    ]
    await store.insert([runs[0]])
    await brought_to(store, runs[5], Status.CANCELLED)
    found = await reader.object("x")
    assert [found.newest.run, found.standing, found.last, found.waiting] == [6, runs[4], runs[0], None]


async def test_a_page_ends_where_the_list_does(both):
    store, reader = both
    await store.insert([a_job(n) for n in range(4)])
    first = await reader.page(JobFilter(), None, 2)
    assert [len(first.jobs), first.next] == [2, first.jobs[-1].job_id]
    last = await reader.page(JobFilter(), first.next, 2)
    assert [len(last.jobs), last.next] == [2, None]


async def test_jobs_that_arrive_meanwhile_are_not_met_and_nobody_is_met_twice_or_left_out(both):
    """Status by status as well: a job that moves on is met as what it is when its place is passed."""
    store, reader = both
    at_first = [a_job(n, handler=HANDLERS[n % 2], labels=(LABELS[n % 3],)) for n in range(12)]
    ways = [
        JobFilter(),
        JobFilter(statuses=frozenset({Status.QUEUED, Status.RUNNING, Status.FINISHED})),
        JobFilter(handler="cut"),
        JobFilter(labels=(LABELS[0],)),
    ]
    await store.insert(at_first)
    pages = {way: [await reader.page(way, None, 2)] for way in ways}
    for step in itertools.count():
        later = a_job(100 + step, at=NOW + timedelta(seconds=1 + step), labels=(LABELS[0],))
        await store.insert([later])
        # One that was met, and one that was not yet.
        for job in (at_first[-1 - step], at_first[step]):
            await store.mark([Mark(job.job_id, "worker", 1, NOW)], 1)
            if step % 2:
                await store.settle([Settle(job.job_id, Outcome(Status.FINISHED, NOW))], 1, NOW)
        unfinished = [way for way in ways if pages[way][-1].next is not None]
        if not unfinished:
            break
        for way in unfinished:
            pages[way].append(await reader.page(way, pages[way][-1].next, 2))
    for way, walked in pages.items():
        met = [job.job_id for job in jobs_of(walked)]
        assert met == [job.job_id for job in naive(at_first, way)]


async def test_the_jobs_of_an_object_come_in_the_order_of_their_runs_whatever_their_ids_say(both):
    """Of two requests at once the one that was made first may be admitted last."""
    store, reader = both
    ids = [3, 1, 4, 2]
    await store.insert([a_job(n, object_id="x", run=run) for run, n in enumerate(ids, 1)])
    pages = await walk(reader, JobFilter(object_id="x"), 1)
    assert [job.run for job in jobs_of(pages)] == [4, 3, 2, 1]
    assert [page.next for page in pages] == [4, 3, 2, None]


async def test_a_page_of_heavy_jobs_is_short_and_one_job_is_always_in_it(both):
    store, reader = both
    third = "x" * (PAGE_BYTES // 3)
    await store.insert([a_job(n, payload=third) for n in range(4)])
    await store.insert([a_job(9, payload="x" * (PAGE_BYTES + 1))])
    pages = await walk(reader, JobFilter(), 50)
    assert [len(page.jobs) for page in pages] == [1, 2, 2]
    assert [job.job_id for job in jobs_of(pages)] == [an_id(NOW, n) for n in (9, 3, 2, 1, 0)]


async def test_the_text_of_a_job_comes_back_as_it_was(both):
    store, reader = both
    job = a_job(1, payload={"ä$.": [1.5, None, "\x00"]}, labels=(("a", "=x"), ("b", "")))
    await store.insert([job])
    assert (await reader.page(JobFilter(labels=(("a", "=x"),)), None, 1)).jobs == (job,)


@pytest.mark.parametrize("number", [-1, 2**40])
async def test_a_place_that_nobody_gave_out_is_as_good_as_any(both, number):
    """Forged ones reach the store: there is nothing to be had by them."""
    store, reader = both
    await store.insert([a_job(n, object_id="x", run=n + 1) for n in range(3)])
    of_object = await reader.page(JobFilter(object_id="x"), number, 5)
    assert len(of_object.jobs) == (3 if number > 0 else 0)
    everything = await reader.page(JobFilter(), "zzz" if number > 0 else "!", 5)
    assert len(everything.jobs) == (3 if number > 0 else 0)


# What it costs MongoDB ----------------------------------------------------------------------------


BACKLOG = 20_000

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
async def crowd(mongo_uri):
    """A backlog of queued jobs; behind them a few that run, and some that ended; a hot object."""
    documents = []
    for n in range(BACKLOG):
        at = NOW + timedelta(milliseconds=n)
        about = {"labels": (("all", "1"), ("odd", str(n % 2))), "object_id": "hot", "run": n + 1}
        document = document_of(a_job(n, at=at, handler=HANDLERS[n >= 300], **about))
        # The oldest: 100 each that failed, that run, and that another handler has.
        status = {0: Status.FAILED, 1: Status.RUNNING}.get(n // 100, Status.QUEUED)
        documents.append(document | {"status": str(status)})
    documents.append(document_of(a_job(BACKLOG, at=NOW - timedelta(days=1), labels=(("rare", "1"),))))
    name = f"test_{uuid.uuid4().hex}"
    async with connect(mongo_uri) as client:
        store = MongoJobStore(client, name)
        await store.prepare()
        # All of them at once might take longer than the driver waits.
        for start in range(0, len(documents), 1_000):
            await store._jobs.insert_many(documents[start : start + 1_000])
        yield MongoJobReader(client, name)
        await client.drop_database(name)


@pytest.fixture
def costs(crowd, monkeypatch):
    """Ask the server what each query of a page looked at: keys, documents, and how; not how long it took."""
    monkeypatch.setattr(mongo_reading, "in_time", lambda: in_time(PATIENCE_S))
    monkeypatch.setattr(mongo_reading, "_LOOKED_FOR_S", PATIENCE_S)
    told = []
    find = crowd._jobs.find

    def explained(*arguments, **options):
        told.append((find(*arguments, **options), options))
        return find(*arguments, **options)

    class Watched:
        def __getattr__(self, name):
            return explained if name == "find" else getattr(crowd_jobs, name)

    crowd_jobs = crowd._jobs
    monkeypatch.setattr(crowd, "_jobs", Watched())

    async def look():
        stats = [(await cursor.explain()) for cursor, _ in told]
        told.clear()
        return [
            (
                each["executionStats"]["totalKeysExamined"],
                each["executionStats"]["totalDocsExamined"],
                stages(each["executionStats"]["executionStages"]),
            )
            for each in stats
        ]

    return look


def stages(plan):
    """The names of all steps of a plan."""
    inner = [plan[name] for name in ("inputStage", "outerStage", "innerStage") if name in plan]
    return {plan["stage"]}.union(*(stages(each) for each in [*inner, *plan.get("inputStages", ())]))


#: Answered by an index alone: whatever the backlog, a page costs its jobs.
EXACT = {
    "everything": JobFilter(),
    "what runs, behind a backlog": JobFilter(statuses=frozenset({Status.RUNNING})),
    "what failed, behind a backlog": JobFilter(statuses=frozenset({Status.FAILED})),
    "what never is": JobFilter(statuses=frozenset({Status.CANCELLED})),
    "several statuses": JobFilter(statuses=frozenset({Status.RUNNING, Status.QUEUED, Status.FAILED})),
    "a handler with a backlog": JobFilter(handler="paste"),
    "a handler behind a backlog": JobFilter(handler="cut"),
    "a handler and a status": JobFilter(handler="cut", statuses=frozenset({Status.QUEUED})),
    "a handler and a status that never is": JobFilter(handler="paste", statuses=frozenset({Status.RUNNING})),
    "a label that all have": JobFilter(labels=(("all", "1"),)),
    "a label and a status": JobFilter(labels=(("all", "1"),), statuses=frozenset({Status.RUNNING})),
    "a rare label": JobFilter(labels=(("rare", "1"),)),
    "a hot object": JobFilter(object_id="hot"),
}


@pytest.mark.parametrize("wanted", EXACT.values(), ids=EXACT.keys())
async def test_what_an_index_answers_costs_the_page_whatever_the_backlog(crowd, costs, wanted):
    page = await crowd.page(wanted, None, 50)
    ((keys, documents, steps),) = await costs()
    assert documents <= 51
    # Of several statuses a key each is looked at that is not taken.
    assert keys <= 51 + 2 * len(Status)
    assert not steps & {"COLLSCAN", "SORT"}
    # And a walk goes on as cheaply as it began.
    if page.next is not None:
        await crowd.page(wanted, page.next, 50)
        ((keys, documents, _),) = await costs()
        assert documents <= 51 and keys <= 51 + 2 * len(Status)


#: What is looked for by looking: a page is a part of it.
SEARCHED = {
    "what never is, of a hot object": JobFilter(object_id="hot", statuses=frozenset({Status.CANCELLED})),
    "a handler, of a hot object": JobFilter(object_id="hot", handler="nobody"),
    "a label, of a hot object": JobFilter(object_id="hot", labels=(("rare", "1"),)),
    "a label and a handler": JobFilter(labels=(("all", "1"),), handler="nobody"),
    "two labels that all have": JobFilter(labels=(("all", "1"), ("odd", "2"))),
    "two labels, each of which half have": JobFilter(labels=(("odd", "0"), ("odd", "1"))),
    "all that was accepted later": JobFilter(accepted_after=NOW + timedelta(seconds=21)),
    "a status and a time": JobFilter(
        statuses=frozenset({Status.QUEUED}), accepted_before=NOW + timedelta(milliseconds=301)
    ),
}


@pytest.mark.parametrize("wanted", SEARCHED.values(), ids=SEARCHED.keys())
async def test_what_no_index_answers_is_looked_for_in_bounded_steps(crowd, costs, wanted):
    page = await crowd.page(wanted, None, 50)
    told = await costs()
    assert sum(documents for _, documents, _ in told) <= mongo_reading.LOOKED_AT + 100
    assert sum(keys for keys, _, _ in told) <= 2 * mongo_reading.LOOKED_AT + 500
    assert all(not steps & {"COLLSCAN", "SORT"} for _, _, steps in told)
    # To find out how far to look costs no document.
    assert all(documents == 0 for _, documents, steps in told if "SKIP" in steps)
    # And it comes to an end.
    pages = [page, *(await walk_on(crowd, wanted, page))]
    assert len(pages) <= BACKLOG / mongo_reading.LOOKED_AT + 2


async def test_where_looking_is_slow_a_page_ends_before_its_time_does(crowd, costs, monkeypatch):
    monkeypatch.setattr(mongo_reading, "_LOOKED_FOR_S", 0.0)
    page = await crowd.page(SEARCHED["a label and a handler"], None, 50)
    assert page.jobs == () and page.next is not None
    assert sum(documents for _, documents, _ in await costs()) == mongo_reading._LOOKED_AT_FIRST


async def walk_on(reader, wanted, page):
    pages = [page]
    while pages[-1].next is not None:
        pages.append(await reader.page(wanted, pages[-1].next, 50))
    return pages[1:]


async def test_the_rarest_of_several_labels_is_walked(crowd, costs):
    page = await crowd.page(JobFilter(labels=(("all", "1"), ("odd", "1"), ("rare", "1"))), None, 50)
    assert page == JobPage(())
    assert sum(documents for _, documents, _ in await costs()) <= 1


async def test_a_page_that_takes_too_long_says_so(crowd, monkeypatch):
    monkeypatch.setattr(mongo_reading, "in_time", lambda: in_time(0.001))
    with pytest.raises(StoreUnavailable, match=r"did not answer this within 0\.001 s: ask for less"):
        await asyncio.gather(*(crowd.page(JobFilter(), None, 200) for _ in range(50)))


async def test_nothing_is_read_of_one_job_at_two_moments(mongo_jobs, database):
    """Several statuses in one page, while a job goes on from one to the next."""
    jobs = [a_job(n) for n in range(300)]
    await mongo_jobs.insert(jobs)
    reader = MongoJobReader(*database)
    live = JobFilter(statuses=frozenset({Status.QUEUED, Status.RUNNING}))

    async def start():
        for job in jobs:
            await mongo_jobs.mark([Mark(job.job_id, "worker", 1, NOW)], 1)

    starting = asyncio.ensure_future(start())
    while not starting.done():
        found = jobs_of(await walk(reader, live, 200))
        assert [job.job_id for job in found] == [job.job_id for job in reversed(jobs)]
    await starting


# Attempts -------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "mongo"])
def ledgers(request):
    """A ledger, and who reads it."""
    if request.param == "memory":
        ledger = MemoryLedger(SystemClock())
        return ledger, MemoryAttempts(ledger)
    database = request.getfixturevalue("database")
    return MongoLedger(*database), MongoAttempts(*database)


def a_claim(n, *, boot=1, worker="w-0", seq=None, at=NOW, **about):
    return Claim("job", Token(1, seq or n), f"claim-{n}", worker, boot, at, **about)


def at(seconds):
    return NOW + timedelta(seconds=seconds)


async def test_a_job_that_was_never_started_has_no_attempts(ledgers):
    ledger, reader = ledgers
    assert await reader.attempts("job") == ()
    await ledger.close([Closing("job", Outcome(Status.CANCELLED, NOW, error={"type": "x"}), untouched=True)])
    assert await reader.attempts("job") == ()


async def test_an_attempt_names_its_process_and_goes_on(ledgers):
    ledger, reader = ledgers
    assert (await ledger.boot("w-0", Process("node-a", 41, 1), 1.0)).n == 1
    assert (await ledger.boot("w-0", Process("node-$b", 42, 2), 2.0)).n == 2
    await ledger.claim([a_claim(1, boot=2)])
    assert await reader.attempts("job") == (Attempt(1, "w-0", 2, "node-$b", 42, NOW, None, "running"),)


async def test_a_process_that_is_not_known_is_not_made_up(ledgers):
    ledger, reader = ledgers
    await ledger.claim([a_claim(1, boot=7)])
    (attempt,) = await reader.attempts("job")
    assert (attempt.boot, attempt.node, attempt.pid) == (7, None, None)


async def test_each_attempt_says_how_it_ended_and_why(ledgers):
    """Lost, retried, blamed, and at last finished."""
    ledger, reader = ledgers
    await ledger.boot("w-0", Process("a", 1, 1), 1.0)
    await ledger.boot("w-0", Process("b", 2, 1), 2.0)
    await ledger.claim([a_claim(1)])
    await ledger.claim([a_claim(2, boot=2, at=at(1), predecessor=Cause.OUT_OF_MEMORY)])
    broke = {"type": "ValueError", "message": "no"}
    failed = Outcome(Status.FAILED, at(2), None, broke, 2, at(1), "w-0")
    await ledger.record([Record("job", "claim-2", 2, failed, retry_at=at(3))])
    await ledger.claim([a_claim(3, boot=2, at=at(4))])
    await ledger.blame([Blame("job", "claim-3", Cause.CRASHED)])
    blamed = await reader.attempts("job")
    assert blamed[-1] == Attempt(3, "w-0", 2, "b", 2, at(4), None, "lost", Cause.CRASHED)
    await ledger.claim([a_claim(4, boot=2, seq=3, at=at(5))])
    finished = Outcome(Status.FINISHED, at(6), {"ok": 1}, None, 4, at(5), "w-0")
    await ledger.record([Record("job", "claim-4", 2, finished)])
    assert await reader.attempts("job") == (
        Attempt(1, "w-0", 1, "a", 1, NOW, at(1), "lost", Cause.OUT_OF_MEMORY),
        Attempt(2, "w-0", 2, "b", 2, at(1), at(2), "retried", None, broke),
        Attempt(3, "w-0", 2, "b", 2, at(4), at(5), "lost", Cause.CRASHED),
        Attempt(4, "w-0", 2, "b", 2, at(5), at(6), "finished"),
    )


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
async def test_the_attempt_that_ended_its_job_has_the_error_of_the_job(ledgers, status):
    ledger, reader = ledgers
    await ledger.claim([a_claim(1)])
    ended = Outcome(status, at(1), None, {"type": "Timeout"}, 1, NOW, "w-0")
    await ledger.record([Record("job", "claim-1", 1, ended)])
    (attempt,) = await reader.attempts("job")
    assert (attempt.outcome, attempt.error, attempt.ended_at) == (status, {"type": "Timeout"}, at(1))


async def test_an_attempt_that_a_cancel_stopped_says_so(ledgers):
    ledger, reader = ledgers
    await ledger.claim([a_claim(1)])
    await ledger.close([Closing("job", Outcome(Status.CANCELLED, at(1), error={"type": "CancelRequested"}))])
    (attempt,) = await reader.attempts("job")
    assert (attempt.outcome, attempt.error) == ("cancelled", {"type": "CancelRequested"})


async def test_a_cancel_before_the_next_attempt_does_not_touch_what_was_retried(ledgers):
    ledger, reader = ledgers
    await ledger.claim([a_claim(1)])
    failed = Outcome(Status.FAILED, at(1), None, {"type": "ValueError"}, 1, NOW, "w-0")
    await ledger.record([Record("job", "claim-1", 1, failed, retry_at=at(60))])
    waiting = await reader.attempts("job")
    await ledger.close([Closing("job", Outcome(Status.CANCELLED, at(2), error={"type": "CancelRequested"}))])
    assert await reader.attempts("job") == waiting
    assert (waiting[0].outcome, waiting[0].error) == ("retried", {"type": "ValueError"})


async def test_a_lost_attempt_does_not_take_the_error_of_the_end(ledgers):
    ledger, reader = ledgers
    await ledger.claim([a_claim(1, max_crashes=1)])
    await ledger.blame([Blame("job", "claim-1", Cause.BLOCKED)])
    await ledger.close([Closing("job", Outcome(Status.FAILED, at(1), error={"type": "Crashed"}))])
    (attempt,) = await reader.attempts("job")
    assert (attempt.outcome, attempt.cause, attempt.error) == ("lost", Cause.BLOCKED, None)


async def test_what_an_earlier_release_wrote_is_read_as_well_as_it_can_be(database):
    """It named no processes, and kept no error with an attempt."""
    client, name = database
    ledger, reader = MongoLedger(client, name), MongoAttempts(client, name)
    await ledger.claim([a_claim(1)])
    failed = Outcome(Status.FAILED, at(1), None, {"type": "ValueError"}, 1, NOW, "w-0")
    await ledger.record([Record("job", "claim-1", 1, failed, retry_at=at(2))])
    await client[name]["ledger"].update_one({}, {"$unset": {"attempts.0.error": ""}})
    await client[name]["workers"].insert_one({"_id": "w-0", "boot": 1, "node": "a", "pid": 3, "born_s": 1.0})
    (attempt,) = await reader.attempts("job")
    assert (attempt.outcome, attempt.error, attempt.node) == ("retried", None, None)
    assert (await ledger.boot("w-0", Process("b", 4, 1), 2.0)).n == 2
    await ledger.claim([a_claim(2, boot=2, at=at(3))])
    assert [each.node for each in await reader.attempts("job")] == [None, "b"]


async def test_a_worker_that_is_born_again_and_again_is_named_for_its_latest_processes(database):
    client, name = database
    ledger = MongoLedger(client, name)
    for n in range(1, 104):
        await ledger.boot("w-0", Process("node", n, n), float(n))
    (worker,) = [found async for found in client[name]["workers"].find({"_id": "w-0"})]
    assert [boot["n"] for boot in worker["boots"]] == list(range(4, 104))
    assert all(boot["pid"] == boot["n"] for boot in worker["boots"])
