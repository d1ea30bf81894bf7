"""A hasty in which one thing is wrong, for each thing that the simulation must notice.

Each variant names the promise that breaks, and consists of the real parts but for one line or two.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from hasty.actors.attempts import Attempts
from hasty.actors.dispatcher import Dispatcher
from hasty.actors.precedents import Precedents
from hasty.actors.registry import Registry
from hasty.actors.reign import Reign
from hasty.actors.rounds import Rounds
from hasty.actors.worker import Worker
from hasty.api.gateway import Gateway
from hasty.dispatch import Attended, Offered
from hasty.dispatch.crew import Crew
from hasty.errors import TryAgainLater
from hasty.job import Status
from hasty.messages import Accepted, OnConflict
from hasty.rerun import Begin, Past, begun
from hasty.store.base import Blame, Claimed, Found, settled_fields
from hasty.store.memory import MemoryJobStore, MemoryLedger
from hasty.testing import Parts
from tests.sim.chaos import QuickPruner, QuickRounds, reigning

#: The promise that breaks, the parts, and the faults and the weather in which that shows soonest.
VARIANTS: dict[str, tuple[str, Parts, dict[str, Any]]] = {}


def attempting(attempts: type[Attempts]) -> type[Worker]:
    """Return a worker whose attempts go like this."""

    class Broken(Worker):
        def __init__(self, *about: Any, **others: Any) -> None:
            with mock.patch("hasty.actors.worker.Attempts", attempts):
                super().__init__(*about, **others)

    return Broken


def remembering(precedents: type[Precedents]) -> type[Registry]:
    """Return a Registry that remembers like this."""

    class Broken(Registry):
        def __init__(self, *about: Any) -> None:
            with mock.patch("hasty.actors.registry.Precedents", precedents):
                super().__init__(*about)

    return Broken


def breaks(promise: str, *, under: dict[str, Any] | None = None, **others: Any):
    """Enter a class, and what it needs beside it, as a variant that breaks this promise.

    Where the usual schedules notice it in fewer than one of ten, say under what it shows more often.
    """

    def enter(part: type) -> type:
        kinds = {
            "registry": Registry,
            "dispatcher": Dispatcher,
            "worker": Worker,
            "gateway": Gateway,
            "jobs": MemoryJobStore,
            "ledger": MemoryLedger,
        }
        entered = part
        if issubclass(part, Attempts):
            entered = attempting(part)
        elif issubclass(part, Precedents):
            entered = remembering(part)
        elif issubclass(part, Reign):
            entered = reigning(part)
        elif issubclass(part, Rounds):
            entered = reigning(rounds=part)
        kind = next(kind for kind, base in kinds.items() if issubclass(entered, base))
        parts = Parts(**({"dispatcher": QuickPruner, kind: entered} | others))
        VARIANTS[part.__name__] = promise, parts, under or {}
        return part

    return enter


# P1 ------------------------------------------------------------------------------------------


@breaks("P1")
class AnswersBeforeItInserts(Registry):
    async def _insert(self, chosen, answers, again):
        self._later = asyncio.ensure_future(super()._insert(dict(chosen), {}, []))
        answers |= {job.job_id: Accepted(job.work()) for _, job in chosen.values()}


@breaks("P1")
class AcknowledgesWhatItMayForget(MemoryJobStore):
    """As with a write that is not waited for until a majority has it: a failover takes it back."""

    async def insert(self, jobs):
        inserted = await super().insert(jobs)
        for job in jobs:
            if job.job_id.endswith("7") and job.job_id in inserted:
                dict.pop(self.jobs, job.job_id)
                del self._runs[job.object_id][job.run]
        return inserted


@breaks("P1", under={"request_lost": 0.05, "reply_lost": 0.2})
class AsksAgainUnderANewId(Gateway):
    async def _ask(self, request):
        try:
            async with asyncio.timeout(2):
                return await super()._ask(request)
        except (TimeoutError, TryAgainLater):
            return await super()._ask(request._replace(job_id=self._mint()))


# P2 ------------------------------------------------------------------------------------------


@breaks("P2", under={"store_late": 0.3, "repeated": 0.6})
class MarksWhatHasEnded(MemoryJobStore):
    async def mark(self, marks, epoch):
        for mark in marks:
            if mark.job_id in self.jobs:
                self._change(self.jobs[mark.job_id], status=Status.RUNNING, started_at=mark.at)


class TellsItsOwnStory(Attempts):
    async def _record(self, intent, outcome, retry_at=None):
        await super()._record(intent, outcome)
        return outcome


@breaks("P2 an end changed", worker=attempting(TellsItsOwnStory))
class SettlesWhatIsSettled(MemoryJobStore):
    async def settle(self, settlements, epoch, until):
        for job_id, outcome in settlements:
            if job_id in self.jobs:
                self._change(self.jobs[job_id], **settled_fields(outcome))


@breaks("P2")
class ReportsBeforeItRecords(Attempts):
    async def _record(self, intent, outcome, retry_at=None):
        self._later = asyncio.ensure_future(super()._record(intent, outcome))
        return outcome


@breaks("P2")
class PrunesWhatIsKept(QuickRounds):
    async def prune_once(self):
        await self._ledger.forget(await self._ledger.ids("", "g", 1_000))


# P3 ------------------------------------------------------------------------------------------


@breaks("P3", under={"faults": ["twin"]})
class HasNoUniqueIndex(MemoryJobStore):
    def _insert(self, job):
        if job.job_id in self.jobs:
            return False
        self.jobs[job.job_id] = job
        self._runs.setdefault(job.object_id, {})[job.run] = job.job_id
        return True


@breaks("P3")
class DoesNotLookWhetherItRuns(Registry):
    async def _look_up(self, requests):
        found = await super()._look_up(requests)
        return {name: Past(past.newest, _ended(past.standing)) for name, past in found.items()}


def _ended(job):
    return job and replace(job, status=Status.FINISHED)


@breaks("P3")
class TakesWhatNeverRanForTheLast(Registry):
    async def _standing(self, newest):
        return {name: Past(job, job if job.live else None) for name, job in newest.items()}


@breaks("P3")
class BeginsBesideAnother(QuickRounds):
    async def _look_at(self, waiting):
        self._offer(Offered(await self._jobs.begin([begun(job, Begin(), job.due_at) for job in waiting])))


@breaks("P3", under={"faults": ["twin"], "store_late": 0.3})
class BeginsTwice(MemoryJobStore):
    def _without_turn(self, job_id):
        return self.jobs.get(job_id)


@breaks("P4")
class WaitsForEver(QuickRounds):
    async def give_turns(self):
        return None


@breaks("P3 its window")
class CountsFromAcceptance(MemoryJobStore):
    async def begin(self, jobs):
        return await super().begin([replace(job, opens_at=job.accepted_at) for job in jobs])


# Keys ----------------------------------------------------------------------------------------


@breaks("P1 a key has two answers")
class RemembersNoAttachment(MemoryJobStore):
    async def attach(self, attachments):
        return None


@breaks("P1 a key has two answers", under={"store_refuses": 0.3, "conflicts": [OnConflict.ATTACH]})
class AnswersBeforeItRemembers(Precedents):
    async def _remember(self, attached):
        self._later = asyncio.ensure_future(super()._remember(attached))
        return {}


@breaks("P3 one request made two jobs")
class KnowsNoKeys(MemoryJobStore):
    async def by_key(self, keys):
        return {}

    def _insert(self, job):
        return super()._insert(replace(job, idempotency_key=None))


# P4 ------------------------------------------------------------------------------------------


@breaks("P4")
class NeverSweeps(MemoryJobStore):
    async def sweep(self, pool, skip, limit):
        return Found((), exhausted=True)


@breaks("P4")
class ReportsOnce(Worker):
    async def _tell_ends(self, facts: Sequence[Any]):
        with contextlib.suppress(TryAgainLater):
            await super()._tell_ends(facts) if self._clock.monotonic() % 1 < 0.5 else None
        return [None] * len(facts)

    async def _take_on(self, forward):
        await super()._take_on(forward)
        self._taken[forward.work.job_id] = _Done


class _Done:
    """What a worker remembers of a job that it thinks it has told of."""

    task: "asyncio.Future[None]"


# P5 ------------------------------------------------------------------------------------------


@breaks("P5", under={"faults": ["zombie"], "repeated": 0.6})
class RecordsForAnyClaim(MemoryLedger):
    def _record(self, record):
        page = self.pages.get(record.job_id)
        if page is None or page.final is not None:
            return super()._record(record)
        self._finalise(record.job_id, page, record.outcome, record.claim)
        return record.outcome


@breaks("P5", under={"repeated": 0.6})
class ClaimsUnderAnyToken(MemoryLedger):
    def _claim(self, claim):
        page = self.pages.get(claim.job_id)
        if page is None or page.final is not None or page.open is None or page.open.claim == claim.claim:
            return super()._claim(claim)
        lost = page._replace(open=None, attempts=(*page.attempts, page.open))
        return self._open(claim, lost, page.open.n + 1)


@breaks("P5", under={"repeated": 0.6})
class ClaimsUnderAnyBoot(MemoryLedger):
    def _claim(self, claim):
        page = self.pages.get(claim.job_id)
        mine = page is not None and page.open is not None and page.open.worker == claim.worker
        if mine and page.token == claim.token and page.open.claim != claim.claim:
            return self._open(claim, page._replace(open=None), page.open.n + 1)
        return super()._claim(claim)


class JoinsNothing(Worker):
    def _join(self, forward):
        return asyncio.ensure_future(self._take_on(forward))

    async def _take_on(self, forward):
        self._taken.setdefault(forward.work.job_id, _Done)
        with contextlib.suppress(KeyError):
            await super()._take_on(forward)


@breaks("P5", worker=JoinsNothing)
class ClaimsTwiceUnderOneBoot(MemoryLedger):
    """`open.boot <= boot`: what keeps it from harm is that a worker joins what it runs already."""

    def _claim(self, claim):
        page = self.pages.get(claim.job_id)
        if page is not None and page.open is not None and page.open.boot == claim.boot:
            mine = page.open.worker == claim.worker and page.token == claim.token
            if mine and page.open.claim != claim.claim:
                return self._open(claim, page._replace(open=None), page.open.n + 1)
        return super()._claim(claim)


@breaks("P5")
class StartsBeforeItClaims(Attempts):
    async def _write_claims(self, claims):
        self._later = asyncio.ensure_future(super()._write_claims(claims))
        return [Claimed(1)] * len(claims)


# P6 ------------------------------------------------------------------------------------------


@breaks("P6")
class KnowsNoTimeout(Attempts):
    async def _attempt(self, work, intent, claimed):
        return await super()._attempt(work._replace(timeout_s=3_600.0), intent, claimed)


@breaks("P6")
class KeepsTheSlot(Reign):
    def settled(self, job_ids):
        super().settled(job_ids[1:])


# P7 ------------------------------------------------------------------------------------------


class Harmless:
    """The workers, as somebody reaches them who kills nobody."""

    def __init__(self, workers):
        self._workers = workers

    def __getattr__(self, name):
        return getattr(self._workers, name)

    async def kill(self, process):
        return None

    async def restart(self, name):
        return None


@breaks("P7", under={"faults": ["freeze_for_good"]})
class KillsNobody(Reign):
    def __init__(self, *about, **others):
        super().__init__(*about, **others)
        self._care._workers = Harmless(self._care._workers)


# P7 and P10 ----------------------------------------------------------------------------------


@breaks("P7 P10", under={"faults": ["redeploy"]})
class ForgetsToAskWhatRuns(Reign):
    def _apply(self, pool, event):
        if isinstance(event, Attended):
            event = event._replace(running=())
        return super()._apply(pool, event)


class ObeysAnybody(Worker):
    async def _obey(self, epoch):
        self._epoch = epoch
        return (await self._birth.life()).boot


@breaks("P7 P10", under={"faults": ["twin"]}, worker=ObeysAnybody)
class NeverStandsDown(MemoryJobStore):
    """Epochs are counted and mean nothing."""

    async def renew_epoch(self, epoch, lease_s):
        return True


class NobodyIsTooBusy(Crew):
    """Whoever is to leave is ended at once."""

    def to_dismiss(self):
        super().to_dismiss()
        leaving = [name for name in self._members if self.leaves(name) and name not in self._dismissing]
        self._dismissing.update(leaving)
        return leaving


@breaks("P7 P10", under={"faults": ["redeploy", "resize"]})
class DismissesTheBusy(Reign):
    def _machine(self, pool):
        with mock.patch("hasty.dispatch.machine.Crew", NobodyIsTooBusy):
            super()._machine(pool)


@breaks("P7 P10", under={"faults": ["resize", "resize", "redeploy"]})
class ForgetsWhoIsToLeave(Reign):
    """A Dispatcher that comes after it does not know of workers that are not wanted any more."""

    def __init__(self, *about, **others):
        super().__init__(*about, **others)
        self._staff.others = lambda _pool: ()


# P8 ------------------------------------------------------------------------------------------


@breaks("P8")
class ChargesEverybody(MemoryLedger):
    """Whoever shared the process pays as well."""

    async def blame(self, blames):
        for _, claim, cause in blames:
            of = next(
                (page.open for page in self.pages.values() if page.open and page.open.claim == claim), None
            )
            if of is not None:
                beside = {
                    job_id: page.open.claim
                    for job_id, page in self.pages.items()
                    if page.open and (page.open.worker, page.open.boot) == (of.worker, of.boot)
                }
                await super().blame([Blame(job_id, one, cause) for job_id, one in beside.items()])


@breaks("P8")
class GivesUpTooLate(MemoryLedger):
    def _claim(self, claim):
        return super()._claim(claim._replace(max_crashes=claim.max_crashes + 1))


# P12 -----------------------------------------------------------------------------------------


@breaks("P12")
class ShowsItsTrouble(Gateway):
    async def _ask(self, request):
        try:
            return await super()._ask(request)
        except TryAgainLater as error:
            raise RuntimeError("something went wrong") from error
