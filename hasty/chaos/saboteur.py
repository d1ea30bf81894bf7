"""Carries out a plan: hits, thaws, and waits until the system runs again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice, takewhile

import psutil

from hasty.chaos.answers import Answer
from hasty.chaos.faults import Fault, Kind, Sign
from hasty.chaos.instance import Instance, PrivateInstance
from hasty.chaos.plan import Planned
from hasty.clock import Clock
from hasty.errors import CannotStart, TryAgainLater
from hasty.store.mongo.audit import Audit

#: A system that does not run again within this is broken.
PATIENCE_S = 120.0

#: `hasty up` gives up at the sixth restart of a part within five minutes: one is left to chance.
_RESTARTS = 4
_RESTARTS_WITHIN = timedelta(minutes=5)

#: Answers among which to look for a new one.
_RECENT = 1_000

_POLL_S = 0.5


class Saboteur:
    """Breaks one instance. Whatever happens, `thaw` leaves nobody frozen."""

    def __init__(
        self,
        instance: Instance,
        audit: Audit,
        answers: list[Answer],
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        """Watch `answers`, to which the load adds. Nothing is broken yet."""
        self.faults: list[Fault] = []
        self._instance = instance
        self._audit = audit
        self._answers = answers
        self._clock = clock
        self._say = say
        self._frozen: set[psutil.Process] = set()
        self._restarting = False

    async def run(self, plan: Iterator[Planned], stop: asyncio.Event, *, together: bool) -> None:
        """Carry out the plan until told to stop; return when what was begun is over.

        What does not run again is broken enough: then it ends by itself.
        """
        under_way: set[asyncio.Task[bool]] = set()
        for planned in plan:
            await _rest(planned.pause_s, stop)
            if stop.is_set() or any(task.done() and not task.result() for task in under_way):
                break
            if self._bearable(planned.kind):
                under_way.add(asyncio.create_task(self._carry_out(planned)))
            if not together:
                await asyncio.gather(*under_way)
        await asyncio.gather(*under_way)

    def thaw(self) -> None:
        """Let everybody go on who is frozen, now."""
        for fault in self.faults:
            fault.cut_short |= fault.over_at is None
        while self._frozen:
            with suppress(psutil.NoSuchProcess):
                self._frozen.pop().resume()

    def _bearable(self, kind: Kind) -> bool:
        """Tell whether `hasty up` would bring the victim back once more; a new one begins to count anew.

        While it starts for the first time it brings back nothing.
        """
        earliest = self._clock.now() - _RESTARTS_WITHIN
        since = list(takewhile(lambda fault: not fault.kind.all_of_them, reversed(self.faults)))
        recent = [fault for fault in since if fault.kind.on_the_supervisor and fault.at > earliest]
        return not self._restarting and (not kind.on_the_supervisor or len(recent) < _RESTARTS)

    async def _carry_out(self, planned: Planned) -> bool:
        """Do it and see it through. Returns False if the system does not run again."""
        victims = await self._victims(planned.kind)
        if not victims:
            self._say(f"{planned.kind.name}: nobody to hit")
            return True
        victim = victims[int(planned.choice * len(victims))]
        fault = Fault(kind=planned.kind, pid=victim.pid, at=self._clock.now())
        self.faults.append(fault)
        try:
            async with asyncio.timeout(PATIENCE_S):
                gone = await self._hit(planned, victim)
                await self._until_there(planned.kind, len(victims), gone)
                await self._until_well(fault)
        except (TimeoutError, CannotStart) as error:
            self._say(f"{planned.kind.name} (process {victim.pid}): does not run again. {error}".strip())
            return False
        fault.over_at = self._clock.now()
        took_s = (fault.over_at - fault.at).total_seconds()
        self._say(f"{planned.kind.name} (process {victim.pid}): over after {took_s:.1f} s")
        return True

    async def _victims(self, kind: Kind) -> list[psutil.Process]:
        """Look for them beside the loop, which has the load to keep up."""
        return await asyncio.to_thread(lambda: kind.choose_from(self._instance.processes()))

    async def _hit(self, planned: Planned, victim: psutil.Process) -> set[psutil.Process]:
        """Do what the kind says; return who will not come back."""
        with suppress(psutil.NoSuchProcess):
            if planned.kind.all_of_them:
                await self._restart()
            elif planned.thaw_after_s is not None:
                await self._freeze(victim, planned.thaw_after_s)
            else:
                victim.kill()
                return {victim}
        return set()

    async def _restart(self) -> None:
        assert isinstance(self._instance, PrivateInstance)
        self._restarting = True
        try:
            await asyncio.to_thread(self._instance.kill)
            await self._instance.start()
        finally:
            self._restarting = False

    async def _freeze(self, victim: psutil.Process, for_s: float) -> None:
        """Stop a process for a time; shorter if somebody kills it or calls `thaw`."""
        self._frozen.add(victim)
        victim.suspend()
        until = self._clock.monotonic() + for_s

        async def enough() -> bool:
            return self._clock.monotonic() > until or victim not in self._frozen or not _alive(victim)

        await _until(enough)
        self._frozen.discard(victim)
        victim.resume()

    async def _until_there(self, kind: Kind, count: int, gone: set[psutil.Process]) -> None:
        """Return when there are as many of a kind as before, without those that are gone."""

        async def there() -> bool:
            # What everybody is made of has no fixed number.
            return kind.all_of_them or len(set(await self._victims(kind)) - gone) >= count

        await _until(there)

    async def _until_well(self, fault: Fault) -> None:
        """Return when jobs are accepted and started again, and what the fault hit has moved."""
        since = self._clock.now()

        async def well() -> bool:
            return self._accepted_since(since) and await self._runs_since(since, fault)

        await _until(well)

    def _accepted_since(self, moment: datetime) -> bool:
        recent = islice(reversed(self._answers), _RECENT)
        return any(answer.accepted and answer.sent_at > moment for answer in recent)

    async def _runs_since(self, moment: datetime, fault: Fault) -> bool:
        sign = fault.kind.sign
        try:
            left = await self._audit.open_from_before(fault.at) if sign is Sign.MOVED else 0
            silent = sign is Sign.TOLD and not await self._audit.told_since(moment)
            return not left and not silent and await self._audit.claimed_since(moment)
        except TryAgainLater:
            return False


async def _rest(seconds: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _until(happened: Callable[[], Awaitable[bool]]) -> None:
    while not await happened():  # noqa: ASYNC110  it happens in other processes
        await asyncio.sleep(_POLL_S)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
