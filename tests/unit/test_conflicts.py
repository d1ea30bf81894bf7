"""The rule where an object's last job stands in the way, as clients are told it: with every `on_conflict`."""

import random
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasty.job import KEPT_AFTER_WINDOW, Job, Outcome, Status, Window, fence
from hasty.messages import Attached, OnConflict, Reason, Refused
from hasty.rerun import Begin, GiveWay, Past, PutOff, begun, decide, opening, turn
from hasty.store.base import kept_until, settled_fields
from tests.unit.examples import NOW, a_job, a_request, after, repeatable

REJECT, ATTACH, REPLACE, AFTER = OnConflict

FINALS = (Status.CANCELLED, Status.FAILED, Status.FINISHED)

MS = timedelta(milliseconds=1)


def a_waiting(job_id="job-0", **changes):
    """A job that is scheduled since it was accepted, as the rule makes it."""
    about = {"status": Status.SCHEDULED, "window": Window(300.0), "due_at": NOW, "turn_due": NOW}
    return a_job(job_id, **(about | changes))


#: How the object's last job may stand, seen 100 s after it was accepted, or had its turn.
STANDINGS = {
    "live, shut": a_job("job-0", status=Status.RUNNING),
    "live, open": a_job("job-0", status=Status.RUNNING, opens_at=after(60)),
    "live, moves": a_job("job-0", status=Status.RUNNING, window=Window(300.0, from_end=True)),
    "ended, shut": a_job("job-0", status=Status.FAILED),
    "ended, open": a_job("job-0", status=Status.FAILED, opens_at=after(100)),
    "waits": a_waiting(due_at=after(1_000), turn_due=after(1_000), opens_at=after(1_300)),
}

AT = after(100)

WINDOW, UNFINISHED = Refused(Reason.WINDOW, "job-0", 200.0), Refused(Reason.UNFINISHED, "job-0", 5.0)
NOT_YET_OPEN = Refused(Reason.WINDOW, "job-0", 1_200.0)


class Made(NamedTuple):
    """A job that the rule makes: when it is due (None: it is queued), and what it may do then."""

    due_at: datetime | None = None
    replaces: bool = False
    forced: bool = False


#: One line for each case: without and with `force`, what becomes of each wish.
TABLE = {
    ("live, shut", False): (WINDOW, Attached("job-0"), Made(AT, replaces=True), Made(after(300))),
    ("live, open", False): (UNFINISHED, Attached("job-0"), Made(AT, replaces=True), Made(AT)),
    # Its end may open the window sooner than is known: so it is looked.
    ("live, moves", False): (WINDOW, Attached("job-0"), Made(AT, replaces=True), Made(AT)),
    ("ended, shut", False): (WINDOW, Attached("job-0"), WINDOW, Made(after(300))),
    ("ended, open", False): (Made(), Made(), Made(), Made()),
    ("waits", False): (NOT_YET_OPEN, Attached("job-0"), Made(AT, replaces=True), Attached("job-0")),
    ("live, shut", True): (
        UNFINISHED,
        Attached("job-0"),
        Made(AT, replaces=True, forced=True),
        Made(AT, forced=True),
    ),
    ("live, open", True): (
        UNFINISHED,
        Attached("job-0"),
        Made(AT, replaces=True, forced=True),
        Made(AT, forced=True),
    ),
    ("live, moves", True): (
        UNFINISHED,
        Attached("job-0"),
        Made(AT, replaces=True, forced=True),
        Made(AT, forced=True),
    ),
    ("ended, shut", True): (Made(), Made(), Made(), Made()),
    ("ended, open", True): (Made(), Made(), Made(), Made()),
    ("waits", True): (
        UNFINISHED,
        Attached("job-0"),
        Made(AT, replaces=True, forced=True),
        Attached("job-0"),
    ),
}

CASES = [
    (standing, force, on_conflict, verdict)
    for (standing, force), verdicts in TABLE.items()
    for on_conflict, verdict in zip(OnConflict, verdicts, strict=True)
]


def in_short(verdict):
    if not isinstance(verdict, Job):
        return verdict
    return Made(verdict.due_at, verdict.replaces, verdict.forced)


