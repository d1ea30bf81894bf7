"""Looks at the stores and at what clients were told, and says which promise was broken.

It knows nothing of how the actors work. It sees every write as it is made, and remembers what
the stores may forget.

| | Looked at |
| --- | --- |
| P1 | `told`, `read`, `at_the_end`: what was answered with 201 is there, and stays |
| P2 | `_job_changed`, `_page_changed`: one end, the ledger's, for ever |
| P3 | `_job_inserted`: windows, one live job for each object |
| P4 | the schedule itself: everything ends in bounded time, and no slot is left taken |
| P5 | `_page_changed`, `_claimed`, `handler_started`: one claim for each start, fences grow |
| P6 | `_in_time`: in good weather, an end within the timeout and a second |
| P7, P10 | `_lost`: in good weather, an attempt is lost only with its process |
| P8 | `_charged`: nobody pays but whose code did it, and whoever has paid enough is given up |
| P9 | `cancelled`: who won is told as the ledger has it; nothing starts after that |
| P12 | `told`: nothing but hasty's own errors reaches a client |

"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from hasty.errors import TryAgainLater
from hasty.handlers import JobContext
from hasty.handlers.catalogue import MAX_CRASHES
from hasty.job import Job, Status, fence
from hasty.messages import Accepted, Refused
from hasty.testing import Process

#: Handlers whose failures are retried, and whose jobs do not wait for long.
RETRIED, IMPATIENT = "retried", "impatient"
RETRIES, QUEUE_TIMEOUT_S = 3, 5.0

#: Every handler's.
WINDOW_S = 20.0

#: How far a clock may be off.
CLOCK_S = 1.0

#: What was granted before a cancel has arrived within this, in good weather.
STOPPED_WITHIN_S = 2.0

#: An attempt that overruns is cancelled within this.
CANCELLED_WITHIN_S = 1.0


class Broken(AssertionError):
    """A promise was not kept."""


class Watched(dict):
    """A store's documents: every change is shown before it is made."""

    def __init__(self, see: Callable[[str, Any, Any], None]) -> None:
        super().__init__()
        self._see = see

    def __setitem__(self, key, value):
        self._see(key, self.get(key), value)
        super().__setitem__(key, value)

    def __delitem__(self, key):
        self._see(key, self.get(key), None)
        super().__delitem__(key)

    def pop(self, key, *default):
        if key in self:
            self._see(key, self[key], None)
        return super().pop(key, *default)


class Start(NamedTuple):
    """A handler was entered."""

    at: float
    process: Process


