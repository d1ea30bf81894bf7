"""The Registry, whatever clients wish for: keys, batches, racers, a store that fails, a ceiling."""

import asyncio
import gc
import itertools
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasty.actors import ceiling
from hasty.actors.registry import Registry
from hasty.actors.rounds import REPLACED, Rounds
from hasty.dispatch import Settle
from hasty.errors import StoreUnavailable
from hasty.job import Outcome, Status, Window
from hasty.messages import (
    Accepted,
    Admit,
    Attached,
    Full,
    KeyReused,
    OnConflict,
    Reason,
    Refused,
    Request,
    Unknown,
)
from hasty.rerun import opening
from hasty.store import base
from hasty.store.base import KEYS_KEPT, Attachment
from hasty.store.memory import MemoryJobStore, MemoryLedger
from hasty.testing import VirtualClock
from tests.sim.observer import Watched
from tests.unit.examples import a_request, repeatable, virtually
from tests.unit.system import Silent

REJECT, ATTACH, REPLACE, AFTER = OnConflict

#: As long as a settled record is kept.
KEEP = timedelta(days=7)

numbers = itertools.count(1)


def a_wish(object_id="x", on_conflict=REJECT, key=None, body="body", **changes):
    """A request under an id of its own."""
    about = {"object_id": object_id, "on_conflict": on_conflict, "idempotency_key": key}
    fingerprint = body if key is not None else None
    return a_request(f"job-{next(numbers)}", fingerprint=fingerprint, **(about | changes))


class Desk:
    """A Registry on a store in memory, and what befalls the jobs that it admits."""

    def __init__(self, jobs=None, **options):
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.jobs = MemoryJobStore(self.clock) if jobs is None else jobs
        self.options = options
        self.registry = self.another()

    def another(self, jobs=None):
        """A Registry that knows nothing yet, as after a crash."""
        return Registry(jobs or self.jobs, Silent(), self.clock, **self.options)

    async def ask(self, request=None, **wish):
        (answer,) = await self.ask_all(request or a_wish(**wish))
        return answer

    async def ask_all(self, *requests):
        return (await self.registry.admit(Admit(requests))).answers

    async def accepted(self, **wish):
        answer = await self.ask(**wish)
        assert isinstance(answer, Accepted), answer
        return answer.work.job_id

    async def end(self, job_id, status=Status.FINISHED):
        await end(self.jobs, self.clock.now(), job_id, status)


async def end(jobs, now, job_id, status=Status.FINISHED):
    job = (await jobs.get([job_id]))[job_id]
    outcome = Outcome(status, now, opens_at=opening(job.work(), status, now))
    await jobs.settle([Settle(job_id, outcome)], 1, now + KEEP)


# Keys ------------------------------------------------------------------------------------------


async def nothing(_desk, _job_id):
    pass


async def it_ends(desk, job_id):
    await desk.end(job_id, Status.FAILED)


async def it_is_cancelled_and_another_comes(desk, job_id):
    await desk.end(job_id, Status.CANCELLED)
    await asyncio.sleep(301)
    assert await desk.accepted() != job_id


async def another_is_to_take_its_place(desk, _job_id):
    await desk.accepted(on_conflict=REPLACE)


async def another_comes_after_it(desk, _job_id):
    await desk.ask(on_conflict=AFTER)


async def the_window_opens(_desk, _job_id):
    await asyncio.sleep(1_000)


async def the_registry_crashes(desk, _job_id):
    desk.registry = desk.another()


AFTERMATHS = [
    nothing,
    it_ends,
    it_is_cancelled_and_another_comes,
    another_is_to_take_its_place,
    another_comes_after_it,
    the_window_opens,
    the_registry_crashes,
]


@pytest.mark.parametrize("happens", AFTERMATHS)
@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("on_conflict", list(OnConflict))
@pytest.mark.parametrize("delay_s", [None, 5.0])
@virtually
async def test_the_same_admit_again_has_the_same_answer_whatever_happened(happens, key, on_conflict, delay_s):
    desk = Desk()
    request = a_wish(key=key, on_conflict=on_conflict, delay_s=delay_s)
    first = await desk.ask(request)
    assert isinstance(first, Accepted) and not first.replayed
    await happens(desk, request.job_id)
    before = dict(desk.jobs.jobs)
    assert await desk.ask(request) == first
    assert desk.jobs.jobs == before


@pytest.mark.parametrize("happens", AFTERMATHS)
@pytest.mark.parametrize("delay_s", [None, 5.0])
@virtually
async def test_whoever_comes_with_the_key_is_given_the_first_answer_whatever_happened(happens, delay_s):
    """Under another job id: a Gateway mints one for each request."""
    desk = Desk()
    first = await desk.ask(key="k", delay_s=delay_s)
    await happens(desk, first.work.job_id)
    before = dict(desk.jobs.jobs)
    for on_conflict in OnConflict:
        assert await desk.ask(key="k", on_conflict=on_conflict) == first._replace(replayed=True)
        # It is not even about the same object: what is compared is the body.
        assert await desk.ask(object_id="y", key="k", body="other") == KeyReused(first.work.job_id)
    assert desk.jobs.jobs == before