@pytest.mark.parametrize(("standing", "force", "on_conflict", "verdict"), CASES)
def test_what_becomes_of_a_wish_where_a_job_may_stand_in_the_way(standing, force, on_conflict, verdict):
    last = STANDINGS[standing]
    request = a_request(on_conflict=on_conflict, force=force)
    made = decide(Past(last, last), request, AT)
    assert in_short(made) == verdict
    if isinstance(made, Job):
        scheduled = verdict.due_at is not None
        assert (made.status, made.run) == (Status.SCHEDULED if scheduled else Status.QUEUED, 2)
        assert (made.turn_due, made.follows) == (verdict.due_at, "job-0" if scheduled else None)
        assert made.accepted_at == AT


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("on_conflict", list(OnConflict))
@pytest.mark.parametrize("past", [None, Past(a_waiting(status=Status.CANCELLED, run=7), None)])
def test_where_nothing_stands_in_the_way_every_wish_is_granted_at_once(past, on_conflict, force):
    """Also where the newest job is one that ended before it had its turn, and what it followed is gone."""
    made = decide(past, a_request(on_conflict=on_conflict, force=force), AT)
    assert in_short(made) == Made()
    assert (made.run, made.status, made.opens_at) == (8 if past else 1, Status.QUEUED, after(400))
    assert made.window is None


@pytest.mark.parametrize("on_conflict", list(OnConflict))
def test_a_job_that_ended_before_its_turn_does_not_count_and_the_one_before_it_does(on_conflict):
    passed_over = a_waiting("job-9", status=Status.CANCELLED, run=2, opens_at=after(10_000))
    for name, standing in STANDINGS.items():
        made = decide(Past(passed_over, standing), a_request(on_conflict=on_conflict), AT)
        assert in_short(made) == TABLE[name, False][list(OnConflict).index(on_conflict)]
        assert not isinstance(made, Job) or made.run == 3


@pytest.mark.parametrize("on_conflict", list(OnConflict))
@pytest.mark.parametrize("status", list(Status))
def test_a_request_that_meets_itself_gets_its_own_job_whatever_it_wants(status, on_conflict):
    own = a_job("job-1", status=status)
    assert decide(Past(own, own), a_request(on_conflict=on_conflict), AT) is own
    waits = a_waiting("job-1", status=status)
    assert decide(Past(waits, STANDINGS["live, shut"]), a_request(on_conflict=on_conflict), AT) is waits


# For later -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "due_at"),
    [
        ({"delay_s": 0.0}, None),
        ({"delay_s": 0.0001}, AT + MS),
        ({"delay_s": 7.5}, after(107.5)),
        ({"run_at": AT}, None),
        ({"run_at": after(-9)}, None),
        ({"run_at": AT + MS}, AT + MS),
        ({"run_at": after(5_000)}, after(5_000)),
    ],
    ids=str,
)
def test_a_job_for_later_is_scheduled_and_its_window_counts_from_then(wanted, due_at):
    made = decide(None, a_request(queue_timeout_s=9.0, **wanted), AT)
    assert in_short(made) == Made(due_at)
    assert (made.status is Status.SCHEDULED, made.turn_due) == (due_at is not None, due_at)
    assert made.opens_at == (due_at or AT) + timedelta(seconds=300)
    assert made.expires_at == made.opens_at + KEPT_AFTER_WINDOW
    # It is patient until it may start.
    scheduled = due_at is not None
    assert (made.patience_s, made.give_up_at) == ((9.0, None) if scheduled else (None, after(109)))


@pytest.mark.parametrize("on_conflict", list(OnConflict))
@pytest.mark.parametrize("name", list(STANDINGS))
def test_a_wish_for_later_meets_the_same_answers_and_is_due_no_sooner(name, on_conflict):
    standing = STANDINGS[name]
    expected = TABLE[name, False][list(OnConflict).index(on_conflict)]
    for delay_s in (50.0, 5_000.0):
        made = decide(Past(standing, standing), a_request(on_conflict=on_conflict, delay_s=delay_s), AT)
        if not isinstance(expected, Made):
            assert made == expected
        else:
            wanted = AT + timedelta(seconds=delay_s)
            assert in_short(made) == expected._replace(due_at=max(expected.due_at or wanted, wanted))
            assert made.follows == "job-0"


# Whose turn it is ------------------------------------------------------------------------------

WAITS = a_waiting("job-1", follows="job-0", run=2)


@pytest.mark.parametrize("changes", [{}, {"replaces": True}, {"forced": True}], ids=str)
def test_a_job_whose_predecessor_is_forgotten_or_never_was_begins(changes):
    assert turn(replace(WAITS, **changes), None, AT) == Begin()


