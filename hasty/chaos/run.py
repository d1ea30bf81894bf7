"""One run from beginning to end: load and faults, then the evidence, then the verdict."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from hasty.chaos.answers import Client, count
from hasty.chaos.evidence import Evidence
from hasty.chaos.faults import Fault, Kind, Sign
from hasty.chaos.instance import Instance
from hasty.chaos.load import Load
from hasty.chaos.plan import plan
from hasty.chaos.report import told
from hasty.chaos.saboteur import PATIENCE_S, Saboteur
from hasty.chaos.verdict import Violation, violations
from hasty.clock import Clock, SystemClock
from hasty.errors import CannotStart, TryAgainLater
from hasty.settings import Settings
from hasty.store.mongo.audit import Audit, Moment
from hasty.store.mongo.connection import connect

Say = Callable[[str], None]

#: So often it says how it stands.
_PROGRESS_S = 5.0
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is asked to do."""

    minutes: float
    seed: int
    rate: float
    kinds: tuple[Kind, ...]
    together: bool


class Result(NamedTuple):
    """What came of it."""

    faults: list[Fault]
    evidence: Evidence
    violations: list[Violation]


async def chaos(options: Options, instance: Instance, say: Say) -> Result:
    """Load and break an instance for so long, then hold it to its promises.

    SIGINT ends the faults early; all else is done as always. Raises CannotStart or StoreUnavailable,
    before anything is broken, where the instance cannot be used.
    """
    settings = instance.settings()
    async with connect(settings.jobs_uri) as jobs, connect(settings.ledger_uri) as ledger:
        run = _Run(options, instance, settings, Audit(jobs, ledger), say)
        with _interrupts(run.end_early):
            return await run.whole()


class _Run:
    """What the parts of one run share."""

    def __init__(
        self, options: Options, instance: Instance, settings: Settings, audit: Audit, say: Say
    ) -> None:
        self._stop = asyncio.Event()
        self._options = options
        self._settings = settings
        self._audit = audit
        self._say = say
        clock: Clock = SystemClock()
        client = Client(settings.http_port, clock)
        self._load = Load(client, options.rate, options.seed, settings.rerun_window_s)
        self._saboteur = Saboteur(instance, audit, self._load.answers, clock, say)

    def end_early(self) -> None:
        """Begin no further fault, and end those that last."""
        self._stop.set()
        self._saboteur.thaw()

    async def whole(self) -> Result:
        began = await self._audit.moment()
        await self._break()
        self._say("the faults are over; waiting for the jobs to end")
        unfinished = await self._wait_for_ends()
        await self._wait_for_events()
        self._say(f"checking; {unfinished} jobs have not ended" if unfinished else "checking")
        evidence, found = await self._check(began)
        return Result(self._saboteur.faults, evidence, found + self._not_over())

    async def _check(self, began: Moment) -> tuple[Evidence, list[Violation]]:
        """Collect the evidence and judge it. That there is none is a violation, too."""
        evidence = Evidence(answers=self._load.answers, window_s=self._settings.rerun_window_s)
        try:
            jobs = await self._audit.jobs(self._load.prefix)
            pages, history = await self._audit.pages(jobs), await self._audit.history(began)
            telling = await self._audit.telling(jobs) if self._settings.event_retention_s else None
        except TryAgainLater as error:
            return evidence, [Violation("P4", "MongoDB", f"does not come back: {error}")]
        evidence = replace(evidence, jobs=jobs, pages=pages, history=history, telling=telling)
        return evidence, violations(evidence)

    async def _break(self) -> None:
        """Keep up load and faults for the time asked for; thaw everybody in any case."""
        calm = asyncio.Event()
        load = asyncio.create_task(self._load.run(calm))
        progress = asyncio.create_task(self._tell())
        schedule = plan(self._options.seed, self._kinds())
        asyncio.get_running_loop().call_later(60 * self._options.minutes, self._stop.set)
        try:
            await self._saboteur.run(schedule, self._stop, together=self._options.together)
        finally:
            self._saboteur.thaw()
            calm.set()
            await load
            progress.cancel()

    def _kinds(self) -> Sequence[Kind]:
        """Return the kinds of fault whose end can be seen."""
        told = bool(self._settings.event_retention_s)
        kinds = [kind for kind in self._options.kinds if told or kind.sign is not Sign.TOLD]
        if not kinds:
            raise CannotStart("this hasty keeps no events: what is done to its Clerk cannot be seen")
        return kinds

    async def _wait_for_ends(self) -> int:
        """Wait until no job of ours is live, or for as long as a job may take; return how many are left.

        What does not run again ends no job.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (0 if self._not_over() else self._settings.timeout_s + PATIENCE_S)
        while (left := await self._live()) and loop.time() < deadline:  # noqa: ASYNC110  the event is elsewhere
            await asyncio.sleep(_POLL_S)
        return left

    async def _wait_for_events(self) -> None:
        """Wait until every end is told of, or for as long as a fault may take."""
        if not self._settings.event_retention_s or self._not_over():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while await self._untold():  # noqa: ASYNC110  the event is elsewhere
                    await asyncio.sleep(_POLL_S)

    async def _untold(self) -> int:
        try:
            return await self._audit.untold(self._load.prefix)
        except TryAgainLater:
            return 1

    async def _live(self) -> int:
        try:
            return await self._audit.live(self._load.prefix)
        except TryAgainLater:
            return 1

    def _not_over(self) -> list[Violation]:
        """P4: a fault delays jobs; one that nothing recovers from does more."""
        what = f"the system did not run again within {PATIENCE_S:g} s"
        broken = (fault for fault in self._saboteur.faults if fault.over_at is None)
        return [
            Violation("P4", f"{fault.kind.name} of process {fault.pid} at {fault.at}", what)
            for fault in broken
        ]

    async def _tell(self) -> None:
        started = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(_PROGRESS_S)
            passed_s = asyncio.get_running_loop().time() - started
            self._say(
                f"{passed_s:4.0f} s: {told(count(self._load.answers))}; {len(self._saboteur.faults)} faults"
            )


@contextmanager
def _interrupts(end_early: Callable[[], None]) -> Iterator[None]:
    """Make of the first SIGINT or SIGTERM a wish to end early; the second one interrupts."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.default_int_handler)

    def wish() -> None:
        end_early()
        restore()

    for number in numbers:
        loop.add_signal_handler(number, wish)
    try:
        yield
    finally:
        restore()