@virtually
async def test_a_key_is_remembered_for_as_long_as_its_job_is_kept_and_no_longer():
    desk = Desk()
    made = await desk.accepted(key="made")
    assert await desk.ask(on_conflict=ATTACH, key="attached") == Attached(made)
    await desk.end(made)
    await asyncio.sleep(KEEP.total_seconds() - 1)
    assert desk.jobs.expire() == []
    assert (await desk.ask(key="made")).replayed
    assert await desk.ask(on_conflict=ATTACH, key="attached") == Attached(made, replayed=True)
    await asyncio.sleep(1)
    assert desk.jobs.expire() == [made]
    again = await desk.ask(key="made", body="another body")
    assert isinstance(again, Accepted) and not again.replayed
    assert await desk.ask(on_conflict=ATTACH, key="attached", body="another") == Attached(again.work.job_id)


@virtually
async def test_a_refusal_is_not_remembered():
    desk = Desk()
    blocker = await desk.accepted()
    for body in ("one body", "another", "a third"):
        assert await desk.ask(key="k", body=body) == Refused(Reason.WINDOW, blocker, 300.0)
    await asyncio.sleep(300)
    assert await desk.ask(key="k", body="a third") == Refused(Reason.UNFINISHED, blocker, 5.0)
    await desk.end(blocker)
    answer = await desk.ask(key="k", body="a fourth")
    assert isinstance(answer, Accepted) and not answer.replayed
    assert (await desk.ask(key="k", body="a fourth")).replayed


@pytest.mark.parametrize("on_conflict", [ATTACH, AFTER])
@virtually
async def test_a_job_that_was_the_answer_to_a_key_stays_that_whatever_becomes_of_the_object(on_conflict):
    desk = Desk()
    await desk.accepted()
    target = await desk.accepted(on_conflict=AFTER)
    assert await desk.ask(on_conflict=on_conflict, key="k") == Attached(target)
    await desk.end(target, Status.CANCELLED)
    for _ in range(2):
        assert await desk.ask(on_conflict=on_conflict, key="k") == Attached(target, replayed=True)
        # Without the key it is another question.
        assert await desk.ask(on_conflict=on_conflict) != Attached(target)
        await asyncio.sleep(1_000)
        desk.registry = desk.another()
    assert await desk.ask(on_conflict=on_conflict, key="k", body="other") == KeyReused(target)


@virtually
async def test_a_thousand_keys_one_job_is_the_answer_to_and_who_comes_later_is_answered_all_the_same():
    desk = Desk()
    job_id = await desk.accepted(key="made for it")
    keys = [f"key-{n}" for n in range(KEYS_KEPT + 1)]
    answers = await desk.ask_all(*(a_wish(on_conflict=ATTACH, key=key) for key in keys))
    assert set(answers) == {Attached(job_id)}
    known = await desk.jobs.by_key([*keys, "made for it"])
    assert set(known) == {*keys[: KEYS_KEPT - 1], "made for it"}
    # Who was not remembered may come with something else: it is a new question.
    assert await desk.ask(on_conflict=ATTACH, key=keys[-1], body="other") == Attached(job_id)
    assert await desk.ask(on_conflict=ATTACH, key=keys[0], body="other") == KeyReused(job_id)
    # There are others.
    await desk.end(job_id)
    await asyncio.sleep(301)
    later = await desk.accepted()
    assert await desk.ask(on_conflict=ATTACH, key=keys[-1]) == Attached(later)


@virtually
async def test_a_key_that_a_job_was_attached_to_outlives_its_turn():
    desk = Desk()
    first = await desk.accepted()
    waits = await desk.accepted(on_conflict=AFTER, key="made")
    assert await desk.ask(on_conflict=AFTER, key="attached") == Attached(waits)
    async with rounds(desk):
        await desk.end(first)
        await asyncio.sleep(310)
    assert desk.jobs.jobs[waits].status is Status.QUEUED
    assert (await desk.ask(on_conflict=AFTER, key="made")).work.job_id == waits
    assert await desk.ask(on_conflict=AFTER, key="attached") == Attached(waits, replayed=True)


# Many in one batch -----------------------------------------------------------------------------


@pytest.mark.parametrize("second", list(OnConflict))
@pytest.mark.parametrize("first", list(OnConflict))
@virtually
async def test_a_batch_that_names_a_new_object_twice_is_decided_one_after_the_other(first, second):
    desk = Desk()
    one, two = a_wish(on_conflict=first), a_wish(on_conflict=second)
    answers = await desk.ask_all(one, two)
    assert isinstance(answers[0], Accepted) and answers[0].due_at is None
    match second:
        case OnConflict.REJECT:
            assert answers[1] == Refused(Reason.WINDOW, one.job_id, 300.0)
        case OnConflict.ATTACH:
            assert answers[1] == Attached(one.job_id)
        case OnConflict.REPLACE:
            job = desk.jobs.jobs[two.job_id]
            assert (job.follows, job.replaces, answers[1].due_at) == (one.job_id, True, job.accepted_at)
        case OnConflict.AFTER:
            job = desk.jobs.jobs[two.job_id]
            assert (job.follows, job.replaces) == (one.job_id, False)
            assert answers[1].due_at == desk.jobs.jobs[one.job_id].opens_at


