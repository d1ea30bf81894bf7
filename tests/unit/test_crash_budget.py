"""Which job pays for a process that died, and when it has paid enough."""

import asyncio
import contextlib
import itertools

import pytest

from hasty.actors.attempts import LOSSES_BEFORE_ALONE
from hasty.actors.stages import InLoop
from hasty.actors.worker import Worker
from hasty.errors import Unreachable
from hasty.flight import SIZE, FlightRecorder
from hasty.handlers import Handler, Handlers
from hasty.handlers.catalogue import MAX_CRASHES
from hasty.job import Cause, Status, Token, Window
from hasty.messages import Attend, Forward, Process, Run
from hasty.store.memory import MemoryLedger
from hasty.testing import VirtualClock, run_virtually
from tests.unit.examples import a_work

LIMITS = {"timeout_s": 46, "window": Window(300)}


class Dispatcher:
    """Hears how jobs end."""

    def __init__(self):
        self.ended = {}

    async def report(self, message):
        self.ended |= dict(message.ended)


class Apart(InLoop):
    """In place of a child: notes who is performed there."""

    def __init__(self, performed):
        super().__init__(FlightRecorder(bytearray(SIZE)))
        self._performed = performed

    def play(self, handler, work, attempt, claim, term):
        self._performed.append((work.job_id, attempt))
        return super().play(handler, work, attempt, claim, term)


class Life:
    """One process of a worker; `die` ends it in the middle of a step, as `os._exit` would."""

    def __init__(self, house, pid, node="node-1"):
        self.house = house
        self.memory = bytearray(house.memory)
        self.dead = asyncio.Event()
        self.worker = Worker(
            "worker-1",
            process=Process(node, pid, pid),
            recorder=FlightRecorder(self.memory),
            child=Apart(house.apart),
            ledger=house.ledger,
            dispatcher=house.dispatcher,
            handlers=Handlers(
                Handler(name="sleep", function=self.rest, **LIMITS),
                Handler(name="dies", function=self.die, **LIMITS),
                Handler(name="brave", function=self.die, max_crashes=5, **LIMITS),
            ),
            clock=house.clock,
            slots=100,
            generation=1,
            mint=lambda: f"claim-{next(house.numbers)}",
        )

    async def rest(self, _context, _payload):
        await asyncio.sleep(20)
        return "rested"

    async def die(self, _context, _payload):
        await asyncio.sleep(1)
        self.house.memory = bytearray(self.memory)
        self.dead.set()
        await asyncio.Event().wait()

    def kill(self):
        """From outside, while everybody rests."""
        self.house.memory = bytearray(self.memory)
        self.dead.set()


