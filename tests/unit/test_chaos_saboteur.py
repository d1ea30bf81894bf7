"""The saboteur against real processes: somebody who brings back what dies, or does not."""

import asyncio
import itertools
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime

import psutil
import pytest

from hasty.chaos import saboteur
from hasty.chaos.answers import Answer, Reply
from hasty.chaos.faults import Kind, Sign
from hasty.chaos.instance import PrivateInstance
from hasty.chaos.plan import Planned
from hasty.chaos.saboteur import Saboteur
from hasty.clock import SystemClock

COMMAND = [sys.executable, "-c", "import time; time.sleep(600)  # a victim"]
VICTIM = re.compile("# a victim")

#: Nothing here takes longer, however busy the machine is.
LONG_S = 60


class Supervisor:
    """An instance that keeps two processes alive, as long as it cares; asked in threads, several at once."""

    def __init__(self) -> None:
        self.cares = True
        self._children = [subprocess.Popen(COMMAND), subprocess.Popen(COMMAND)]
        self._looking = threading.Lock()

    def processes(self) -> list[psutil.Process]:
        with self._looking:
            for position, child in enumerate(self._children):
                if child.poll() is not None and self.cares:
                    self._children[position] = subprocess.Popen(COMMAND)
            return [psutil.Process(child.pid) for child in self._children if child.poll() is None]

    def stop(self) -> None:
        self.cares = False
        with self._looking:
            for child in self._children:
                child.kill()
                child.wait()


class Calm:
    """An audit that finds jobs started, nothing left open, and everything told, if anything is."""

    def __init__(self) -> None:
        self.tells = True

    async def open_from_before(self, _moment) -> int:
        return 0

    async def claimed_since(self, _moment) -> bool:
        return True

    async def told_since(self, _moment) -> bool:
        return self.tells


class Always(list):
    """Answers of a service that has just accepted a job."""

    def __reversed__(self):
        now = datetime.now(UTC)
        yield Answer("POST", "o", "j", now, now, Reply(201, {"job_id": "j"}))


@pytest.fixture
def supervisor(monkeypatch):
    monkeypatch.setattr(saboteur, "_POLL_S", 0.01)
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


@pytest.fixture
def said():
    return []


@pytest.fixture
def audit():
    return Calm()


@pytest.fixture
def breaker(supervisor, audit, said):
    return Saboteur(supervisor, audit, Always(), SystemClock(), said.append)


class Wound(SystemClock):
    """A clock on which time passes when the test says so."""

    passed_s = 0.0

    def monotonic(self) -> float:
        return self.passed_s


def a_kind(name="victim-kill", **more) -> Kind:
    return Kind(name=name, victims=VICTIM, **more)


def planned(kind: Kind, thaw_after_s: float | None = None, choice: float = 0.0) -> Planned:
    return Planned(0.0, kind, choice, thaw_after_s)


async def carry_out(breaker, *plan, together=False):
    await breaker.run(iter(plan), asyncio.Event(), together=together)


async def test_the_chosen_one_is_killed_and_its_successor_awaited(breaker, supervisor, said):
    first, second = supervisor.processes()
    await carry_out(breaker, planned(a_kind(), choice=0.99))
    (fault,) = breaker.faults
    assert (fault.pid, fault.over_at is None) == (second.pid, False)
    assert first in supervisor.processes()
    assert second not in supervisor.processes()
    assert len(supervisor.processes()) == 2
    assert "over after" in said[-1]


async def test_a_frozen_one_is_stopped_and_goes_on_later(supervisor, audit, said):
    clock = Wound()
    breaker = Saboteur(supervisor, audit, Always(), clock, said.append)
    victim = supervisor.processes()[0]
    frozen = asyncio.create_task(carry_out(breaker, planned(a_kind(thaw_s=(1, 1)), thaw_after_s=30)))
    await until(lambda: victim.status() == psutil.STATUS_STOPPED)
    clock.passed_s = 29
    await asyncio.sleep(0.1)
    assert victim.status() == psutil.STATUS_STOPPED
    clock.passed_s = 31
    await asyncio.wait_for(frozen, LONG_S)
    assert victim.status() != psutil.STATUS_STOPPED
    assert [fault.cut_short for fault in breaker.faults] == [False]