async def occupied(desk):
    """An object for each way to stand in the way; some of the answers are remembered."""
    await desk.accepted(object_id="live")
    await desk.accepted(object_id="ended", key="known")
    await desk.end(desk.jobs._keys["known"][0])
    await desk.accepted(object_id="waits")
    await desk.accepted(object_id="waits", on_conflict=AFTER)
    await desk.accepted(object_id="passed over")
    passed_over = await desk.accepted(object_id="passed over", on_conflict=AFTER)
    await desk.end(passed_over, Status.CANCELLED)
    assert isinstance(await desk.ask(object_id="live", on_conflict=ATTACH, key="attached"), Attached)


OBJECTS = ("new", "live", "ended", "waits", "passed over")

#: What whoever has one of these keys wants.
KEYED = {
    "known": ("ended", REJECT),
    "attached": ("live", ATTACH),
    "one": ("new", AFTER),
    "two": ("waits", REPLACE),
    "three": ("passed over", ATTACH),
}

wishes = st.one_of(
    st.builds(
        a_wish,
        st.sampled_from(OBJECTS),
        st.sampled_from(OnConflict),
        force=st.sampled_from([False, False, True]),
        delay_s=st.sampled_from([None, None, 30.0]),
    ),
    st.sampled_from(list(KEYED)).map(lambda key: a_wish(*KEYED[key], key)),
    st.sampled_from(["known", "attached"]).map(lambda key: a_wish("new", REJECT, key, "other")),
)


@settings(repeatable, max_examples=200)
@given(st.lists(wishes, min_size=2, max_size=12))
def test_a_batch_is_decided_as_if_each_had_come_alone(requests):
    async def scenario(*, together):
        desk = Desk()
        await occupied(desk)
        if together:
            answers = await desk.ask_all(*requests)
        else:
            answers = [await desk.ask(request) for request in requests]
        made = [job for job in desk.jobs.jobs.values() if job.job_id in {r.job_id for r in requests}]
        return [in_short(answer) for answer in answers], {job.job_id: job for job in made}

    together, alone = virtually(scenario)(together=True), virtually(scenario)(together=False)
    assert renamed(together) == renamed(alone)


def renamed(outcome):
    """Ids of what was there before are of their own run."""
    answers, made = outcome
    told = [(kind, job_id if job_id in made else "before", *more) for kind, job_id, *more in answers]
    return told, {
        job_id: replace(job, follows=job.follows if job.follows in made else None)
        for job_id, job in made.items()
    }


def in_short(answer):
    match answer:
        case Accepted():
            return "accepted", answer.work.job_id, answer.due_at, answer.replayed
        case Refused():
            return "refused", answer.job_id, answer.reason, answer.retry_after_s
        case Attached():
            # Of two that come together with one key, neither is told that it is a repeat.
            return "attached", answer.job_id
        case KeyReused():
            return "reused", answer.job_id
    return type(answer).__name__, None


@virtually
async def test_one_key_twice_in_a_batch_makes_one_job():
    desk = Desk()
    same = [a_wish(key="k"), a_wish(key="k"), a_wish("y", key="k", body="other"), a_wish("z")]
    first, second, other, unkeyed = await desk.ask_all(*same)
    assert second == first._replace(replayed=True)
    assert other == KeyReused(first.work.job_id)
    assert isinstance(unkeyed, Accepted)
    assert {job.object_id for job in desk.jobs.jobs.values()} == {"x", "z"}


@virtually
async def test_one_key_twice_in_a_batch_where_one_is_attached_is_one_answer():
    desk = Desk()
    blocker = await desk.accepted()
    attached, made = await desk.ask_all(
        a_wish(on_conflict=ATTACH, key="k"), a_wish("y", key="k", body="other")
    )
    assert (attached, made) == (Attached(blocker), KeyReused(blocker))
    made, attached = await desk.ask_all(
        a_wish("y", key="l", body="other"), a_wish(on_conflict=ATTACH, key="l")
    )
    assert attached == KeyReused(made.work.job_id)
    two = await desk.ask_all(
        a_wish(on_conflict=ATTACH, key="m"), a_wish(on_conflict=ATTACH, key="m", body="other")
    )
    assert list(two) == [Attached(blocker), KeyReused(blocker)]


@virtually
async def test_many_that_replace_each_other_leave_one_that_will_run():
    desk = Desk()
    answers = await desk.ask_all(*(a_wish(on_conflict=REPLACE) for _ in range(50)))
    assert all(isinstance(answer, Accepted) for answer in answers)
    runs = [desk.jobs.jobs[answer.work.job_id].run for answer in answers]
    assert runs == list(range(1, 51))
    async with rounds(desk):
        await asyncio.sleep(1)
    live = [job for job in desk.jobs.jobs.values() if job.live]
    assert [(job.run, job.status) for job in live] == [(50, Status.QUEUED)]
    ended = [job for job in desk.jobs.jobs.values() if not job.live]
    assert {job.error["type"] for job in ended} == {REPLACED}


# Turns, with the Dispatcher's rounds -----------------------------------------------------------