class House:
    """What outlives a process: the ledger, the Dispatcher, the recorder's file."""

    def __init__(self):
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.ledger = MemoryLedger(self.clock)
        self.dispatcher = Dispatcher()
        self.memory = bytearray(SIZE)
        #: What was performed in a child: job and attempt.
        self.apart = []
        self.numbers = itertools.count(1)

    async def live(self, run, *, pid, node="node-1", kill_after_s=None):
        """Have a process run the jobs, as Ray replays them; return when it died or all is done."""
        life = Life(self, pid, node)
        done = asyncio.ensure_future(life.worker.run(run))
        death = asyncio.ensure_future(life.dead.wait())
        if kill_after_s is not None:
            asyncio.get_running_loop().call_later(kill_after_s, life.kill)
        await asyncio.wait((done, death), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            # Nothing of a dead process goes on.
            for task in [done, *(taken.task for taken in life.worker._taken.values())]:
                task.cancel()
        return done.done() and not done.cancelled()


def a_run(*handlers):
    works = [a_work(f"job-{n}", handler=handler) for n, handler in enumerate(handlers)]
    return Run(1, tuple(Forward(work, Token(1, n)) for n, work in enumerate(works)))


def test_the_job_whose_code_was_at_work_pays_and_its_neighbours_do_not():
    async def scenario():
        house = House()
        run = a_run("dies", "sleep", "sleep")
        for pid in range(1, MAX_CRASHES + 1):
            assert not await house.live(run, pid=pid)
        assert await house.live(run, pid=9)
        return house

    house = run_virtually(scenario())
    failed = house.dispatcher.ended["job-0"]
    assert failed.status is Status.FAILED
    assert failed.error["causes"] == ["crashed"] * MAX_CRASHES
    assert house.ledger.pages["job-0"].charges == MAX_CRASHES
    for neighbour in ("job-1", "job-2"):
        assert house.dispatcher.ended[neighbour].status is Status.FINISHED
        page = house.ledger.pages[neighbour]
        assert page.charges == 0
        assert [attempt.cause for attempt in page.attempts] == [Cause.NEIGHBOUR] * MAX_CRASHES + [None]
        # So it need not run alone: who did it is known.
        assert page.losses == 0


def test_a_handler_may_say_how_many_crashes_are_enough():
    async def scenario():
        house = House()
        run = a_run("brave")
        for pid in range(1, 6):
            assert not await house.live(run, pid=pid)
        assert await house.live(run, pid=9)
        return house.dispatcher.ended["job-0"]

    failed = run_virtually(scenario())
    assert (failed.status, failed.error["causes"]) == (Status.FAILED, ["crashed"] * 5)


def test_one_that_was_killed_for_not_answering_blocked_the_loop():
    async def scenario():
        house = House()
        run = a_run("dies", "sleep")
        await house.live(run, pid=1)
        assert await house.ledger.condemn("worker-1", 1)
        await house.live(run, pid=2)
        return house.ledger.pages

    pages = run_virtually(scenario())
    assert pages["job-0"].attempts[0].cause is Cause.BLOCKED
    assert pages["job-1"].attempts[0].cause is Cause.NEIGHBOUR


@pytest.mark.parametrize(
    ("node", "condemned", "cause", "losses"),
    [
        ("node-1", False, Cause.KILLED, 1),
        ("node-1", True, Cause.FROZEN, 1),
        ("node-2", False, Cause.NODE_LOST, 0),
    ],
)
def test_a_death_while_all_rest_charges_nobody(node, condemned, cause, losses):
    async def scenario():
        house = House()
        run = a_run("sleep", "sleep")
        assert not await house.live(run, pid=1, kill_after_s=5)
        if condemned:
            await house.ledger.condemn("worker-1", 1)
        assert await house.live(run, pid=2, node=node)
        return house

    house = run_virtually(scenario())
    for page in house.ledger.pages.values():
        assert (page.charges, page.losses) == (0, losses)
        assert [attempt.cause for attempt in page.attempts] == [cause, None]
    assert {outcome.status for outcome in house.dispatcher.ended.values()} == {Status.FINISHED}


def test_a_life_that_ends_before_it_charged_leaves_the_charge_to_the_next():
    async def scenario():
        house = House()
        run = a_run("dies")
        await house.live(run, pid=1)
        left = bytes(house.memory)
        # It boots, reads, and is gone before it wrote anything.
        await house.ledger.boot("worker-1", Process("node-1", 2, 2), house.clock.monotonic())
        assert bytes(house.memory) == left
        await house.live(run, pid=3)
        return house.ledger.pages["job-0"]

    page = run_virtually(scenario())
    assert [attempt.cause for attempt in page.attempts] == [Cause.CRASHED]
    assert page.charges == 1


def test_a_process_whose_place_was_taken_before_it_was_counted_is_nobody():
    """It stood still at birth; counted now, it would pass for its successor's successor."""

    async def scenario():
        house = House()
        late = Life(house, 1)
        await asyncio.sleep(10)
        assert (await Life(house, 2).worker.attend(Attend(1))).boot == 1
        with pytest.raises(Unreachable):
            await late.worker.attend(Attend(1))
        assert (await Life(house, 3).worker.attend(Attend(1))).boot == 2

    run_virtually(scenario())


def test_a_break_inside_hasty_is_charged_too_so_that_it_ends():
    async def scenario():
        house = House()
        life = Life(house, 1)
        life.worker._attempts.performing = None
        await life.worker.run(a_run("sleep"))
        return house.dispatcher.ended["job-0"]

    ended = run_virtually(scenario())
    assert (ended.status, ended.error["type"]) == (Status.FAILED, "Crashed")


def test_who_was_at_work_is_charged_before_anything_is_answered():
    """A boot that is known must have been dealt with: its jobs may go elsewhere from then on."""

    async def scenario():
        house = House()
        await house.live(a_run("dies"), pid=1)
        await Life(house, 2).worker.attend(Attend(1))
        return house.ledger.pages["job-0"]

    assert run_virtually(scenario()).open.blame is Cause.CRASHED


def test_a_handler_that_swallows_its_cancellation_has_its_process_replaced():
    async def scenario():
        house = House()
        life = Life(house, 1)

        async def deaf(_context, _payload):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(100)
            await asyncio.sleep(100)

        handler = Handler(name="deaf", function=deaf, grace_s=30.0, **LIMITS)
        life.worker._attempts._handlers = Handlers(handler)
        await life.worker.run(a_run("deaf"))
        # Recorded and settled first, and its slot free; then it is seen to go on.
        assert asyncio.get_running_loop().time() == 46
        # It has the grace that its handler was given, and a moment more.
        await asyncio.sleep(30.5)
        assert not (await life.worker.attend(Attend(1))).unfit
        await asyncio.sleep(1)
        assert (await life.worker.attend(Attend(1))).unfit
        return house.dispatcher.ended["job-0"]

    assert run_virtually(scenario()).status is Status.CANCELLED


def test_after_three_deaths_that_nobody_can_explain_a_job_runs_where_it_harms_nobody_else():
    async def scenario():
        house = House()
        run = a_run("sleep")
        for pid in range(1, LOSSES_BEFORE_ALONE + 1):
            assert not await house.live(run, pid=pid, kill_after_s=5)
        assert house.apart == []
        assert await house.live(run, pid=9)
        return house

    house = run_virtually(scenario())
    assert house.apart == [("job-0", LOSSES_BEFORE_ALONE + 1)]
    assert house.dispatcher.ended["job-0"].status == Status.FINISHED
