"""The Dispatcher decides who runs what, when: it holds the office, and has one reign after another."""

import logging
from collections.abc import Awaitable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from hasty.actors.durable import Durable
from hasty.actors.perform import closed
from hasty.actors.refs import Workers
from hasty.actors.reign import LEASE_S, Reign
from hasty.actors.staff import Staff
from hasty.clock import Clock
from hasty.dispatch import CAPACITY, Closed, Offered, Settle
from hasty.errors import Superseded, Unreachable
from hasty.job import Json, Status
from hasty.messages import Cancel, Cancelled, Enqueue, Health, Pools, Report, Scale, check_version
from hasty.pools import Plan, PoolPlan
from hasty.retry import until_answered
from hasty.store.base import Closing, JobStore, Ledger
from hasty.telemetry import DispatcherStoodDown, EpochTaken, emit

#: What the error of a job says that somebody cancelled.
CANCELLED = "CancelRequested"

#: Wait before taking the office again.
_AGAIN_S = 0.5


class Draft(NamedTuple):
    """What is to be the plan where nothing was deployed yet."""

    pools: Mapping[str, PoolPlan]
    settings: str = ""


class Dispatcher:
    """Holds the office of an epoch, and acts in it.

    Everything in its memory can be rebuilt: from the workers, which know what they run, and
    from MongoDB, which knows what is live. `serve` must run beside the calls.
    """

    #: What acts in office.
    reign = Reign

    def __init__(
        self,
        jobs: JobStore,
        ledger: Ledger,
        workers: Workers,
        clock: Clock,
        *,
        holder: str,
        draft: Draft,
        keep_s: float,
        capacity: int = CAPACITY,
    ) -> None:
        """Act as `holder`; settled jobs are kept for `keep_s`, `capacity` queued ones in memory."""
        self._jobs = jobs
        self._ledger = ledger
        self._workers = workers
        self._clock = clock
        self._holder = holder
        self._draft = draft
        self._keep_s = keep_s
        self._capacity = capacity
        self._draining = False
        self._reign: Reign | None = None
        #: The latest office that was held here: what is settled carries it.
        self._epoch = 0
        self._settler = Durable(
            self._settle,
            clock,
            written=self._settled,
            failed=self._failed,
            weigh=lambda settle: settle.outcome.weight,
        )

    # What others ask --------------------------------------------------------------------------

    async def enqueue(self, message: Enqueue) -> None:
        """Take note of admitted jobs. Without an office to do so, a sweep finds them later."""
        check_version(message.version)
        if self._reign is not None:
            self._reign.offer(Offered(message.works))

    async def report(self, message: Report) -> None:
        """Take note of what happened on a worker. Returns when its ends and delays are in hasty_api.

        Raises StoreUnavailable when that takes long, Unreachable where it takes an office that is
        not held; the same report may then come again.
        """
        check_version(message.version)
        if self._reign is not None:
            await self._reign.report(message)
        elif message.ended:
            # Between two offices: the ledger has spoken all the same.
            await self._settler.write([Settle(*end) for end in message.ended])
        if self._reign is None and message.deferred:
            raise Unreachable("the Dispatcher holds no office")

    async def cancel(self, message: Cancel) -> Cancelled:
        """End a job, wherever it stands; return how it stands then, durable.

        Of a cancel and an attempt that ends, the ledger lets one win, and both hear which. The
        handler is stopped after that. Raises TryAgainLater: it may have been carried out or not, and
        may be asked again.
        """
        check_version(message.version)
        reign = self._in_office()
        job = (await self._jobs.get([message.job_id])).get(message.job_id)
        if job is None:
            return Cancelled(None)
        if not job.live:
            return _how_it_stands(job.status, job.error)
        error = {"type": CANCELLED, "message": message.reason}
        wanted = closed(job.work(), Status.CANCELLED, self._clock.now(), error)
        (stands,) = await self._ledger.close([Closing(job.job_id, wanted)])
        assert stands is not None
        await reign.close(job.work(), Closed(job.job_id, stands))
        return _how_it_stands(stands.status, stands.error)

    async def pools(self) -> Pools:
        """Say how the pools are. Raises Unreachable without an office."""
        reign = self._in_office()
        return Pools(reign.generation, reign.pools())

    async def scale(self, message: Scale) -> Pools:
        """Let a pool have another number of workers, durably; return how the pools are then.

        Nothing happens to a pool that is not there. Raises TryAgainLater.
        """
        check_version(message.version)
        reign = self._in_office()
        await self._unless_superseded(reign, reign.resize(message.pool, message.workers))
        return await self.pools()

    async def follow(self) -> None:
        """Follow the plan that was deployed last. Raises TryAgainLater."""
        plan = await self._jobs.plan()
        if plan is not None:
            reign = self._in_office()
            await self._unless_superseded(reign, reign.follow(plan))

    async def _unless_superseded(self, reign: Reign, work: Awaitable[None]) -> None:
        """Who asked shall ask the later Dispatcher; this one's office ends."""
        try:
            await work
        except Superseded as error:
            reign.fail(error)
            raise Unreachable("a later Dispatcher has taken the office") from error

    async def health(self) -> Health:
        """Say whether jobs are being sent to workers."""
        reign = self._reign
        if reign is None:
            return Health("dispatcher", "waits for its office: MongoDB, or another's lease")
        return Health("dispatcher", reign.problem, reign.running, reign.queued)

    async def drain(self) -> None:
        """Start nothing from now on; what runs goes on."""
        self._draining = True
        if self._reign is not None:
            self._reign.drain()

    async def _settle(self, settles: Sequence[Settle]) -> None:
        # From now on, not from their ends: those may have been recorded long before anybody heard.
        until = self._clock.now() + timedelta(seconds=self._keep_s)
        await self._jobs.settle(settles, self._epoch, until)

    def _settled(self, settles: Sequence[Settle]) -> None:
        if self._reign is not None:
            self._reign.settled([settle.job_id for settle in settles])

    def _failed(self, why: Exception) -> None:
        if self._reign is not None:
            self._reign.fail(why)

    def _in_office(self) -> Reign:
        if self._reign is None:
            raise Unreachable("the Dispatcher holds no office")
        return self._reign

    # The office -------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Take the office and act, again and again; never returns."""
        while True:
            epoch = 0
            try:
                epoch = await until_answered(self._take_office, self._clock.sleep)
                reign = await until_answered(partial(self._prepare, epoch), self._clock.sleep)
                emit(EpochTaken(epoch))
                self._reign = reign
                if self._draining:
                    reign.drain()
                await reign.act()
            except* Superseded:
                emit(DispatcherStoodDown(epoch, "superseded"), level=logging.WARNING)
            except* Exception as errors:  # noqa: BLE001  whatever it was, the next epoch starts clean
                emit(DispatcherStoodDown(epoch, repr(errors.exceptions)), level=logging.ERROR)
            finally:
                self._reign = None
            await self._clock.sleep(_AGAIN_S)

    async def _take_office(self) -> int:
        await self._jobs.prepare()
        epoch = await self._jobs.take_epoch(self._holder, LEASE_S)
        if epoch is None:
            raise Unreachable("another Dispatcher holds the office")
        return epoch

    async def _prepare(self, epoch: int) -> Reign:
        """Read what a reign begins with. Raises Superseded, StoreUnavailable."""
        # A worker that is born from now on refuses whoever was in office before.
        await self._ledger.announce(epoch)
        plan: Plan = await self._jobs.plan() or await self._jobs.deploy(*self._draft)
        staff = Staff(self._jobs, epoch, plan, await self._jobs.rosters())
        await staff.write()
        self._workers.follow(plan)
        self._epoch = epoch
        return self.reign(
            self._jobs,
            self._ledger,
            self._workers,
            self._clock,
            epoch=epoch,
            staff=staff,
            settler=self._settler,
            keep_s=self._keep_s,
            capacity=self._capacity,
        )


def _how_it_stands(status: Status, error: dict[str, Json] | None) -> Cancelled:
    # A job that failed may have an error of this name, too: a user's own.
    by_cancel = status is Status.CANCELLED and (error or {}).get("type") == CANCELLED
    return Cancelled(status, by_cancel=by_cancel)
