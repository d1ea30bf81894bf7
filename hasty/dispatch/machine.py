"""Who runs what, when: the Dispatcher's rules for one pool, as a state machine without I/O.

Events go in, commands come out, and the caller carries them out. The machine keeps what
can be rebuilt: the head of the queue, and which worker was given which job. MongoDB has the rest.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hasty.autoscale import Load
from hasty.dispatch.backlog import CAPACITY, Backlog
from hasty.dispatch.commands import Command, Dismiss, Halt, Mark, Postpone, Send, Settle, Sweep
from hasty.dispatch.crew import Crew
from hasty.dispatch.events import (
    Attended,
    Closed,
    Dismissed,
    Drained,
    Event,
    Lost,
    Offered,
    Planned,
    Postponed,
    Settled,
    SweepFailed,
    Swept,
    Ticked,
    Unanswered,
)
from hasty.job import Token, Work
from hasty.messages import Declined, Deferred, Ended, Forward, Started
from hasty.pools import DEFAULT_POOL

#: Ends remembered, so that a sweep or an offer that was under way does not queue them again.
_REMEMBERED = 20_000

#: A small batch goes to one worker whole: an actor call costs as much as the claims of some fifty jobs.
_SMALLEST_SHARE = 32

#: One message carries so many jobs at most.
_LARGEST_SHARE = 500

#: And about so many bytes, unless one job alone is heavier.
_LARGEST_SHARE_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class _Entry:
    """A job that was given to a worker, or has ended, and is not done with."""

    work: Work | None
    worker: str | None
    token: Token | None
    ended: bool = False


class Tokens:
    """Gives each forward of one epoch a token of its own: a later one is greater."""

    def __init__(self, epoch: int) -> None:
        """Begin with the first of this epoch."""
        self.epoch = epoch
        self._seq = 0

    def __next__(self) -> Token:
        """Return the next."""
        self._seq += 1
        return Token(self.epoch, self._seq)


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


class Dispatch:
    """The state machine. Change it through `handle` only.

    It sends nothing until each worker that may have jobs has attended or was judged lost:
    a job that runs somewhere already must be found there, not started again.
    """

    def __init__(
        self,
        tokens: Tokens,
        wanted: Iterable[str],
        others: Iterable[str] = (),
        *,
        generation: int = 0,
        pool: str = DEFAULT_POOL,
        capacity: int = CAPACITY,
    ) -> None:
        """Start empty. `wanted` workers take jobs, `others` are to leave; both may have some."""
        self._tokens = tokens
        self._pool = pool
        self._draining = False
        self._entries: dict[str, _Entry] = {}
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._backlog = Backlog(capacity, lambda job_id: job_id in self._entries or job_id in self._recent)
        self._crew = Crew(wanted, others, generation)
        self._handlers: dict[type, Callable[[Any, float], list[Command]]] = {
            Offered: self._offered,
            Swept: self._swept,
            SweepFailed: self._sweep_failed,
            Attended: self._attended,
            Lost: self._lost,
            Dismissed: self._dismissed,
            Planned: self._planned,
            Unanswered: self._unanswered,
            Closed: self._closed,
            Settled: self._settled,
            Postponed: self._postponed,
            Drained: self._drained,
            Ticked: self._ticked,
            Started: self._started,
            Ended: self._ended,
            Declined: self._declined,
            Deferred: self._deferred,
        }

    @property
    def _gone(self) -> bool:
        """Whether the pool is gone: its workers end what they have, and nothing waits here."""
        return not self._crew.wanted

    @property
    def queued(self) -> int:
        """Jobs that wait in memory."""
        return len(self._backlog)

    @property
    def running(self) -> int:
        """Jobs given to a worker and not settled yet."""
        return len(self._entries)

    @property
    def held(self) -> Iterable[str]:
        """Jobs given to a worker and not settled yet."""
        return self._entries

    @property
    def complete(self) -> bool:
        """Whether every worker that may have jobs was heard or judged."""
        return self._crew.complete

    @property
    def ready(self) -> bool:
        """Whether jobs are sent: every expected worker was heard or judged, and one takes jobs."""
        return self._crew.complete and self._crew.present > 0

    @property
    def outdated(self) -> int:
        """Wanted workers that are not known to be of the present plan."""
        return self._crew.outdated

    @property
    def remaining(self) -> tuple[str, ...]:
        """Workers that are not wanted any more and may still be there."""
        return self._crew.remaining

    def load(self, wanted: int, slots: int, now: float) -> Load:
        """Say how much there is to do for `wanted` workers of so many slots."""
        waited_s = self._backlog.oldest_wait_s(now)
        return Load(wanted, self._crew.present, slots, self.running, self.queued, waited_s)

    def boot_of(self, worker: str) -> int:
        """Return the boot under which a worker attended last; 0 for one that is not known."""
        member = self._crew.get(worker)
        return member.boot if member is not None else 0

    def holds(self, worker: str, job_ids: Iterable[str]) -> bool:
        """Whether any of these jobs is still that worker's."""
        member = self._crew.get(worker)
        return member is not None and any(job_id in member.jobs for job_id in job_ids)

    def knows(self, job_id: str) -> bool:
        """Whether a job waits here or is not done with."""
        return job_id in self._entries or job_id in self._backlog

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take an event at `now` (monotonic seconds); return what to do about it, in order."""
        return self._handlers[type(event)](event, now)

    # The queue -------------------------------------------------------------------------------

    def _offered(self, event: Offered, now: float) -> list[Command]:
        if self._gone:
            return []
        self._backlog.offer(event.works, now)
        return self._assign(now)

    def _swept(self, event: Swept, now: float) -> list[Command]:
        self._backlog.take_sweep(event.works, now, exhausted=event.exhausted)
        return self._assign(now)

    def _sweep_failed(self, _event: SweepFailed, _now: float) -> list[Command]:
        self._backlog.end_sweep()
        return []

    def _ticked(self, _event: Ticked, now: float) -> list[Command]:
        return self._sweep(now)

    def _sweep(self, now: float) -> list[Command]:
        idle = self._gone or self._draining or not self._crew.complete
        if idle or not self._backlog.wants_sweep(now):
            return []
        held = frozenset((*self._backlog.job_ids, *self._entries))
        return [Sweep(self._pool, held, self._backlog.begin_sweep(now))]

    def _assign(self, now: float) -> list[Command]:
        """Give queued jobs to free slots: small batches whole, large ones spread evenly."""
        if not self._crew.complete or self._draining:
            return []
        commands: list[Command] = []
        while self._backlog and (free := dict(self._crew.free())):
            name = max(free, key=free.__getitem__)
            share = max(_SMALLEST_SHARE, -(-len(self._backlog) // len(free)))
            commands += self._send(name, min(share, _LARGEST_SHARE, free[name]))
        return commands + self._sweep(now)

    def _send(self, worker: str, share: int) -> list[Command]:
        jobs = self._crew[worker].jobs
        forwards = []
        for work in filter(None, (self._backlog.pop() for _ in range(min(share, len(self._backlog))))):
            token = next(self._tokens)
            self._entries[work.job_id] = _Entry(work, worker, token)
            jobs[work.job_id] = None
            forwards.append(Forward(work, token))
        return _sends(worker, forwards)

    def _drained(self, _event: Drained, _now: float) -> list[Command]:
        self._draining = True
        return []

    # Workers ---------------------------------------------------------------------------------

    def _attended(self, event: Attended, now: float) -> list[Command]:
        """Greet a worker. A new boot, or one heard for the first time, puts its jobs in doubt."""
        member = self._crew.attend(event)
        if member is None:
            return self._dismiss() + self._assign(now)
        for work in event.running:
            self._adopt(event.worker, member.jobs, work)
        return self._resend(event.worker, member.jobs) + self._dismiss() + self._assign(now)

    def _adopt(self, worker: str, jobs: dict[str, None], work: Work) -> None:
        """Take note of a job that runs already; one that was given elsewhere since stays there."""
        self._backlog.drop(work.job_id)
        entry = self._entries.setdefault(work.job_id, _Entry(work, worker, None))
        if entry.worker is None:
            # It has ended, and runs on there until it is stopped.
            entry.worker = worker
        if entry.worker == worker:
            entry.token = entry.token or next(self._tokens)
            jobs[work.job_id] = None

    def _lost(self, event: Lost, now: float) -> list[Command]:
        """Queue the jobs of a worker again: the next forward carries a newer token."""
        member = self._crew.lose(event.worker)
        for job_id in member.jobs if member is not None else ():
            entry = self._entries[job_id]
            entry.worker = entry.token = None
            if not entry.ended and entry.work is not None:
                del self._entries[job_id]
                if not self._gone:
                    self._backlog.put(entry.work, now)
        return self._dismiss() + self._assign(now)

    def _planned(self, event: Planned, now: float) -> list[Command]:
        self._crew.plan(event.workers, event.generation)
        if self._gone:
            # What waits goes elsewhere, and if the pool comes back it is not to be given away twice.
            self._backlog.clear()
        return self._dismiss() + self._assign(now)

    def _dismissed(self, event: Dismissed, now: float) -> list[Command]:
        self._crew.dismissed(event.worker)
        return self._dismiss() + self._assign(now)

    def _dismiss(self) -> list[Command]:
        return [Dismiss(name) for name in self._crew.to_dismiss()]

    def _unanswered(self, event: Unanswered, _now: float) -> list[Command]:
        """Ask again. Asking is sending again: what runs is joined, what ended is reported."""
        return self._resend(event.worker, event.job_ids)

    def _resend(self, worker: str, job_ids: Iterable[str]) -> list[Command]:
        member = self._crew.get(worker)
        held = [self._entries[job_id] for job_id in job_ids if member and job_id in member.jobs]
        return _sends(worker, [Forward(e.work, e.token) for e in held if e.work and e.token and not e.ended])

    # Jobs ------------------------------------------------------------------------------------

    def _started(self, event: Started, _now: float) -> list[Command]:
        entry = self._entries.get(event.job_id)
        if entry is None or entry.ended or entry.worker != event.worker:
            return []
        return [Mark(event.job_id, event.worker, event.attempt, event.at)]

    def _ended(self, event: Ended, _now: float) -> list[Command]:
        """Settle, held or not: the ledger spoke. Its slot stays taken until that is written."""
        self._end(event.job_id)
        return [Settle(event.job_id, event.outcome)]

    def _closed(self, event: Closed, _now: float) -> list[Command]:
        """Settle, and stop the handler if one is at work."""
        entry = self._end(event.job_id)
        settle = Settle(event.job_id, event.outcome)
        if entry is None or entry.worker is None:
            return [settle]
        return [Halt(entry.worker, event.job_id, event.outcome), settle]

    def _end(self, job_id: str) -> _Entry | None:
        """Note that a job has ended; what is queued or held of it is done with once that is written."""
        if job_id in self._backlog:
            self._entries[job_id] = _Entry(self._backlog.drop(job_id), None, None)
        entry = self._entries.get(job_id)
        if entry is not None:
            entry.ended = True
        return entry

    def _settled(self, event: Settled, now: float) -> list[Command]:
        for job_id in event.job_ids:
            self._forget(job_id)
            self._recent[job_id] = None
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return self._dismiss() + self._assign(now)

    def _deferred(self, event: Deferred, _now: float) -> list[Command]:
        """Have it written that the job waits. Its slot stays taken until then.

        Of another token it is old news: whoever holds that will say how it stands.
        """
        entry = self._entries.get(event.job_id)
        if entry is None or entry.token != event.token or entry.ended:
            return []
        return [Postpone(*event)]

    def _postponed(self, event: Postponed, now: float) -> list[Command]:
        for job_id, token in event.jobs:
            self._let_go(job_id, token)
        return self._dismiss() + self._assign(now)

    def _declined(self, event: Declined, now: float) -> list[Command]:
        """Let go of a job that a newer token took. If nobody has it, a sweep brings it back."""
        self._let_go(event.job_id, event.token)
        return self._dismiss() + self._assign(now)

    def _let_go(self, job_id: str, token: Token) -> None:
        """Forget a job, unless it has ended or was given away again meanwhile."""
        entry = self._entries.get(job_id)
        if entry is not None and entry.token == token and not entry.ended:
            self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        self._backlog.drop(job_id)
        entry = self._entries.pop(job_id, None)
        member = self._crew.get(entry.worker) if entry is not None else None
        if member is not None:
            member.jobs.pop(job_id, None)