class rounds:  # noqa: N801  reads as a statement
    """Give turns beside whatever is done in the block; what is replaced is settled at once."""

    def __init__(self, desk):
        self._desk = desk
        jobs, clock = desk.jobs, desk.clock
        self.offered = []

        async def close(work, event):
            await jobs.settle([Settle(work.job_id, event.outcome)], 1, clock.now() + KEEP)
            self.rounds.settled([work.job_id])

        self.rounds = Rounds(
            jobs, MemoryLedger(clock), clock, offer=self.offered.append, close=close, keep_s=1.0
        )

    async def __aenter__(self):
        self._task = asyncio.ensure_future(self.rounds.give_turns())
        return self

    async def __aexit__(self, *_error):
        self._task.cancel()
        await asyncio.wait([self._task])

    async def end(self, job_id, status=Status.FINISHED):
        await self._desk.end(job_id, status)
        self.rounds.settled([job_id])


@virtually
async def test_who_waits_has_its_turn_as_soon_as_the_end_is_told_and_within_a_minute_if_it_is_not():
    desk = Desk()
    window = Window(1.0)
    for told in (True, False):
        first = await desk.accepted(object_id=f"told {told}", window=window)
        waits = await desk.accepted(object_id=f"told {told}", on_conflict=AFTER, window=window)
        async with rounds(desk) as giving:
            await asyncio.sleep(100)
            assert desk.jobs.jobs[waits].status is Status.SCHEDULED
            await (giving if told else desk).end(first)
            await asyncio.sleep(0.5 if told else 60.5)
            assert desk.jobs.jobs[waits].status is Status.QUEUED
            assert [work.job_id for offer in giving.offered for work in offer.works] == [waits]


@pytest.mark.parametrize("on_conflict", [AFTER, REPLACE])
@virtually
async def test_who_is_not_to_start_before_some_time_does_not_though_the_end_before_it_is_told(on_conflict):
    """And what it replaces goes on until then."""
    desk = Desk()
    window = Window(1.0)
    first = await desk.accepted(window=window)
    # Somebody else follows the same job, and is due: so its end will be told.
    gone = await desk.accepted(window=window, on_conflict=AFTER)
    async with rounds(desk) as giving:
        await asyncio.sleep(10)
        await giving.end(gone, Status.CANCELLED)
        waits = await desk.accepted(window=window, on_conflict=on_conflict, delay_s=1_000.0)
        await asyncio.sleep(10)
        assert desk.jobs.jobs[first].live
        await giving.end(first)
        await asyncio.sleep(979)
        assert desk.jobs.jobs[waits].status is Status.SCHEDULED
        await asyncio.sleep(12)
        assert desk.jobs.jobs[waits].status is Status.QUEUED


@virtually
async def test_who_is_forced_to_come_after_waits_for_the_end_and_ends_nobody():
    desk = Desk()
    first = await desk.accepted()
    waits = await desk.accepted(on_conflict=AFTER, force=True)
    async with rounds(desk) as giving:
        await asyncio.sleep(400)
        assert (desk.jobs.jobs[first].live, desk.jobs.jobs[waits].status) == (True, Status.SCHEDULED)
        other = await desk.accepted(object_id="y")
        forced = await desk.accepted(object_id="y", on_conflict=AFTER, force=True)
        await asyncio.sleep(10)
        for job_id in (first, other):
            await giving.end(job_id)
        await asyncio.sleep(0.5)
    # Of the second, the window is shut still.
    assert {desk.jobs.jobs[job_id].status for job_id in (waits, forced)} == {Status.QUEUED}
    assert desk.jobs.jobs[forced].opens_at > desk.jobs.jobs[other].opens_at


@virtually
async def test_who_follows_a_job_that_never_had_its_turn_does_not_lose_sight_of_the_one_before_that():
    """Which outlives the record of the one between."""
    desk = Desk()
    first = await desk.accepted()
    between = await desk.accepted(on_conflict=AFTER)
    last = await desk.accepted(on_conflict=REPLACE, delay_s=10 * 86_400.0)
    await desk.end(between, Status.CANCELLED)
    await asyncio.sleep(9 * 86_400)
    desk.jobs.expire()
    await asyncio.sleep(86_400)
    async with rounds(desk):
        await asyncio.sleep(1)
    assert desk.jobs.jobs[last].status is Status.QUEUED
    assert desk.jobs.jobs[first].error["type"] == REPLACED


@virtually
async def test_the_same_holds_where_the_newest_job_is_not_the_one_that_is_followed():
    desk = Desk()
    first = await desk.accepted()
    between = await desk.accepted(on_conflict=AFTER)
    gone = await desk.accepted(on_conflict=REPLACE)
    await desk.end(gone, Status.CANCELLED)
    last = await desk.accepted(on_conflict=REPLACE, delay_s=10 * 86_400.0)
    assert desk.jobs.jobs[last].follows == between
    await desk.end(between, Status.CANCELLED)
    await asyncio.sleep(9 * 86_400)
    desk.jobs.expire()
    await asyncio.sleep(86_400)
    async with rounds(desk):
        await asyncio.sleep(1)
    assert desk.jobs.jobs[last].status is Status.QUEUED
    assert desk.jobs.jobs[first].error["type"] == REPLACED


