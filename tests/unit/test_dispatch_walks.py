"""The Dispatcher's rules on random walks: whatever comes in whatever order, some things always hold.

Workers, ledger and backlog are models of a few lines; messages are lost, late and repeated. Each
walk is replayed by its seed.
"""

import os
import random
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from hasty.dispatch import (
    Attended,
    Dispatch,
    Drained,
    Lost,
    Offered,
    Send,
    Settle,
    Settled,
    Sweep,
    SweepFailed,
    Swept,
    Ticked,
    Unanswered,
)
from hasty.job import Outcome, Status, Token, Work
from hasty.messages import Declined, Ended, Started
from tests.unit.examples import NOW, a_work

FIRST_SEED = int(os.environ.get("HASTY_WALK_SEED", "1"))
WALKS = int(os.environ.get("HASTY_WALKS", "200"))
STEPS = 150


@dataclass
class Worker:
    """A worker as the Dispatcher meets it: it runs what it may claim, and tells of ends."""

    slots: int
    boot: int = 1
    silent: bool = False
    running: dict[str, Work] = field(default_factory=dict)
    #: Jobs that have ended here and whose end was not acknowledged.
    telling: dict[str, Work] = field(default_factory=dict)

    @property
    def attempts(self) -> tuple[Work, ...]:
        return (*self.running.values(), *self.telling.values())