@pytest.mark.parametrize("name", ["live, shut", "live, open", "live, moves", "waits"])
def test_nobody_begins_beside_a_job_that_has_not_ended(name):
    ahead = STANDINGS[name]
    for changes in ({}, {"forced": True}):
        said = turn(replace(WAITS, **changes), ahead, AT)
        assert isinstance(said, PutOff) and said.follows == "job-0"
        assert AT < said.until <= AT + timedelta(minutes=1)
    assert turn(replace(WAITS, replaces=True), ahead, AT) == GiveWay(ahead)


@pytest.mark.parametrize(
    ("waited_s", "again_s"), [(0, 5), (9, 5), (11, 5.5), (60, 30), (119, 59.5), (121, 60), (10**6, 60)]
)
def test_who_waits_looks_less_and_less_often(waited_s, again_s):
    now = after(waited_s)
    assert turn(WAITS, STANDINGS["live, shut"], now) == PutOff(now + timedelta(seconds=again_s), "job-0")


@pytest.mark.parametrize("changes", [{"replaces": True}, {"forced": True}], ids=str)
def test_only_who_may_begins_before_the_window_opens_and_keeps_it_in_mind(changes):
    shut = STANDINGS["ended, shut"]
    assert turn(WAITS, shut, AT) == PutOff(after(300), "job-0")
    assert turn(WAITS, shut, after(300) - MS) == PutOff(after(300), "job-0")
    assert turn(WAITS, shut, after(300)) == Begin(after(300))
    assert turn(replace(WAITS, **changes), shut, AT) == Begin(after(300))


@pytest.mark.parametrize("changes", [{}, {"replaces": True}, {"forced": True}], ids=str)
def test_where_the_predecessor_ended_without_a_turn_the_one_before_it_is_followed(changes):
    for status in FINALS:
        gone = a_waiting(status=status, follows="job-before", opens_at=after(99_999))
        assert turn(replace(WAITS, **changes), gone, AT) == PutOff(AT, "job-before")
        assert turn(replace(WAITS, **changes), replace(gone, follows=None), AT) == PutOff(AT, None)


@pytest.mark.parametrize("ahead", [None, STANDINGS["ended, open"], STANDINGS["live, open"]])
@pytest.mark.parametrize("changes", [{}, {"replaces": True}, {"forced": True}], ids=str)
def test_nobody_begins_before_it_is_due_nor_ends_another_for_it(changes, ahead):
    """It may be looked at sooner: the end of the job that it follows is told at once."""
    job = replace(WAITS, due_at=after(500), turn_due=AT, **changes)
    assert turn(job, ahead, AT) == PutOff(after(500), "job-0")
    assert turn(job, ahead, after(500) - MS) == PutOff(after(500), "job-0")
    assert turn(job, ahead, after(500)) != PutOff(after(500), "job-0")


def test_a_job_that_has_its_turn_is_as_one_that_was_accepted_then():
    waits = decide(
        Past(STANDINGS["live, shut"], STANDINGS["live, shut"]),
        a_request(on_conflict=AFTER, queue_timeout_s=9.0001, labels=(("a", "b"),), idempotency_key="k"),
        AT,
    )
    now = after(1_000)
    job = begun(waits, Begin(after(400)), now)
    assert job == replace(
        waits,
        status=Status.QUEUED,
        opens_at=after(1_300),
        expires_at=after(1_300) + KEPT_AFTER_WINDOW,
        window=Window(300.0, not_before=after(400)),
        give_up_at=after(1_009.001),
        turn_due=None,
        follows=None,
        patience_s=None,
    )
    assert job.due_at == after(300)


def test_a_window_opens_no_sooner_than_the_one_that_it_began_within():
    job = begun(replace(WAITS, window=Window(1.0)), Begin(after(300)), AT)
    assert (job.opens_at, job.expires_at) == (after(300), after(300) + KEPT_AFTER_WINDOW)
    assert opening(job.work(), Status.FAILED, after(150)) is None
    moves = begun(replace(WAITS, window=Window(1.0, after=())), Begin(after(300)), AT)
    assert opening(moves.work(), Status.FAILED, after(150)) == after(300)
    assert opening(moves.work(), Status.FAILED, after(350)) == after(350)


def test_who_replaces_a_job_for_next_year_shuts_the_object_for_no_more_than_its_own_window():
    """That one never had its turn: its window does not count, whatever was known when it stood there."""
    next_year = decide(None, a_request("job-0", delay_s=365 * 86_400.0), NOW)
    now = decide(Past(next_year, next_year), a_request("job-1", on_conflict=REPLACE), AT)
    assert turn(now, next_year, AT) == GiveWay(next_year)
    ended = replace(next_year, status=Status.CANCELLED, ended_at=AT)
    assert turn(now, ended, AT) == PutOff(AT, None)
    job = begun(replace(now, follows=None), Begin(), AT)
    assert (job.opens_at, job.window) == (after(400), Window(300.0))


