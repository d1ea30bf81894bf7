"""The Registry decides whether a job may exist: one duty, the rerun window."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta

from hasty.actors.ceiling import Ceiling
from hasty.actors.newest import Newest
from hasty.actors.precedents import Precedents, TurnedAway, accepted
from hasty.actors.refs import DispatcherRef
from hasty.actors.timekeeping import follow, set_clock
from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.errors import CannotStart, Draining, Overloaded, StoreUnavailable, TryAgainLater, WrongVersion
from hasty.job import KEPT_AFTER_WINDOW, Job, Work
from hasty.messages import (
    Admit,
    Admitted,
    Answer,
    Enqueue,
    Full,
    Health,
    Request,
    Unknown,
    check_version,
)
from hasty.rerun import Past, decide
from hasty.retry import backoff
from hasty.store.base import JobStore

#: A request loses a round only to a job that was inserted meanwhile; then the window refuses it. In so
#: many rounds after each other nobody is to be answered.
_ROUNDS = 5

#: How often a batch is written before it is said that nobody knows what became of it.
_INSERTS = 5

#: Building on a job that may be forgotten within this needs a promise that it is kept.
_EXPIRES_SOON = timedelta(minutes=10)

#: The Dispatcher is told of admitted jobs once, and given so long to answer.
_FORWARD_WITHIN_S = 10.0

#: Admitted jobs that wait to be told of, at most; the Dispatcher finds the others by itself.
_WAITING = 20_000
_WAITING_BYTES = 64 * 1024 * 1024

#: A machine whose own clock is further off than this is not fit to stamp logs and ids.
_CLOCK_TOLERANCE = timedelta(seconds=1)


class Registry:
    """Admits each object at most once in its window.

    Its memory is a cache and nothing else: the unique index on (object, run) decides between
    two Registries, and a restarted one knows what its predecessor knew.
    """

    def __init__(
        self, jobs: JobStore, dispatcher: DispatcherRef, clock: Clock, *, max_backlog: int | None = None
    ) -> None:
        """Nothing is read yet. The `dispatcher` is told of each job that was admitted.

        About `max_backlog` jobs may wait; None: any number.
        """
        self._jobs = jobs
        self._dispatcher = dispatcher
        self._clock = clock
        self._forwards: Batcher[Work, None] = Batcher(
            self._forward,
            weigh=lambda work: work.weight,
            capacity=_WAITING,
            capacity_bytes=_WAITING_BYTES,
        )
        self._newest = Newest()
        self._precedents = Precedents(jobs)
        self._ceiling = Ceiling(jobs, clock, max_backlog)
        self._prepared = False
        self._draining = False

    async def admit(self, message: Admit) -> Admitted:
        """Answer each request.

        Accepted: the job is in MongoDB, journaled on a majority. Refused: it was not inserted.
        Unknown: it may be there or not; asking again with the same job id finds out.
        Raises Draining after `drain`, WrongVersion where a later release has been at the database.
        """
        check_version(message.version)
        if self._draining:
            raise Draining
        answers: dict[str, Answer] = {}
        pending: Sequence[Request] = message.requests
        try:
            await self._prepare()
            lost = 0
            while pending and lost < _ROUNDS:
                left = await self._round(pending, answers)
                lost = lost + 1 if len(left) == len(pending) else 0
                pending = left
        except CannotStart as error:
            raise WrongVersion(str(error)) from error
        except StoreUnavailable as error:
            unknown = Unknown(str(error))
        else:
            unknown = Unknown("other requests for this object kept winning")
        return Admitted(tuple(answers.get(request.job_id, unknown) for request in message.requests))

    async def _prepare(self) -> None:
        if not self._prepared:
            await self._jobs.prepare()
            await set_clock(self._jobs, self._clock)
            self._prepared = True

    async def _round(self, requests: Sequence[Request], answers: dict[str, Answer]) -> list[Request]:
        """Answer what can be answered now; return the requests that must be looked at again.

        Only one job for each object goes in at a time: whoever comes after it in the batch is
        judged in the next round, against what really was inserted.
        """
        requests = await self._precedents.answer(requests, answers)
        past = await self._look_up(requests)
        now = self._clock.now()
        chosen: dict[str, tuple[Request, Job]] = {}
        again: list[Request] = []
        met: list[Request] = []
        turned_away: list[tuple[Request, TurnedAway]] = []
        keys: set[str | None] = set()
        for request in requests:
            if request.object_id in chosen or request.idempotency_key in keys:
                again.append(request)
                continue
            known = past.get(request.object_id)
            verdict = decide(known, request, now)
            if not isinstance(verdict, Job):
                turned_away.append((request, verdict))
            elif known is not None and verdict is known.newest:
                met.append(request)
            else:
                chosen[request.object_id] = (request, verdict)
                keys |= {verdict.idempotency_key} - {None}
        turned_away += self._keep_below_ceiling(chosen)
        # Its job is known in brief here, and shown whole.
        again += await self._precedents.meet(met, answers)
        await self._precedents.turn_away(turned_away, answers)
        await self._keep_predecessors(chosen, past, again)
        await self._insert(chosen, answers, again)
        return again

    async def _look_up(self, requests: Sequence[Request]) -> dict[str, Past]:
        """Return what there is. Memory is trusted only for a window that is shut, and that no end moves.

        And for those only who take no for an answer.
        """
        now = self._clock.now()
        found, unknown = {}, set()
        for request in requests:
            job = self._newest.get(request.object_id)
            known = job is not None and job.window is None and now < job.opens_at
            if known and job is not None and request.takes_no:
                found[request.object_id] = Past(job, job)
            else:
                unknown.add(request.object_id)
        if unknown:
            read = await self._jobs.newest(unknown)
            for job in read.values():
                self._newest.put(job)
            found |= await self._standing(read)
        return found

    async def _standing(self, newest: dict[str, Job]) -> dict[str, Past]:
        """Find for each object the job whose window counts: those that ended without a turn have none."""
        passed_over = {object_id: job for object_id, job in newest.items() if job.passed_over}
        before = await self._before(passed_over) if passed_over else {}
        return {
            object_id: Past(job, before.get(object_id) if object_id in passed_over else job)
            for object_id, job in newest.items()
        }

    async def _before(self, passed_over: dict[str, Job]) -> dict[str, Job]:
        """Return what stands before these: mostly what each followed, and all of that is one look."""
        ahead = await self._jobs.brief(
            {job.follows for job in passed_over.values() if job.follows is not None}
        )
        before = {
            object_id: ahead[job.follows]
            for object_id, job in passed_over.items()
            if job.follows in ahead and not ahead[job.follows].passed_over
        }
        others = {object_id: job.run for object_id, job in passed_over.items() if object_id not in before}
        return before | (await self._jobs.standing(others) if others else {})

    async def _keep_predecessors(
        self, chosen: dict[str, tuple[Request, Job]], past: dict[str, Past], again: list[Request]
    ) -> None:
        """Make sure that what a decision was built on is not forgotten while it is carried out."""
        soon = self._clock.now() + _EXPIRES_SOON
        newest = {object_id: past[object_id].newest for object_id in chosen if object_id in past}
        fading = {object_id: job.job_id for object_id, job in newest.items() if job.expires_at < soon}
        if not fading:
            return
        kept = await self._jobs.extend(list(fading.values()), self._clock.now() + KEPT_AFTER_WINDOW)
        for object_id, job_id in fading.items():
            if job_id not in kept:
                again.append(self._give_up(chosen, object_id))

    def _keep_below_ceiling(self, chosen: dict[str, tuple[Request, Job]]) -> list[tuple[Request, Full]]:
        """Choose no more than there is room for, the first come first; return those that must come back."""
        room = self._ceiling.room
        if room is None or len(chosen) <= room:
            return []
        full = Full(self._ceiling.retry_after_s)
        return [(chosen.pop(object_id)[0], full) for object_id in list(chosen)[room:]]

    def _give_up(self, chosen: dict[str, tuple[Request, Job]], object_id: str) -> Request:
        self._newest.forget(object_id)
        return chosen.pop(object_id)[0]

    async def _insert(
        self,
        chosen: dict[str, tuple[Request, Job]],
        answers: dict[str, Answer],
        again: list[Request],
    ) -> None:
        jobs = [job for _, job in chosen.values()]
        if not jobs:
            return
        inserted = await self._write(jobs)
        if inserted is None:
            unknown = Unknown("MongoDB did not say whether the job was stored")
            answers |= {job.job_id: unknown for job in jobs}
            return
        self._ceiling.admitted(len(inserted))
        lost = [job.job_id for job in jobs if job.job_id not in inserted]
        # One that is there already was admitted before: by a request that came again, or a write that did.
        again_met = await self._jobs.get(lost) if lost else {}
        answers |= {job_id: accepted(job) for job_id, job in again_met.items()}
        for job in jobs:
            if job.job_id in inserted:
                self._newest.put(job)
                answers[job.job_id] = accepted(job)
            elif job.job_id not in answers:
                again.append(self._give_up(chosen, job.object_id))
        self._tell([*(job for job in jobs if job.job_id in inserted), *again_met.values()])

    def _tell(self, admitted: Sequence[Job]) -> None:
        """Let the Dispatcher know, beside the answer. Where it lags behind it finds them by itself."""
        with contextlib.suppress(Overloaded):
            self._forwards.post([job.work() for job in admitted if job.in_queue])

    async def _forward(self, works: Sequence[Work]) -> list[None]:
        with contextlib.suppress(TimeoutError, TryAgainLater):
            await asyncio.wait_for(self._dispatcher.enqueue(Enqueue(tuple(works))), _FORWARD_WITHIN_S)
        return [None] * len(works)

    async def _write(self, jobs: Sequence[Job]) -> set[str] | None:
        """Insert, and insert again while there is no clear answer; None when none could be had.

        A read would not tell: what was written a moment ago may not be on a majority yet. A job
        of ours that the second insert meets is on a majority when that one is answered.
        """
        for _, wait_s in zip(range(_INSERTS), backoff(), strict=False):
            try:
                return await self._jobs.insert(jobs)
            except StoreUnavailable:
                await self._clock.sleep(wait_s)
        return None

    async def health(self) -> Health:
        """Say whether jobs can be admitted; asks MongoDB, and follows its clock."""
        try:
            await self._prepare()
            behind = await follow(self._jobs, self._clock)
        except StoreUnavailable as error:
            return Health("registry", str(error))
        if behind is not None and abs(behind) > _CLOCK_TOLERANCE:
            ahead_s = -behind.total_seconds()
            return Health("registry", f"this machine's clock is {ahead_s:+.1f} s off MongoDB's: set it")
        return Health("registry", "stopping" if self._draining else None)

    async def drain(self) -> None:
        """Admit nothing from now on."""
        self._draining = True