class Walk:
    """A machine among models, and what must hold of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.capacity = self.random.choice([2, 5, 20])
        self.workers = {name: Worker(self.random.choice([1, 2, 40])) for name in ("a", "b", "c")}
        #: What MongoDB holds: live jobs, and how jobs ended; who claimed a job last.
        self.live: dict[str, Work] = {}
        self.all: dict[str, Work] = {}
        self.ends: dict[str, Outcome] = {}
        self.claims: dict[str, tuple[Token, str, int]] = {}
        #: What is under way.
        self.sends: list[Send] = []
        self.unanswered: list[Unanswered] = []
        self.sweeps: list[Sweep] = []
        self.found: list[Swept] = []
        self.reports: list[tuple[str, Ended | Declined | Started]] = []
        self.writes: list[str] = []
        self.written: list[str] = []
        self.epoch = 0
        self.drained = False
        self.take_office()

    # The machine, and what must hold -----------------------------------------------------------

    def take_office(self) -> None:
        """Start a new machine, as a new Dispatcher does; what the old one had under way is lost."""
        self.epoch += 1
        self.machine = Dispatch(self.epoch, self.workers, capacity=self.capacity)
        self.met = dict.fromkeys(self.workers, 0)
        self.newest_token = Token(self.epoch, 0)
        self.sweeps, self.found, self.unanswered = [], [], []
        if self.drained:
            self.handle(Drained())

    def handle(self, event) -> None:
        held_before = self.held()
        heard_all = not self.machine._awaited
        for command in self.machine.handle(event, self.now):
            match command:
                case Send():
                    heard_all = not self.machine._awaited
                    self.check_send(command, held_before, heard_all)
                    self.sends.append(command)
                    job_ids = tuple(forward.work.job_id for forward in command.forwards)
                    self.unanswered.append(Unanswered(command.worker, job_ids))
                case Sweep():
                    assert self.sweeps == self.found == [], "two sweeps at once"
                    assert heard_all
                    self.sweeps.append(command)
                case Settle():
                    assert command.outcome == self.ends[command.job_id]
                    self.writes.append(command.job_id)
        self.check(held_before)

    def held(self) -> dict[str, tuple[str, Token]]:
        """Who holds which job, and under which token."""
        machine = self.machine
        return {
            job_id: (name, machine._entries[job_id].token)
            for name, member in machine._members.items()
            for job_id in member.jobs
        }

    def check_send(self, command: Send, held_before, heard_all) -> None:
        assert 1 <= len(command.forwards) <= 500
        for work, token in command.forwards:
            assert work == self.all[work.job_id]
            assert token.epoch == self.epoch
            assert not self.machine._entries[work.job_id].ended, "asked for what has ended"
            if held_before.get(work.job_id) == (command.worker, token):
                continue  # sent again: the same decision, the same token
            assert token > self.newest_token, "a new decision needs a newer token"
            self.newest_token = token
            runs_there = work.job_id in {w.job_id for w in self.workers[command.worker].attempts}
            assert heard_all or runs_there, "sent before every worker was heard"
            assert runs_there or not self.drained, "sent while draining"

    def check(self, held_before) -> None:
        machine = self.machine
        entries, members = machine._entries, machine._members
        # A job is held by the worker its entry names, and by no other.
        held = [(name, job_id) for name, member in members.items() for job_id in member.jobs]
        assert sorted(held) == sorted((e.worker, job_id) for job_id, e in entries.items() if e.worker)
        assert len(held) == len({job_id for _, job_id in held})
        assert all(entries[job_id].token for _, job_id in held)
        # The counts are what the entries say.
        queued = [job_id for job_id, entry in entries.items() if entry.queued]
        assert machine.queued == len(queued)
        assert machine.running == len(entries) - len(queued)
        # Whatever waits is in the heap.
        assert set(queued) <= {job_id for _, job_id in machine._queue}
        # Nobody got more than there was room for; a worker may bring more with it.
        for name, member in members.items():
            new = [job_id for job_id in member.jobs if job_id not in held_before]
            brought = {work.job_id for work in self.workers[name].attempts}
            assert member.free >= 0 or not set(new) - brought, "sent to a worker without a free slot"
        # Memory is bounded: the window on the backlog, and what comes back from a lost worker.
        slots = sum(worker.slots for worker in self.workers.values())
        assert machine.queued <= 2 * self.capacity + 2 * slots

    # What happens ------------------------------------------------------------------------------

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def step(self) -> None:
        steps = {
            self.admit: 6,
            self.offer_late: 2,
            self.deliver: 8,
            self.lose_message: 1,
            self.ask_again: 3,
            self.end_one: 8,
            self.report: 8,
            self.write: 6,
            self.acknowledge: 6,
            self.read: 4,
            self.answer: 4,
            self.fail_sweep: 1,
            self.tick: 4,
            self.attend: 8,
            self.fall_silent: 1,
            self.judge: 1,
            self.restart_worker: 2,
            self.restart_dispatcher: 1,
        }
        (step,) = self.random.choices(list(steps), list(steps.values()))
        step()

    def pick(self, things):
        things = list(things)
        return things.pop(self.random.randrange(len(things))) if things else None

    def take(self, things: list):
        return things.pop(self.random.randrange(len(things))) if things else None

    def admit(self) -> None:
        """Some jobs are admitted; most are offered at once, some a little out of their order."""
        new = []
        for _ in range(self.random.choice([1, 1, 1, 3, 30])):
            at = NOW + timedelta(milliseconds=1_000 * len(self.all) - self.random.choice([0, 0, 0, 3_500]))
            job_id = f"job-{len(self.all)}"
            work = a_work(job_id, accepted_at=at, priority=self.random.choice([0, 0, 0, -1, 1]))
            self.live[job_id] = self.all[job_id] = work
            new.append(work)
        if self.random.random() < 0.8:
            self.handle(Offered(tuple(new)))

    def offer_late(self) -> None:
        """An offer was under way for long, or is repeated."""
        work = self.pick(self.all.values())
        if work is not None:
            self.handle(Offered((work,)))

    def deliver(self) -> None:
        """A Send arrives: the worker joins what it runs, claims the rest, and declines what it may not."""
        command = self.take(self.sends)
        if command is None or self.workers[command.worker].silent:
            return
        for work, token in command.forwards:
            self.run(command.worker, work, token)

    def run(self, name: str, work: Work, token: Token) -> None:
        worker, job_id = self.workers[name], work.job_id
        if job_id in worker.running or job_id in worker.telling:
            return
        if job_id in self.ends:
            self.tell_end(worker, name, work)
            return
        if not self.may_claim(name, job_id, token):
            self.reports.append((name, Declined(job_id, token)))
            return
        self.claims[job_id] = (token, name, worker.boot)
        worker.running[job_id] = work
        self.reports.append((name, Started(job_id, name, 1, work.accepted_at)))

    def may_claim(self, name: str, job_id: str, token: Token) -> bool:
        if job_id not in self.claims:
            return True
        last, who, boot = self.claims[job_id]
        return token > last or (token == last and name == who and boot < self.workers[name].boot)

    def tell_end(self, worker: Worker, name: str, work: Work) -> None:
        worker.telling[work.job_id] = work
        self.reports.append((name, Ended(work.job_id, self.ends[work.job_id])))

    def lose_message(self) -> None:
        self.take(self.sends)

    def ask_again(self) -> None:
        """A Run was answered, or not in time."""
        event = self.take(self.unanswered)
        if event is not None and self.machine.holds(event.worker, event.job_ids):
            self.handle(event)

    def end_one(self) -> None:
        """An attempt ends. Its outcome stands only if nobody claimed the job since."""
        name = self.pick(self.workers)
        worker = self.workers[name]
        job_id = self.pick(worker.running)
        if job_id is None:
            return
        work = worker.running.pop(job_id)
        if job_id not in self.ends and self.claims[job_id][1:] == (name, worker.boot):
            self.ends[job_id] = Outcome(Status.FINISHED, NOW, {"by": name})
        if job_id in self.ends:
            self.tell_end(worker, name, work)
        else:
            self.reports.append((name, Declined(job_id, self.claims[job_id][0])))

    def report(self) -> None:
        """A report arrives, perhaps not for the last time."""
        report = self.take(self.reports)
        if report is None:
            return
        name, fact = report
        if isinstance(fact, Ended) and self.random.random() < 0.2:
            self.reports.append(report)
        if not self.workers[name].silent:
            self.handle(fact)

    def write(self) -> None:
        """The end of a job gets into hasty_api."""
        job_id = self.take(self.writes)
        if job_id is not None:
            self.live.pop(job_id, None)
            self.written.append(job_id)

    def acknowledge(self) -> None:
        """The Dispatcher hears that it was written, and acknowledges to the worker."""
        job_id = self.take(self.written)
        if job_id is None:
            return
        self.handle(Settled((job_id,)))
        for worker in self.workers.values():
            worker.telling.pop(job_id, None)

    def read(self) -> None:
        """MongoDB answers a sweep as things stand now; the answer is under way."""
        sweep = self.take(self.sweeps)
        if sweep is not None:
            found = (work for job_id, work in self.live.items() if job_id not in sweep.skip)
            ordered = sorted(found, key=lambda work: work.order)
            exhausted = len(ordered) <= sweep.limit
            self.found.append(Swept(tuple(ordered[: sweep.limit]), exhausted))

    def answer(self) -> None:
        swept = self.take(self.found)
        if swept is not None:
            self.handle(swept)

    def fail_sweep(self) -> None:
        if self.take(self.sweeps):
            self.handle(SweepFailed())

    def tick(self) -> None:
        self.now += self.random.choice([0.25, 0.25, 6.0])
        self.handle(Ticked())

    def attend(self) -> None:
        """A worker says how it is; what it runs only to a Dispatcher that has not met it."""
        name = self.pick(self.workers)
        worker = self.workers[name]
        if worker.silent:
            return
        running = () if self.met[name] == worker.boot else worker.attempts
        self.met[name] = worker.boot
        self.handle(Attended(name, worker.boot, worker.slots, running))

    def fall_silent(self) -> None:
        """A worker is frozen or cut off; it may thaw."""
        worker = self.workers[self.pick(self.workers)]
        worker.silent = not worker.silent

    def judge(self) -> None:
        name = self.pick(name for name, worker in self.workers.items() if worker.silent)
        if name is not None:
            self.met[name] = 0
            self.handle(Lost(name))

    def restart_worker(self) -> None:
        worker = self.workers[self.pick(self.workers)]
        worker.boot += 1
        worker.silent = False
        worker.running.clear()
        worker.telling.clear()

    def restart_dispatcher(self) -> None:
        self.take_office()

    # The end -----------------------------------------------------------------------------------

    def settle_down(self) -> None:
        """Nothing fails any more: every job must come to its end."""
        for worker in self.workers.values():
            worker.silent = False
        for _ in range(20 + len(self.live) * 4):
            for name in self.workers:
                worker = self.workers[name]
                running = () if self.met[name] == worker.boot else worker.attempts
                self.met[name] = worker.boot
                self.handle(Attended(name, worker.boot, worker.slots, running))
            self.now += 1.0
            self.handle(Ticked())
            self.empty(self.sweeps, self.read)
            self.empty(self.found, self.answer)
            self.empty(self.sends, self.deliver)
            while any(worker.running for worker in self.workers.values()):
                self.end_one()
            # What was told and not acknowledged is told again.
            for name, worker in self.workers.items():
                self.reports += [(name, Ended(job_id, self.ends[job_id])) for job_id in worker.telling]
            for _, fact in self.reports:
                self.handle(fact)
            self.reports = []
            self.empty(self.writes, self.write)
            self.empty(self.written, self.acknowledge)
            self.empty(list(self.unanswered), self.ask_again)
            if not self.live and not self.machine._entries:
                return
        raise AssertionError(f"{len(self.live)} jobs are never sent, {self.machine._entries.keys()} kept")

    def empty(self, things: list, step) -> None:
        for _ in range(len(things)):
            step()


def walk(seed: int) -> Walk:
    """Take a walk to its end, checking at every step."""
    try:
        walk = Walk(seed)
        walk.steps(STEPS)
        walk.settle_down()
        assert walk.ends.keys() == walk.all.keys()
    except BaseException as error:
        error.add_note(f"replay with HASTY_WALK_SEED={seed} HASTY_WALKS=1")
        raise
    return walk


@pytest.mark.parametrize("block", range(5))
def test_whatever_happens_no_job_is_held_twice_or_forgotten(block):
    each = -(-WALKS // 5)
    for seed in range(FIRST_SEED + block * each, FIRST_SEED + (block + 1) * each):
        walk(seed)


@pytest.mark.parametrize("seed", [429])
def test_walks_that_once_found_something_find_it_no_more(seed):
    walk(seed)


def test_a_walk_is_replayed_exactly_by_its_seed():
    one, two = walk(7), walk(7)
    assert (one.all, one.ends, one.claims) == (two.all, two.ends, two.claims)
    assert len(one.all) > 10


def test_on_any_walk_draining_gives_nothing_new_and_loses_nothing():
    for seed in range(1, 41):
        walk = Walk(seed)
        walk.steps(STEPS // 2)
        walk.drained = True
        walk.handle(Drained())
        walk.steps(STEPS // 2)
        walk.drained = False
        walk.take_office()
        walk.settle_down()
        assert walk.ends.keys() == walk.all.keys()
