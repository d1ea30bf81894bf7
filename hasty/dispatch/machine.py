"""Who runs what, when: the Dispatcher's rules as a state machine without I/O.

Events go in, commands come out, and the caller carries them out. The machine keeps what
can be rebuilt: the head of the queue, and which worker was given which job. MongoDB has the rest.

The queue here is a window on the backlog: it holds every live job up to a horizon in the
order of the queue. Jobs behind the horizon stay in MongoDB and come with a later sweep, so
memory is bounded however long the backlog is.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hasty.dispatch.commands import Command, Mark, Replace, Send, Settle, Sweep
from hasty.dispatch.events import (
    Attended,
    Drained,
    Event,
    Lost,
    Offered,
    Settled,
    SweepFailed,
    Swept,
    Ticked,
    Unanswered,
)
from hasty.job import Token, Work
from hasty.messages import Declined, Ended, Forward, Started

#: Jobs held in memory before the rest stays in MongoDB. Between one and two times as many are held.
CAPACITY = 4_000

#: Ends remembered, so that a sweep or an offer that was under way does not queue them again.
_REMEMBERED = 20_000

#: A small batch goes to one worker whole: an actor call costs as much as the claims of some fifty jobs.
_SMALLEST_SHARE = 32

#: One message carries so many jobs at most.
_LARGEST_SHARE = 500

#: And about so many bytes, unless one job alone is heavier.
_LARGEST_SHARE_BYTES = 16 * 1024 * 1024

#: Jobs that nobody forwarded wait so long at most.
SWEEP_EVERY_S = 5.0


@dataclass(slots=True)
class _Entry:
    """A job the machine holds: queued while it has no worker."""

    work: Work
    worker: str | None = None
    token: Token | None = None
    ended: bool = False

    @property
    def queued(self) -> bool:
        return self.worker is None and not self.ended


def _sends(worker: str, forwards: Iterable[Forward]) -> list[Command]:
    """Cut what a worker is given into messages of bounded size."""
    shares: list[list[Forward]] = []
    weight = 0
    for forward in forwards:
        weight += forward.work.weight
        if not shares or len(shares[-1]) == _LARGEST_SHARE or weight > _LARGEST_SHARE_BYTES:
            shares.append([])
            weight = forward.work.weight
        shares[-1].append(forward)
    return [Send(worker, tuple(share)) for share in shares]


def _order(entry: _Entry) -> tuple[int, datetime, str]:
    return entry.work.order


@dataclass(slots=True)
class _Member:
    """A worker that answered."""

    boot: int
    slots: int
    #: A set that keeps its order, so that a schedule can be replayed.
    jobs: dict[str, None] = field(default_factory=dict)
    #: It gets no new jobs, and is replaced once it has none.
    leaving: bool = False

    @property
    def free(self) -> int:
        return 0 if self.leaving else self.slots - len(self.jobs)


class Dispatch:
    """The state machine. Change it through `handle` only.

    It sends nothing until each of the `expected` workers has attended or was judged lost:
    a job that runs somewhere already must be found there, not started again.
    """

    def __init__(self, epoch: int, expected: Iterable[str], *, capacity: int = CAPACITY) -> None:
        """Start empty, under `epoch`."""
        self.epoch = epoch
        self._awaited = set(expected)
        self._capacity = capacity
        self._seq = 0
        self._draining = False
        self._entries: dict[str, _Entry] = {}
        self._queue: list[tuple[tuple[int, datetime, str], str]] = []
        self._queued = 0
        self._members: dict[str, _Member] = {}
        self._recent: OrderedDict[str, None] = OrderedDict()
        #: Everything live up to this place in the order is held; None: everything is.
        self._horizon: tuple[int, datetime, str] | None = None
        #: Since the last sweep began: a job was left out; jobs were given back to MongoDB.
        self._missed = False
        self._trimmed = False
        #: Offers behind the horizon while a sweep is under way: it may have read before they came.
        self._aside: list[Work] = []
        self._sweeping = False
        self._next_sweep = 0.0
        self._handlers: dict[type, Callable[[Any, float], list[Command]]] = {
            Offered: self._offered,
            Swept: self._swept,
            SweepFailed: self._sweep_failed,
            Attended: self._attended,
            Lost: self._lost,
            Unanswered: self._unanswered,
            Settled: self._settled,
            Drained: self._drained,
            Ticked: self._ticked,
            Started: self._started,
            Ended: self._ended,
            Declined: self._declined,
        }

    @property
    def queued(self) -> int:
        """Jobs that wait in memory."""
        return self._queued

    @property
    def running(self) -> int:
        """Jobs given to a worker and not settled yet."""
        return len(self._entries) - self._queued

    @property
    def ready(self) -> bool:
        """Whether jobs are sent: every expected worker was heard or judged, and one answered."""
        return not self._awaited and bool(self._members)

    def boot_of(self, worker: str) -> int:
        """Return the boot under which a worker attended last; 0 for one that is not known."""
        member = self._members.get(worker)
        return member.boot if member is not None else 0

    def holds(self, worker: str, job_ids: Iterable[str]) -> bool:
        """Whether any of these jobs is still that worker's."""
        member = self._members.get(worker)
        return member is not None and any(job_id in member.jobs for job_id in job_ids)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take an event at `now` (monotonic seconds); return what to do about it, in order."""
        return self._handlers[type(event)](event, now)

    # The queue -------------------------------------------------------------------------------

    def _offered(self, event: Offered, now: float) -> list[Command]:
        for work in event.works:
            if self._horizon is None or work.order <= self._horizon:
                self._push(work)
            elif self._sweeping and len(self._aside) < self._capacity:
                self._aside.append(work)
            else:
                self._missed = True
        self._trim()
        return self._assign(now)

    def _swept(self, event: Swept, now: float) -> list[Command]:
        self._sweeping = False
        if self._trimmed:
            # What was trimmed meanwhile comes before what was found: begin again.
            return self._assign(now)
        for work in event.works:
            self._push(work)
        if event.exhausted and not self._missed:
            for work in self._aside:
                self._push(work)
            self._horizon = None
        elif event.works:
            last = event.works[-1].order
            self._horizon = last if self._horizon is None else max(last, self._horizon)
        self._trim()
        return self._assign(now)

    def _sweep_failed(self, _event: SweepFailed, _now: float) -> list[Command]:
        self._sweeping = False
        return []

    def _push(self, work: Work) -> None:
        if work.job_id not in self._entries and work.job_id not in self._recent:
            self._entries[work.job_id] = _Entry(work)
            self._enqueue(work)

    def _enqueue(self, work: Work) -> None:
        heapq.heappush(self._queue, (work.order, work.job_id))
        self._queued += 1

    def _pop(self) -> _Entry | None:
        """Take the first queued entry. A job that left the queue another way left its key behind."""
        while self._queue:
            _, job_id = heapq.heappop(self._queue)
            entry = self._entries.get(job_id)
            if entry is not None and entry.queued:
                self._queued -= 1
                return entry
        return None

    def _trim(self) -> None:
        """Leave the tail to MongoDB once twice the capacity is held."""
        if self._queued <= 2 * self._capacity:
            return
        waiting = sorted((entry for entry in self._entries.values() if entry.queued), key=_order)
        kept, left = waiting[: self._capacity], waiting[self._capacity :]
        for entry in left:
            del self._entries[entry.work.job_id]
        # Sorted, so already a heap.
        self._queue = [(entry.work.order, entry.work.job_id) for entry in kept]
        self._queued = len(kept)
        self._horizon = kept[-1].work.order
        self._missed = self._trimmed = True

    def _ticked(self, _event: Ticked, now: float) -> list[Command]:
        return self._sweep(now) if now >= self._next_sweep else self._refill(now)

    def _refill(self, now: float) -> list[Command]:
        """Sweep when the window on the backlog runs low."""
        low = self._horizon is not None and self._queued < self._capacity // 2
        return self._sweep(now) if low else []

    def _sweep(self, now: float) -> list[Command]:
        if self._sweeping or self._awaited or self._draining:
            return []
        self._sweeping = True
        self._missed = self._trimmed = False
        self._aside = []
        self._next_sweep = now + SWEEP_EVERY_S
        return [Sweep(frozenset(self._entries), self._capacity)]

    # Workers ---------------------------------------------------------------------------------

    def _attended(self, event: Attended, now: float) -> list[Command]:
        """Greet a worker. A new boot, or one heard for the first time, puts its jobs in doubt."""
        self._awaited.discard(event.worker)
        member = self._members.get(event.worker)
        if member is not None and member.boot == event.boot:
            member.leaving = event.leaving
            done = member.leaving and not member.jobs and not self._awaited
            return ([Replace(event.worker)] if done else []) + self._assign(now)
        jobs = member.jobs if member is not None else {}
        member = self._members[event.worker] = _Member(event.boot, event.slots, jobs, event.leaving)
        for work in event.running:
            self._adopt(event.worker, member, work)
        return self._resend(event.worker, member.jobs) + self._assign(now)

    def _adopt(self, worker: str, member: _Member, work: Work) -> None:
        """Take note of a job that runs already; one that was given elsewhere since stays there."""
        entry = self._entries.setdefault(work.job_id, _Entry(work, worker=worker))
        if entry.queued:
            self._queued -= 1
            entry.worker = worker
        if entry.worker == worker:
            entry.token = entry.token or self._next_token()
            member.jobs[work.job_id] = None

    def _lost(self, event: Lost, now: float) -> list[Command]:
        """Queue the jobs of a worker again: the next forward carries a newer token."""
        self._awaited.discard(event.worker)
        member = self._members.pop(event.worker, None)
        for job_id in member.jobs if member is not None else ():
            entry = self._entries[job_id]
            entry.worker = entry.token = None
            if not entry.ended:
                self._enqueue(entry.work)
        return self._assign(now)

    def _unanswered(self, event: Unanswered, _now: float) -> list[Command]:
        """Ask again. Asking is sending again: what runs is joined, what ended is reported."""
        return self._resend(event.worker, event.job_ids)

    def _resend(self, worker: str, job_ids: Iterable[str]) -> list[Command]:
        member = self._members.get(worker)
        held = [self._entries[job_id] for job_id in job_ids if member and job_id in member.jobs]
        return _sends(worker, [Forward(e.work, e.token) for e in held if e.token and not e.ended])

    def _assign(self, now: float) -> list[Command]:
        """Give queued jobs to free slots: small batches whole, large ones spread evenly."""
        if self._awaited or self._draining:
            return []
        commands: list[Command] = []
        while self._queued:
            free = [name for name, member in self._members.items() if member.free > 0]
            if not free:
                break
            name = max(free, key=lambda name: self._members[name].free)
            share = max(_SMALLEST_SHARE, -(-self._queued // len(free)))
            commands += self._send(name, min(share, _LARGEST_SHARE, self._members[name].free))
        return commands + self._refill(now)

    def _send(self, worker: str, share: int) -> list[Command]:
        jobs = self._members[worker].jobs
        forwards = []
        for entry in filter(None, (self._pop() for _ in range(min(share, self._queued)))):
            entry.worker, entry.token = worker, self._next_token()
            jobs[entry.work.job_id] = None
            forwards.append(Forward(entry.work, entry.token))
        return _sends(worker, forwards)

    def _next_token(self) -> Token:
        self._seq += 1
        return Token(self.epoch, self._seq)

    def _drained(self, _event: Drained, _now: float) -> list[Command]:
        self._draining = True
        return []

    # Jobs ------------------------------------------------------------------------------------

    def _started(self, event: Started, _now: float) -> list[Command]:
        entry = self._entries.get(event.job_id)
        if entry is None or entry.ended or entry.worker != event.worker:
            return []
        return [Mark(event.job_id, event.worker, event.attempt, event.at)]

    def _ended(self, event: Ended, _now: float) -> list[Command]:
        """Settle, held or not: the ledger spoke. Its slot stays taken until that is written."""
        entry = self._entries.get(event.job_id)
        if entry is not None:
            self._queued -= entry.queued
            entry.ended = True
        return [Settle(event.job_id, event.outcome)]

    def _settled(self, event: Settled, now: float) -> list[Command]:
        for job_id in event.job_ids:
            self._forget(job_id)
            self._recent[job_id] = None
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return self._assign(now)

    def _declined(self, event: Declined, now: float) -> list[Command]:
        """Let go of a job that a newer token took. If nobody has it, a sweep brings it back."""
        entry = self._entries.get(event.job_id)
        if entry is not None and entry.token == event.token and not entry.ended:
            self._forget(event.job_id)
        return self._assign(now)

    def _forget(self, job_id: str) -> None:
        entry = self._entries.pop(job_id, None)
        if entry is None:
            return
        self._queued -= entry.queued
        if entry.worker in self._members:
            self._members[entry.worker].jobs.pop(job_id, None)