# Two Registries --------------------------------------------------------------------------------


class Slow:
    """A store far away: each call takes its time to arrive, and its answer to come back."""

    def __init__(self, store, chance):
        self._store, self._chance = store, chance

    def __getattr__(self, name):
        async def call(*about):
            await self._on_the_way()
            try:
                return await getattr(self._store, name)(*about)
            finally:
                await self._on_the_way()

        return call

    async def _on_the_way(self):
        await asyncio.sleep(self._chance.choice((0.0, 0.001, 0.01, 0.1)))


class Race:
    """Two Registries, the rounds of two Dispatchers, and an eye on every write."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.desk = Desk()
        self.desk.jobs.jobs = Watched(self._changed)
        self.runnable = {}
        self.turned = {}
        self.answers = []
        remote = Slow(self.desk.jobs, self.chance)
        self.registries = [self.desk.another(remote) for _ in range(2)]
        self.dispatchers = [rounds(self.desk) for _ in range(2)]
        for dispatcher in self.dispatchers:
            dispatcher.rounds._jobs = remote

    def _changed(self, job_id, before, after):
        if after is None:
            return
        object_id, runs = after.object_id, after.live and not after.waits_for_turn
        if before is None or before.waits_for_turn:
            self._turned(before, after)
        if runs:
            assert self.runnable.setdefault(object_id, job_id) == job_id, "two may run at once"
        elif self.runnable.get(object_id) == job_id:
            del self.runnable[object_id]

    def _turned(self, before, job):
        if job.waits_for_turn:
            return
        last = self.turned.get(job.object_id)
        if last is not None:
            last = self.desk.jobs.jobs[last]
            at = job.accepted_at if before is None else self.desk.clock.now()
            assert at >= last.opens_at or job.replaces or job.forced or job.payload == "forced", (last, job)
            assert job.opens_at >= last.opens_at
        self.turned[job.object_id] = job.job_id

    def wish(self):
        key = f"key-{self.chance.randrange(6)}" if self.chance.random() < 0.5 else None
        force = self.chance.random() < 0.1
        # Whoever has a key wants the same as everybody who has it.
        chance = random.Random(key) if key is not None else self.chance
        return a_wish(
            chance.choice("xyz"),
            chance.choice(list(OnConflict)),
            key,
            force=force and key is None,
            payload="forced" if force and key is None else None,
            delay_s=chance.choice((None, None, 0.2)),
            window=Window(0.5, after=chance.choice(((), (Status.FINISHED,), tuple(sorted(FINALS))))),
        )

    async def client(self, registry):
        for _ in range(4):
            requests = tuple(self.wish() for _ in range(self.chance.randrange(1, 6)))
            given = (await registry.admit(Admit(requests))).answers
            self.answers += zip(requests, given, strict=True)
            await asyncio.sleep(self.chance.uniform(0, 0.5))

    async def fate(self):
        """Whatever runs ends, and now and then something that waits."""
        for _ in range(60):
            await asyncio.sleep(self.chance.uniform(0, 0.1))
            live = [job for job in self.desk.jobs.jobs.values() if job.live]
            for job in live:
                if not job.waits_for_turn or self.chance.random() < 0.1:
                    await self.dispatchers[0].end(job.job_id, self.chance.choice(FINALS))

    async def run(self):
        async with self.dispatchers[0], self.dispatchers[1]:
            clients = [self.client(self.registries[n % 2]) for n in range(4)]
            await asyncio.gather(*clients, self.fate())
            for _ in range(400):
                await self.fate()
                if not any(job.live for job in self.desk.jobs.jobs.values()):
                    return
        raise AssertionError([job for job in self.desk.jobs.jobs.values() if job.live])


FINALS = (Status.CANCELLED, Status.FAILED, Status.FINISHED)


@pytest.mark.parametrize("seed", range(60))
@virtually
async def test_two_registries_and_two_dispatchers_keep_every_promise(seed):
    race = Race(seed)
    await race.run()
    jobs = race.desk.jobs.jobs
    by_key = {}
    for request, answer in race.answers:
        assert not isinstance(answer, Unknown | KeyReused), answer
        if isinstance(answer, Accepted):
            assert answer.work.job_id in jobs
            assert answer.replayed == (answer.work.job_id != request.job_id)
        if isinstance(answer, Accepted | Attached) and request.idempotency_key is not None:
            job_id = answer.job_id if isinstance(answer, Attached) else answer.work.job_id
            assert by_key.setdefault(request.idempotency_key, job_id) == job_id, "a key has two answers"
    runs = Counter((job.object_id, job.run) for job in jobs.values())
    assert set(runs.values()) <= {1}
    asked = {request.job_id for request, _ in race.answers}
    assert set(jobs) <= asked


# A store that gives no clear answer ------------------------------------------------------------


class Flaky:
    """Counts its calls, and gives no clear answer to one of them: it was carried out, or was not."""

    def __init__(self, store, fails_at=0, *, carried_out=False):
        self._store = store
        self._fails_at, self._carried_out = fails_at, carried_out
        self.calls = []

    def __getattr__(self, name):
        assert hasattr(base.JobStore, name), name

        async def call(*about):
            self.calls.append(name)
            fails = len(self.calls) == self._fails_at
            if fails and not self._carried_out:
                raise StoreUnavailable
            answer = await getattr(self._store, name)(*about)
            if fails:
                raise StoreUnavailable
            return answer

        return call


async def before_it_all(desk):
    """As `occupied`; and an object whose last job is about to be forgotten."""
    await desk.accepted(object_id="fading")
    await desk.end(next(iter(desk.jobs.jobs)))
    await asyncio.sleep(KEEP.total_seconds() - 60)
    await occupied(desk)


def everything():
    """Each wish for each object, without a key, with one, and once more with that."""
    for n, (object_id, on_conflict) in enumerate(
        itertools.product((*OBJECTS, "fading"), (AFTER, ATTACH, REJECT, REPLACE))
    ):
        about = {"object_id": object_id, "on_conflict": on_conflict}
        yield a_request(f"own-{n}", **about)
        keyed = {"idempotency_key": f"key-{n}", "fingerprint": f"body-{n}"}
        yield a_request(f"keyed-{n}", **about, **keyed)
        yield a_request(f"again-{n}", **about, **keyed)
        yield a_request(f"wrong-{n}", idempotency_key="known", fingerprint="another body")
    yield a_request("known", idempotency_key="known", fingerprint="body")
    yield a_request("attached", idempotency_key="attached", fingerprint="body")


EVERYTHING = tuple(everything())

#: Other jobs were there before.
MINE = {request.job_id for request in EVERYTHING}


async def whole(fails_at=0, *, carried_out=False, crashes=False):
    """Ask for everything while a call fails, and once more; return both answers, the jobs, the calls."""
    desk = Desk()
    await before_it_all(desk)
    flaky = Flaky(desk.jobs, fails_at, carried_out=carried_out)
    desk.registry = desk.another(flaky)
    first = await desk.ask_all(*EVERYTHING)
    calls = tuple(flaky.calls)
    if crashes:
        desk.registry = desk.another()
    again = await desk.ask_all(*EVERYTHING)
    return first, again, desk.jobs.jobs, calls


def shown(jobs):
    """What of the jobs must not change: not when they were accepted."""
    mine = [job for name, job in jobs.items() if name in MINE]
    return {
        (job.job_id, job.object_id, job.run, job.status, job.replaces, job.idempotency_key) for job in mine
    }


def check_answers(expected, first, again, about):
    """What was answered is so, and stays so, where a client can rely on it: it has a job, or a key."""
    for request, known, one, two in zip(EVERYTHING, expected, first, again, strict=True):
        assert isinstance(one, Unknown | type(known)), about
        assert type(two) is type(known), about
        if isinstance(known, Accepted):
            assert two.work.job_id == known.work.job_id or known.work.job_id not in MINE, about
        if isinstance(one, Accepted):
            assert two.work == one.work, about
        elif isinstance(one, Attached) and request.idempotency_key is not None:
            assert two.job_id == one.job_id, about


def test_whichever_call_of_the_store_gives_no_clear_answer_the_same_question_finds_out():
    """Nothing is made twice, nothing is told that is not so, and in the end all is as it would have been."""
    expected, again, jobs, calls = virtually(whole)()
    check_answers(expected, expected, again, "all is well")
    assert {"extend", "attach", "insert", "by_key", "newest", "get"} <= set(calls)
    unknown = 0
    for n, carried_out, crashes in itertools.product(range(1, len(calls) + 1), (False, True), (False, True)):
        first, again, made, _ = virtually(whole)(n, carried_out=carried_out, crashes=crashes)
        check_answers(expected, first, again, (n, calls[n - 1], carried_out, crashes))
        assert shown(made) == shown(jobs), (n, calls[n - 1], carried_out)
        unknown += any(isinstance(answer, Unknown) for answer in first)
    assert unknown > len(calls)


@virtually
async def test_an_answer_under_a_key_is_given_only_once_it_is_remembered():
    """Else a repeat might be told something else."""
    desk = Desk()
    job_id = await desk.accepted()
    flaky = Flaky(desk.jobs)
    desk.registry = desk.another(flaky)
    await desk.ask(on_conflict=ATTACH, key="k")
    attached = flaky.calls.index("attach") + 1
    for fails_at in (attached, attached + 1):
        flaky = Flaky(desk.jobs, fails_at)
        desk.registry = desk.another(flaky)
        assert isinstance(await desk.ask(on_conflict=ATTACH, key=f"fails at {fails_at}"), Unknown)
        # Without one there is nothing to remember.
        assert await desk.ask(on_conflict=ATTACH) == Attached(job_id)


@virtually
async def test_where_the_last_job_is_forgotten_just_before_it_could_be_kept_it_is_decided_anew():
    desk = Desk()
    first = await desk.accepted()
    await desk.end(first)
    await asyncio.sleep(KEEP.total_seconds() - 60)

    class Forgetful(Flaky):
        async def extend(self, job_ids, until):
            await asyncio.sleep(60)
            assert desk.jobs.expire() == [first]
            return await desk.jobs.extend(job_ids, until)

    desk.registry = desk.another(Forgetful(desk.jobs))
    assert (await desk.ask()).work.run == 1


@virtually
async def test_who_asks_again_under_the_same_id_is_answered_with_the_whole_job():
    """Though the Registry knows only in brief which job an object had last."""
    desk = Desk()
    request = a_wish(payload={"a": [1]})
    first = await desk.ask(request)
    assert first.work.payload == {"a": [1]}
    assert await desk.ask(request) == first
    desk.registry = desk.another()
    assert await desk.ask(request) == first
    # And whoever comes with it in one batch is judged as ever.
    assert await desk.ask_all(request, a_wish()) == (first, Refused(Reason.WINDOW, request.job_id, 300.0))


@virtually
async def test_where_a_job_is_forgotten_just_before_it_could_be_shown_again_it_is_made_again():
    desk = Desk()
    request = a_wish(payload={"a": [1]})
    await desk.ask(request)
    await desk.end(request.job_id)
    await asyncio.sleep(KEEP.total_seconds() - 1)

    class Forgetful(Flaky):
        async def get(self, job_ids):
            await asyncio.sleep(1)
            desk.jobs.expire()
            return await desk.jobs.get(job_ids)

    desk.registry = desk.another(Forgetful(desk.jobs))
    answer = await desk.ask(request)
    assert (answer.work.run, answer.work.payload) == (1, {"a": [1]})
    assert desk.jobs.jobs[request.job_id].live


@virtually
async def test_who_takes_no_for_an_answer_costs_the_store_little_while_a_window_is_shut():
    desk = Desk()
    flaky = Flaky(desk.jobs)
    desk.registry = desk.another(flaky)
    job_id = await desk.accepted()
    flaky.calls.clear()
    assert await desk.ask() == Refused(Reason.WINDOW, job_id, 300.0)
    # Whether it was admitted before, as one that is asked for again.
    assert flaky.calls == ["get"]
    for wish in ({"force": True}, {"on_conflict": ATTACH}, {"on_conflict": AFTER}, {"on_conflict": REPLACE}):
        flaky.calls.clear()
        await desk.ask(**wish)
        assert flaky.calls[0] == "newest"


@virtually
async def test_a_window_that_is_shut_in_memory_is_not_trusted_where_somebody_forced_his_way():
    """Another Registry admitted a job that this one does not know of."""
    desk = Desk()
    one, other = desk.another(), desk.another()
    desk.registry = one
    first = await desk.accepted()
    await desk.end(first)
    desk.registry = other
    forced = await desk.accepted(force=True)
    desk.registry = one
    for on_conflict in (ATTACH, AFTER):
        answer = await desk.ask(on_conflict=on_conflict)
        if on_conflict is ATTACH:
            assert answer == Attached(forced)
        else:
            assert desk.jobs.jobs[answer.work.job_id].follows == forced
    # Who takes no for an answer is given one that was true a moment ago.
    assert isinstance(await desk.ask(), Refused)


# The ceiling -----------------------------------------------------------------------------------


class Counted(MemoryJobStore):
    """Its backlog takes its time to be counted."""

    takes_s = 0.0
    counts = 0
    away = False

    async def backlog(self, limit):
        self.counts += 1
        counted = await super().backlog(limit)
        await asyncio.sleep(self.takes_s)
        if self.away:
            raise StoreUnavailable
        return counted


def crowded(most, **options):
    clock = VirtualClock(asyncio.get_running_loop())
    return Desk(Counted(clock), max_backlog=most, **options)


def several(count, **about):
    return [a_wish(f"object-{next(numbers)}", **about) for _ in range(count)]


@virtually
async def test_above_the_ceiling_the_first_are_admitted_and_the_others_told_when_to_come_back():
    desk = crowded(5)
    requests = several(8)
    answers = await desk.ask_all(*requests)
    assert [type(answer) for answer in answers] == [Accepted] * 5 + [Full] * 3
    assert all(answer.retry_after_s >= 1 for answer in answers[5:])
    assert {job.job_id for job in desk.jobs.jobs.values()} == {request.job_id for request in requests[:5]}
    await asyncio.sleep(60)
    assert isinstance(await desk.ask(object_id="one more"), Full)
    # Nothing was made for those: the same question is a new one.
    assert [type(answer) for answer in await desk.ask_all(*requests)] == [Accepted] * 5 + [Full] * 3


@virtually
async def test_whatever_makes_no_job_has_its_answer_though_the_backlog_is_full():
    desk = crowded(2)
    first = await desk.ask(key="made")
    waits = await desk.ask(on_conflict=AFTER)
    await asyncio.sleep(10)
    assert isinstance(await desk.ask(object_id="y"), Full)
    await asyncio.sleep(10)
    assert await desk.ask(key="made") == first._replace(replayed=True)
    assert await desk.ask(key="made", body="other") == KeyReused(first.work.job_id)
    assert await desk.ask(on_conflict=ATTACH, key="attached") == Attached(waits.work.job_id)
    assert await desk.ask(on_conflict=AFTER) == Attached(waits.work.job_id)
    assert isinstance(await desk.ask(), Refused)
    # One that takes the place of another adds to what waits, for a moment.
    assert isinstance(await desk.ask(on_conflict=REPLACE), Full)


@virtually
async def test_who_was_admitted_before_is_told_so_though_the_backlog_is_full_and_its_object_has_gone_on():
    desk = crowded(2)
    window = Window(0.0)
    request = a_wish(window=window)
    first = await desk.ask(request)
    await desk.end(request.job_id)
    later = await desk.accepted(window=window)
    await desk.end(later)
    await asyncio.sleep(10)
    await desk.ask_all(*several(2))
    await asyncio.sleep(10)
    assert isinstance(await desk.ask(a_wish(window=window)), Full)
    assert await desk.ask(request) == first


@virtually
async def test_jobs_that_end_make_room_once_they_are_counted():
    desk = crowded(3)
    made = [answer.work.job_id for answer in await desk.ask_all(*several(3))]
    await asyncio.sleep(5)
    assert isinstance(await desk.ask(object_id="too many"), Full)
    await asyncio.sleep(0.1)
    for job_id in made[:2]:
        await desk.end(job_id)
    await asyncio.sleep(5)
    # Somebody has to ask before it is counted anew.
    full = await desk.ask(object_id="too early")
    await asyncio.sleep(full.retry_after_s)
    answers = await desk.ask_all(*several(3))
    assert [type(answer) for answer in answers] == [Accepted, Accepted, Full]


@virtually
async def test_jobs_are_counted_once_a_second_at_most_and_never_for_much_of_the_time():
    desk = crowded(1_000_000)
    for _ in range(100):
        await desk.ask(object_id=f"object-{next(numbers)}")
        await asyncio.sleep(0.1)
    assert 9 <= desk.jobs.counts <= 11
    desk.jobs.takes_s, desk.jobs.counts = 2.0, 0
    for _ in range(1_000):
        await desk.ask(object_id=f"object-{next(numbers)}")
        await asyncio.sleep(0.3)
    assert 2 <= desk.jobs.counts <= 1 + 300 / (2 / ceiling._AT_MOST_OF_THE_TIME)


@virtually
async def test_what_is_admitted_while_it_is_counted_is_not_forgotten():
    """It may count twice for a while: then somebody is sent away who need not have been."""
    desk = crowded(10)
    desk.jobs.takes_s = 1.0
    admitted = 0
    for _ in range(12):
        admitted += isinstance(await desk.ask(object_id=f"object-{next(numbers)}"), Accepted)
        await asyncio.sleep(0.3)
    assert 5 <= admitted <= 10
    for _ in range(100):
        admitted += isinstance(await desk.ask(object_id=f"object-{next(numbers)}"), Accepted)
        await asyncio.sleep(30)
    assert admitted == 10


@virtually
async def test_while_nobody_can_count_what_was_known_last_holds():
    desk = crowded(2)
    await desk.ask_all(*several(1))
    await asyncio.sleep(5)
    desk.jobs.away = True
    answers = []
    for _ in range(5):
        answers.append(await desk.ask(object_id=f"object-{next(numbers)}"))
        await asyncio.sleep(5)
    assert [type(answer) for answer in answers] == [Accepted, Full, Full, Full, Full]
    desk.jobs.away = False
    for job_id in list(desk.jobs.jobs):
        await desk.end(job_id)
    await desk.ask(object_id="asks")
    await asyncio.sleep(5)
    assert isinstance(await desk.ask(object_id="has room"), Accepted)


@virtually
async def test_an_error_in_counting_that_nobody_foresaw_does_not_end_it():
    desk = crowded(2)

    async def breaks(_limit):
        raise ZeroDivisionError

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    desk.jobs.backlog = breaks
    await desk.ask_all(*several(2))
    await asyncio.sleep(5)
    assert isinstance(await desk.ask(object_id="too many"), Full)
    del desk.jobs.backlog
    for job_id in list(desk.jobs.jobs):
        await desk.end(job_id)
    await asyncio.sleep(5)
    await desk.ask(object_id="asks")
    await asyncio.sleep(5)
    assert isinstance(await desk.ask(object_id="has room"), Accepted)


@virtually
async def test_without_a_ceiling_nobody_counts():
    desk = Desk(Counted(VirtualClock(asyncio.get_running_loop())))
    await desk.ask_all(*several(100))
    assert desk.jobs.counts == 0


# Memory ----------------------------------------------------------------------------------------


@virtually
async def test_nothing_of_a_request_is_kept_once_it_is_answered():
    desk = crowded(20)
    await desk.accepted()
    mine = Request, Attachment, Attached, Refused, Full, KeyReused
    before = {id(kept) for kept in gc.get_objects() if isinstance(kept, mine)}
    for n in range(20):
        wishes = [a_wish(on_conflict=ATTACH, key=f"key-{n}-{m}") for m in range(20)]
        await desk.ask_all(*wishes, *several(2, key=f"other-{n}"), *(a_wish() for _ in range(20)))
    await asyncio.sleep(5)
    del wishes
    gc.collect()
    after = [kept for kept in gc.get_objects() if isinstance(kept, mine)]
    assert [kept for kept in after if id(kept) not in before] == []