# Histories -------------------------------------------------------------------------------------

#: How long a record is kept after its end, at least.
KEEP = timedelta(days=3)

#: A wish for later; far enough to outlive the records of those before it.
DELAYS = (None, None, None, 0.0, 3.0, 45.0, 5 * 86_400.0)

WINDOWS = (
    *[Window(20.0)] * 3,
    Window(0.0),
    Window(5.0, from_end=True),
    Window(30.0, after=(Status.FINISHED,)),
    Window(10.0, from_end=True, after=(Status.FINISHED, Status.FAILED)),
)


class Fact:
    """What is known of one job by somebody who only knows what was promised."""

    def __init__(self, request, at):
        self.job_id, self.request, self.accepted_at = request.job_id, request, at
        self.not_before = at + timedelta(seconds=request.delay_s or 0.0)
        self.turn_at = self.ended_at = self.status = None
        self.replaces = False
        #: Since when it could have begun.
        self.ready_at = None

    @property
    def live(self):
        return self.ended_at is None

    @property
    def counts(self):
        return self.live or self.turn_at is not None


class Model:
    """One object's history, told naively: a list of jobs, and the rules as the text has them."""

    def __init__(self):
        self.facts = []

    def last(self, before=None):
        """The last job that counts: not one that ended without its turn."""
        earlier = self.facts[: self.facts.index(before)] if before is not None else self.facts
        return next((fact for fact in reversed(earlier) if fact.counts), None)

    def opens_at(self, fact):
        """When the window of a job that had its turn opens, as far as that is known."""
        window = fact.request.window
        opens_at = fact.turn_at + timedelta(seconds=window.seconds)
        if not fact.live and fact.status not in window.after:
            opens_at = fact.ended_at
        elif not fact.live and window.from_end:
            opens_at = fact.ended_at + timedelta(seconds=window.seconds)
        earlier = self.facts[: self.facts.index(fact)]
        before = [self.opens_at(other) for other in earlier if other.turn_at is not None]
        return max([opens_at, *before])

    def shut(self, fact, now):
        return fact.turn_at is not None and now < self.opens_at(fact)

    def expected(self, request, now):
        """What a client must be answered: a kind of answer, and the job that it names."""
        last = self.last()
        in_the_way = last is not None and (last.live or (self.shut(last, now) and not request.force))
        if not in_the_way:
            return ("made later" if request.delay_s else "made"), None
        match request.on_conflict:
            case OnConflict.ATTACH:
                return "attached", last.job_id
            case OnConflict.AFTER if last.live and last.turn_at is None:
                return "attached", last.job_id
            case OnConflict.AFTER:
                return "made later", None
            case OnConflict.REPLACE if last.live:
                return "made later", None
        return "refused", last.job_id

    def ready(self, fact, now):
        """Whether a job that waits may begin, once those are ended that it replaces."""
        if now < fact.not_before:
            return False
        last = self.last(fact)
        if last is None or fact.replaces:
            return True
        return not last.live and (fact.request.force or not self.shut(last, now))

    def watch(self, now):
        """Note since when each could have begun."""
        for fact in self.facts:
            if fact.live and fact.turn_at is None:
                fact.ready_at = (fact.ready_at or now) if self.ready(fact, now) else None