async def test_thawing_ends_a_freeze_early(breaker, supervisor):
    victim = supervisor.processes()[0]
    frozen = asyncio.create_task(carry_out(breaker, planned(a_kind(thaw_s=(1, 1)), thaw_after_s=3_600)))
    await until(lambda: victim.status() == psutil.STATUS_STOPPED)
    breaker.thaw()
    await asyncio.wait_for(frozen, LONG_S)
    assert victim.status() != psutil.STATUS_STOPPED
    assert [fault.cut_short for fault in breaker.faults] == [True]


async def test_a_frozen_one_that_is_killed_is_over_with_its_successor(breaker, supervisor):
    victim = supervisor.processes()[0]
    frozen = asyncio.create_task(carry_out(breaker, planned(a_kind(thaw_s=(1, 1)), thaw_after_s=3_600)))
    await until(lambda: victim.status() == psutil.STATUS_STOPPED)
    victim.kill()
    await asyncio.wait_for(frozen, LONG_S)
    assert breaker.faults[0].over_at is not None


async def until(happened):
    async with asyncio.timeout(LONG_S):
        while not happened():  # noqa: ASYNC110  it happens to another process
            await asyncio.sleep(0.01)


async def test_what_does_not_come_back_ends_the_plan(breaker, supervisor, said, monkeypatch):
    monkeypatch.setattr(saboteur, "PATIENCE_S", 0.5)
    supervisor.cares = False
    await carry_out(breaker, *[planned(a_kind())] * 3)
    (fault,) = breaker.faults
    assert fault.over_at is None
    assert "does not run again" in said[-1]


async def test_who_tells_of_what_happens_is_back_when_something_is_told(breaker, audit):
    audit.tells = False
    killed = asyncio.create_task(carry_out(breaker, planned(a_kind(sign=Sign.TOLD))))
    await until(lambda: breaker.faults)
    await carry_out(Saboteur(breaker._instance, audit, Always(), SystemClock(), print), planned(a_kind()))
    assert breaker.faults[0].over_at is None
    audit.tells = True
    await asyncio.wait_for(killed, LONG_S)
    assert breaker.faults[0].over_at is not None


async def test_where_there_is_nobody_to_hit_it_goes_on(breaker, said):
    nobody = Kind(name="nobody-kill", victims=re.compile("no such process"))
    await carry_out(breaker, planned(nobody), planned(a_kind()))
    assert [fault.kind.name for fault in breaker.faults] == ["victim-kill"]
    assert said[0] == "nobody-kill: nobody to hit"


async def test_a_supervisor_that_would_give_up_is_spared(breaker):
    costly = a_kind(on_the_supervisor=True)
    await carry_out(breaker, *[planned(costly)] * 8)
    assert len(breaker.faults) == 4


async def test_one_at_a_time_unless_they_may_overlap(breaker):
    short, endless = (planned(a_kind(thaw_s=(1, 1)), thaw_after_s=for_s) for for_s in (0.2, 3_600))
    await carry_out(breaker, short, short)
    assert breaker.faults[1].at >= breaker.faults[0].over_at
    both = asyncio.create_task(carry_out(breaker, endless, endless, together=True))
    # The second one begins, though the first is not over.
    await until(lambda: len(breaker.faults) == 4)
    breaker.thaw()
    await asyncio.wait_for(both, LONG_S)


async def test_it_begins_nothing_after_it_was_told_to_stop(breaker):
    stop = asyncio.Event()
    stop.set()
    await breaker.run(itertools.repeat(planned(a_kind())._replace(pause_s=60)), stop, together=False)
    assert breaker.faults == []


class Restartable(PrivateInstance):
    """One that is started again only when the test says so."""

    def __init__(self, supervisor) -> None:
        self.processes = supervisor.processes
        self.starting = asyncio.Event()
        self.may_start = asyncio.Event()

    def kill(self) -> None:
        pass

    async def start(self) -> None:
        self.starting.set()
        await self.may_start.wait()


async def test_nobody_is_hit_while_everything_is_started_again(supervisor, said):
    instance = Restartable(supervisor)
    breaker = Saboteur(instance, Calm(), Always(), SystemClock(), said.append)
    everything = planned(a_kind("everything-kill", all_of_them=True))

    async def run(plan):
        await breaker.run(iter(plan), asyncio.Event(), together=True)

    restarted = asyncio.create_task(run([everything]))
    await instance.starting.wait()
    await run([planned(a_kind())])
    assert [fault.kind.name for fault in breaker.faults] == ["everything-kill"]
    instance.may_start.set()
    await restarted
    await run([planned(a_kind())])
    assert [fault.kind.name for fault in breaker.faults] == ["everything-kill", "victim-kill"]