class Observer:
    """Collects what was broken."""

    def __init__(self, system: Any) -> None:
        self._system = system
        system.jobs.jobs = self._jobs = Watched(self._job_changed)
        system.ledger.pages = self._pages = Watched(self._page_changed)
        self.broken: list[Broken] = []
        #: Processes that died, froze or were cut off at some time.
        self.troubled: set[Process] = set()
        #: Whether every message arrived, once; and when the stores were away last.
        self.good_weather = True
        self.away_until = -1.0
        self._asked: dict[int, tuple[float, str]] = {}
        self._accepted: dict[str, int] = {}
        self._admitted: dict[int, str] = {}
        self._answers: dict[int, str] = {}
        #: For each object the job that had its turn last, and those that may run.
        self._turned: dict[str, Job] = {}
        self._runnable: dict[str, str] = {}
        self._ended: dict[str, Job] = {}
        self._finals: dict[str, Any] = {}
        self._claimed_at: dict[tuple[str, int], str] = {}
        self._starts: dict[tuple[str, int], Start] = {}
        self._fences: dict[str, int] = {}
        self._cancelled: dict[str, float] = {}

    @property
    def starts(self) -> dict[tuple[str, int], Start]:
        return self._starts

    @property
    def admitted(self) -> int:
        return len(self._admitted)

    def expect(self, holds: bool, promise: str, *about: Any) -> None:
        if not holds:
            what = f"{promise}: " + " ".join(map(str, about))
            self._system.journal.note("BROKEN", what)
            self.broken.append(Broken(what))

    def _now(self) -> float:
        return self._system.loop.time()

    # Clients ---------------------------------------------------------------------------------

    def asking(self, number: int, object_id: str) -> None:
        self._asked[number] = (self._now(), object_id)

    def told(self, number: int, answer: Any, *, keyed: bool = False) -> None:
        """A client got an answer, or an error."""
        self._system.journal.note("client", number, self._asked[number][1], "was told", answer)
        if isinstance(answer, BaseException):
            known = isinstance(answer, TryAgainLater | TimeoutError)
            self.expect(known, "P12 an error that is not hasty's reached a client:", repr(answer))
        elif isinstance(answer, Refused):
            own = self._admitted.get(number)
            self.expect(own != answer.job_id, "P1 a request was refused because of itself:", own)
            self._remembered(number, None, keyed=keyed)
        else:
            job_id = answer.work.job_id if isinstance(answer, Accepted) else answer.job_id
            self._accepted[job_id] = number
            there = job_id in self._jobs or job_id in self._ended
            self.expect(there, "P1 acknowledged, but not stored:", job_id)
            self._remembered(number, job_id, keyed=keyed)

    def _remembered(self, number: int, job_id: str | None, *, keyed: bool) -> None:
        """Who comes again with a key is told the same, for as long as the job is kept."""
        first = self._answers.get(number)
        if keyed and first in self._jobs:
            self.expect(first == job_id, "P1 a key has two answers:", number, first, job_id)
        elif job_id is not None:
            self._answers[number] = job_id

    def cancelled(self, job_id: str, by_cancel: bool) -> None:
        """A client was told how its cancel went."""
        self._system.journal.note("client was told of", job_id, "cancelled:", by_cancel)
        final = self._finals.get(job_id)
        self.expect(final is not None, "P9 a cancel was answered, and the job goes on:", job_id)
        if final is not None:
            same = (_type(final) == "CancelRequested") == by_cancel
            self.expect(same, "P9 a client was told that another won:", job_id, by_cancel, final)
        self._cancelled.setdefault(job_id, self._now())

    def read(self, job_id: str, job: Job | None) -> None:
        """A client read a job that was acknowledged."""
        if job is None:
            gone = job_id in self._ended and job_id not in self._jobs
            self.expect(gone, "P1 acknowledged, but not found:", job_id)
        elif not job.live:
            same = _end(job) == _end(self._ended[job_id])
            self.expect(same, "P2 a client was shown another end:", job)

    # Jobs ------------------------------------------------------------------------------------

    def _job_changed(self, job_id: str, before: Job | None, after: Job | None) -> None:
        if after is None:
            self.expect(before is not None and not before.live, "P1 a live job was forgotten:", before)
        elif before is None:
            self._job_inserted(after)
        elif not before.live:
            self.expect(_end(before) == _end(after), "P2 an end changed:", before, "→", after)
        elif not after.live:
            self._job_ended(after)
        if after is not None:
            self._turns(before, after)

    def _job_inserted(self, job: Job) -> None:
        number = job.payload["request"]
        earlier = self._admitted.setdefault(number, job.job_id)
        self.expect(earlier == job.job_id, "P3 one request made two jobs:", earlier, job.job_id)
        asked_at, _ = self._asked[number]
        early, late = self._wall(asked_at - CLOCK_S), self._wall(self._now() + CLOCK_S)
        self.expect(early <= job.accepted_at <= late, "P3 accepted at another time than it was:", job)

    def _turns(self, before: Job | None, job: Job) -> None:
        """A job may run from now on, or may not any more: one of an object at once, and in its window."""
        object_id = job.object_id
        if not job.waits_for_turn and (before is None or before.waits_for_turn):
            last = self._turned.get(object_id)
            self._turn(last, before, job)
            if last is None or last.run < job.run:
                self._turned[object_id] = job
        elif job.job_id == self._turned.get(object_id, job).job_id and not job.waits_for_turn:
            # Its end may open the window, or shut it.
            self._turned[object_id] = job
        if job.live and not job.waits_for_turn:
            other = self._runnable.setdefault(object_id, job.job_id)
            self.expect(other == job.job_id, "P3 two jobs of one object may run:", other, job)
        elif self._runnable.get(object_id) == job.job_id:
            del self._runnable[object_id]

    def _turn(self, last: Job | None, before: Job | None, job: Job) -> None:
        if before is not None:
            # It may have been written late. But it was decided on after it was due, and the last had ended.
            ended_at = last.ended_at if last is not None and last.ended_at else before.due_at
            soonest = max(before.due_at, ended_at - timedelta(seconds=2 * CLOCK_S))
            counted = job.opens_at >= soonest + timedelta(seconds=WINDOW_S)
            self.expect(counted, "P3 its window does not count from its turn:", before, job)
        if last is None:
            return
        now = job.accepted_at if before is None else self._wall(self._now() + CLOCK_S)
        free = now >= last.opens_at or job.replaces or job.payload["force"]
        self.expect(free, "P3 two jobs of one object in a window:", last, job)
        self.expect(last.job_id in self._ended, "P3 two jobs of one object are live:", last, job)
        shut = last.job_id in self._jobs and job.opens_at < last.opens_at
        self.expect(not shut, "P3 a window opens before the one of the job before it:", last, job)

    def _wall(self, seconds: float) -> Any:
        return self._system.jobs.beginning + timedelta(seconds=seconds)

    def _job_ended(self, job: Job) -> None:
        self.expect(job.job_id not in self._ended, "P2 a job ended twice:", job)
        self._ended[job.job_id] = job
        final = self._finals.get(job.job_id)
        shown = (job.status, job.result, job.error)
        self.expect(
            final is not None and shown == (final.status, final.result, final.error),
            "P2 what is shown is not what the ledger says:",
            job,
            final,
        )

    # The ledger ------------------------------------------------------------------------------

    def _page_changed(self, job_id: str, before: Any, after: Any) -> None:
        if after is None:
            self.expect(job_id not in self._jobs, "P2 the ledger forgot a job that is kept:", job_id)
            return
        self._charged(job_id, after)
        known = self._finals.get(job_id)
        if known is not None:
            self.expect(
                after.final == known and after.open is None,
                "P2 the ledger changed its mind about:",
                job_id,
                known,
                after,
            )
            return
        if before is not None:
            self.expect(before.token <= after.token, "P5 a token went back:", before, after)
        opened = before.open if before is not None else None
        if after.open is not None and (opened is None or after.open.claim != opened.claim):
            self._claimed(job_id, before, after)
        if after.later is not None:
            failed = sum(attempt.outcome == "failed" for attempt in after.attempts)
            self.expect(failed <= RETRIES, "P2 it was retried more often than it may:", job_id, after)
        if after.final is not None:
            self._finished(job_id, opened, after)

    def _claimed(self, job_id: str, before: Any, after: Any) -> None:
        """An attempt was opened: a new one, and for a reason."""
        n, claim = after.open.n, after.open.claim
        known = self._claimed_at.setdefault((job_id, n), claim)
        self.expect(known == claim, "P5 two claims for one attempt:", job_id, n, known, claim)
        job = self._jobs.get(job_id)
        if job is not None:
            new = fence(job.accepted_at, n)
            self.expect(self._fences.get(job.object_id, 0) < new, "P5 a fence did not grow:", job, n)
            self._fences[job.object_id] = new
        if before is not None and before.open is not None:
            self._lost(job_id, before, after)
        if before is not None and before.later is not None:
            waited = after.open.started_at >= before.later.run_at
            self.expect(waited, "P5 a retry did not wait:", job_id, before.later, after.open)

    def _lost(self, job_id: str, before: Any, after: Any) -> None:
        """An open attempt gave way: to a newer decision, a later process of its worker, or its blame."""
        old, new = before.open, after.open
        later_process = old.worker == new.worker and old.boot < new.boot
        newer = before.token < after.token or later_process or old.blame is not None
        self.expect(newer, "P5 an attempt gave way to one no newer:", job_id, before, after)
        start = self._starts.get((job_id, old.n))
        if self.good_weather and start is not None:
            guilty = start.process in self.troubled or old.blame is not None
            self.expect(
                guilty, "P7 P10 an attempt was lost, and its process was well:", job_id, before, after
            )

    def _finished(self, job_id: str, opened: Any, page: Any) -> None:
        """The ledger decided: by the attempt that was open, or by nobody's."""
        final = self._finals[job_id] = page.final
        handler = self._jobs[job_id].handler
        if _type(final) == "ValueError":
            wanted = RETRIES if handler == RETRIED else 0
            self.expect(page.retries == wanted, "P2 it was not retried as often as it may:", job_id, page)
        if _type(final) == "QueueTimeout":
            due = final.ended_at >= self._jobs[job_id].accepted_at + timedelta(seconds=QUEUE_TIMEOUT_S)
            self.expect(handler == IMPATIENT and due, "P6 gave up waiting too early:", job_id, final)
            self.expect(not page.attempts, "P6 started, and gave up waiting:", job_id, page)
        if final.attempt:
            own = opened is not None and (final.attempt, final.worker) == (opened.n, opened.worker)
            self.expect(own, "P5 a stale attempt's outcome counts:", job_id, opened, final)
            self._in_time(job_id, final)

    def _charged(self, job_id: str, page: Any) -> None:
        """Charges are for those whose code took a process down; three of them, and it is given up."""
        deadly = self._jobs[job_id].payload["deadly"]
        if page.all_charges:
            self.expect(deadly, "P8 charged for another's doing:", job_id, page)
        if deadly and page.final is not None:
            given_up = page.final.status == Status.FAILED and page.charges == MAX_CRASHES
            overran = page.final.status == Status.CANCELLED and self._stood_still(job_id, page.final.attempt)
            closed = _type(page.final) in {"CancelRequested", "QueueTimeout", "Replaced"}
            self.expect(given_up or overran or closed, "P8 not given up after three charges:", job_id, page)

    def _stood_still(self, job_id: str, attempt: int) -> bool:
        """Whether an attempt's process was frozen, perhaps before the first step of the handler."""
        start = self._starts.get((job_id, attempt))
        return start is None or start.process in self.troubled

    def _in_time(self, job_id: str, final: Any) -> None:
        start = self._starts.get((job_id, final.attempt))
        if start is None or start.process in self.troubled:
            return
        timeout_s = self._jobs[job_id].timeout_s
        ran_s = self._now() - start.at
        if final.status == Status.FINISHED:
            ran_s = (final.ended_at - final.started_at).total_seconds()
            self.expect(ran_s <= timeout_s + 0.1, "P6 it overran, and finished:", job_id, final)
        elif self.good_weather and self.away_until < start.at:
            over = ran_s > timeout_s + CANCELLED_WITHIN_S
            self.expect(not over, "P6 ended late:", job_id, f"{ran_s:.2f} s", final)

    # Handlers --------------------------------------------------------------------------------

    def handler_started(self, context: JobContext, process: Process) -> None:
        key = (context.job_id, context.attempt)
        self._system.journal.note("handler started", *key, "in", process)
        self.expect(key in self._claimed_at, "P5 started before it was claimed:", key)
        self.expect(key not in self._starts, "P5 one attempt started twice:", key)
        # A claim that was granted before may be heard of after; its handler is stopped at once.
        late_s = self._now() - self._cancelled.get(context.job_id, self._now())
        well = self.good_weather and process not in self.troubled
        self.expect(late_s < STOPPED_WITHIN_S or not well, "P9 started after it was cancelled:", key)
        self._starts[key] = Start(self._now(), process)

    # The end ---------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Everything that was admitted has ended, as the ledger says."""
        for job_id in self._accepted:
            kept = job_id in self._ended or job_id in self._jobs
            self.expect(kept, "P1 acknowledged and lost:", job_id)
        for job_id in self._admitted.values():
            self.expect(job_id in self._ended, "P2 admitted and never ended:", job_id)


def _type(outcome: Any) -> str | None:
    return (outcome.error or {}).get("type")


def _end(job: Job) -> tuple[Any, ...]:
    return job.status, job.result, job.error, job.attempt, job.worker, job.ended_at