class World:
    """The stores and the actors around the rule, and everything may come late: beside it the model."""

    def __init__(self, *, told):
        self.jobs, self.model = {}, Model()
        self.now, self.number = NOW, 0
        #: Whether ends are told to those that wait for them.
        self.told = told
        #: Whether something was done late: then it may have undone what somebody was told.
        self.untimely = False
        self.facts = {}

    # The Registry

    def past(self):
        """As it reads: the newest, and the last that counts."""
        newest = max(self.jobs.values(), key=lambda job: job.run, default=None)
        if newest is None:
            return None
        return Past(newest, self.standing(newest.run + 1))

    def standing(self, below):
        counting = [job for job in self.jobs.values() if job.run < below and not job.passed_over]
        return max(counting, key=lambda job: job.run, default=None)

    def ask(self, on_conflict, force, delay_s, window, late):
        self.number += 1
        wish = {"on_conflict": on_conflict, "force": force, "delay_s": delay_s, "window": window}
        request = a_request(f"job-{self.number}", **wish)
        past = self.past()
        verdict = decide(past, request, self.now)
        self.check(request, verdict, past)
        if isinstance(verdict, Job):
            if late:
                return [partial(self.insert, verdict, request)]
            self.insert(verdict, request)
        return []

    def check(self, request, verdict, past):
        kind, job_id = self.model.expected(request, self.now)
        match verdict:
            case Refused():
                assert (kind, job_id) == ("refused", verdict.job_id)
                self.check_refusal(request, verdict)
            case Attached():
                assert (kind, job_id) == ("attached", verdict.job_id)
            case Job(status=Status.QUEUED):
                assert kind == "made"
            case Job():
                assert kind == "made later"
        if isinstance(verdict, Job) and past is not None:
            assert verdict.run == past.newest.run + 1
            assert fence(verdict.accepted_at, 1) > fence(past.newest.accepted_at, 1_023)

    def check_refusal(self, request, refused):
        last = self.model.last()
        if last.turn_at is None:
            assert refused.retry_after_s > 0
        elif not request.force and self.model.shut(last, self.now):
            left = (self.model.opens_at(last) - self.now).total_seconds()
            assert refused == Refused(Reason.WINDOW, last.job_id, left)
        else:
            assert refused.reason is Reason.UNFINISHED

    def insert(self, job, request):
        """Unless its run is taken: then the Registry decides anew."""
        if any(other.run == job.run for other in self.jobs.values()):
            return
        fact = self.facts[job.job_id] = Fact(request, job.accepted_at)
        fact.replaces = job.replaces
        self.jobs[job.job_id] = job
        self.model.facts.append(fact)
        if not job.waits_for_turn:
            self.begin(fact, job.accepted_at)

    # The Dispatcher

    def look(self, late=False):
        """Look at whoever may have its turn, until nobody is left; or carry out later what was said."""
        steps = []
        while due := [j for j in self.jobs.values() if j.live and j.turn_due and j.turn_due <= self.now]:
            for job in sorted(due, key=lambda job: (job.turn_due, job.job_id)):
                ahead = self.jobs.get(job.follows)
                if job.follows is not None and ahead is None:
                    ahead = self.standing(job.run)
                    job = replace(job, follows=ahead and ahead.job_id)  # noqa: PLW2901
                match turn(job, ahead, self.now):
                    case Begin() as said:
                        steps.append(partial(self.began, begun(job, said, self.now), self.now))
                    case PutOff() as said:
                        steps.append(partial(self.put_off, job.job_id, said))
                    case GiveWay(ahead):
                        assert job.replaces
                        steps.append(partial(self.end, ahead.job_id, Status.CANCELLED))
            if late:
                self.untimely = True
                return steps
            for step in steps:
                step()
            steps = []
        self.check_promptness()
        self.check_windows()
        return []

    def began(self, job, at):
        if self.waits(job.job_id):
            self.jobs[job.job_id] = job
            self.begin(self.facts[job.job_id], at)

    def put_off(self, job_id, said):
        if self.waits(job_id):
            self.jobs[job_id] = replace(self.jobs[job_id], turn_due=said.until, follows=said.follows)

    def waits(self, job_id):
        job = self.jobs.get(job_id)
        return job is not None and job.live and job.waits_for_turn

    def begin(self, fact, at):
        """A job may run from now on: the heart of it."""
        others = [other.job_id for other in self.model.facts if other.turn_at is not None and other.live]
        assert others == [], "two of an object may run"
        assert at >= fact.not_before, "it began too soon"
        last = self.model.last(fact)
        despite = fact.replaces or fact.request.force
        assert last is None or despite or not self.model.shut(last, at), "two within a window"
        fact.turn_at = at

    def check_promptness(self):
        """Whoever could begin has begun: at once where it was told, or a minute later at most."""
        self.model.watch(self.now)
        for fact in self.model.facts:
            if fact.live and fact.turn_at is None and fact.ready_at is not None:
                assert not self.told or self.untimely, f"{fact.job_id} was told, and did not begin"
                assert self.now - fact.ready_at <= timedelta(minutes=1), f"{fact.job_id} was forgotten"

    def check_windows(self):
        for fact in self.model.facts:
            if fact.turn_at is not None and fact.job_id in self.jobs:
                assert self.jobs[fact.job_id].opens_at == self.model.opens_at(fact)

    # Ends

    def end(self, job_id, status):
        job = self.jobs.get(job_id)
        if job is None or not job.live:
            return
        outcome = Outcome(status, self.now, opens_at=opening(job.work(), status, self.now))
        until = self.now + KEEP
        kept = until if job.waits_for_turn else max(job.expires_at, kept_until(outcome, until))
        self.jobs[job_id] = replace(job, **settled_fields(outcome), expires_at=kept)
        self.facts[job_id].ended_at, self.facts[job_id].status = self.now, status
        if self.told:
            self.tell(job_id)

    def tell(self, job_id):
        for job in self.jobs.values():
            if self.waits(job.job_id) and job.follows == job_id and job.turn_due > self.now:
                self.jobs[job.job_id] = replace(job, turn_due=self.now)

    def forget(self):
        """Records go when they may, also those that others still follow."""
        old = [job for job in self.jobs.values() if not job.live and job.expires_at <= self.now]
        for job in old:
            del self.jobs[job.job_id]

    def pass_time(self, seconds):
        self.model.watch(self.now)
        self.now += timedelta(seconds=seconds)
        self.forget()


PASSING = (0.001, 1.0, 4.999, 5.0, 20.0, 61.0, 2 * 86_400.0)

#: What may come next, as often as it is named.
STEPS = ("ask", "ask", "ask", "end", "end", "cancel", "passes", "passes", "look", "look", "look", "catch up")


def some_history(chance):
    """Clients with every wish, ends, cancels, time that passes, and what was decided is done late."""
    force, late = (False, False, True), (False, False, False, True)
    draw = {
        "ask": lambda: tuple(map(chance.choice, (tuple(OnConflict), force, DELAYS, WINDOWS, late))),
        "end": lambda: (chance.choice(FINALS),),
        "cancel": lambda: (chance.randrange(4),),
        "passes": lambda: (chance.choice(PASSING),),
        "look": lambda: (chance.choice(late),),
        "catch up": lambda: (chance.choice((False, True)),),
    }
    return [(step, *draw[step]()) for step in chance.choices(STEPS, k=chance.randrange(2, 40))]


class Story:
    """Lets a history happen, in a world that checks what the rule says."""

    def __init__(self, *, told):
        self.world, self.late = World(told=told), []

    def follow(self, history):
        for what, *about in history:
            getattr(self, what.replace(" ", "_"))(*about)
        come_to_rest(self.world)

    def ask(self, *about):
        self.late += self.world.ask(*about)

    def end(self, status):
        for fact in [f for f in self.world.model.facts if f.turn_at is not None and f.live]:
            self.world.end(fact.job_id, status)

    def cancel(self, number):
        live = [fact.job_id for fact in self.world.model.facts if fact.live]
        for job_id in live[number : number + 1]:
            self.world.end(job_id, Status.CANCELLED)

    def passes(self, seconds):
        self.world.pass_time(seconds)
        # Nothing is as late as records are old when they are forgotten.
        self.late = self.late if seconds < 86_400.0 else []

    def look(self, late):
        self.late += self.world.look(late)

    def catch_up(self, backwards):
        for step in reversed(self.late) if backwards else self.late:
            step()
        self.late = []


@settings(repeatable, max_examples=2_500)
@given(st.integers(0, 2**32), st.booleans())
def test_no_two_of_an_object_run_at_once_or_within_a_window_and_nobody_is_forgotten(seed, told):
    history = some_history(random.Random(seed))
    try:
        Story(told=told).follow(history)
    except BaseException as error:
        error.add_note("\n".join(map(str, history)))
        raise


def test_an_end_that_is_told_lets_nobody_start_before_the_time_that_was_asked_for():
    history = [
        ("ask", REJECT, False, None, Window(20.0), False),
        ("ask", AFTER, False, None, Window(20.0), False),
        ("cancel", 1),
        ("ask", REPLACE, False, 45.0, Window(20.0), False),
        ("end", Status.FINISHED),
    ]
    Story(told=True).follow(history)


def come_to_rest(world):
    """Everybody who waits has its turn once nothing new comes, and whatever runs ends."""
    for _ in range(200):
        world.look()
        running = [fact for fact in world.model.facts if fact.turn_at is not None and fact.live]
        for fact in running:
            world.end(fact.job_id, Status.FINISHED)
        world.look()
        if not any(fact.live for fact in world.model.facts):
            return
        due = [job.turn_due for job in world.jobs.values() if job.live and job.turn_due]
        world.pass_time(max(0.0, (min(due) - world.now).total_seconds()) if due else 1.0)
    raise AssertionError([fact.job_id for fact in world.model.facts if fact.live])
