"""The Courier tells webhooks how jobs ended, and tells them again until they have heard it."""

import asyncio
import logging
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

from hasty.actors.notice import notice, notice_id
from hasty.batching import Batcher
from hasty.clock import Clock
from hasty.job import Job
from hasty.outgoing.sender import Reply
from hasty.outgoing.tries import asked_wait_s, next_try_s
from hasty.retry import Chance, until_answered
from hasty.store.base import Delivery, Due, Outbox, Parcel, Told
from hasty.telemetry import CourierBroke, WebhookGivenUp, emit
from hasty.webhooks import keys_of, sign

#: Posts a message; returns what came of it, in bounded time.
Send = Callable[[str, Mapping[str, str], bytes], Awaitable[Reply]]

#: Messages under way at once, and of those to one host.
AT_ONCE = 64
AT_ONCE_TO_A_HOST = 8

#: How often it is looked for what is due.
LOOK_EVERY_S = 0.5

#: What is done at about the same time makes room together.
_GATHER_S = 0.01

#: So many that are due are looked at together.
_LOOK_AT = 64

#: A message sets out within this after it was claimed, or not at all.
_SET_OUT_WITHIN_S = 5.0

#: And when it is sent, what came of it is written within this, or somebody else may send it again.
_WRITE_WITHIN_S = 15.0

#: After an error that nobody foresaw.
_PAUSE_S = 5.0

#: The receiver has it.
_TAKEN = range(200, 300)

#: And it wants no more.
_GONE = 410


class Courier:
    """Tells each end of a job that has a webhook: at least once; once, while nothing breaks.

    It holds nothing that the outbox does not: when it dies, another goes on. Several may run at
    once. What one had under way when it died, or could not write down, is told again when its
    claim is over, about half a minute later. A receiver knows it by its id.

    What is under way is bounded, also to each host, and half of the room is for those that have
    nothing under way. So a host finds room at once, however slow the others are, as long as those
    are fewer than that.
    """

    def __init__(
        self,
        outbox: Outbox,
        send: Send,
        clock: Clock,
        *,
        secret: str,
        timeout_s: float,
        at_once: int = AT_ONCE,
        at_once_to_a_host: int = AT_ONCE_TO_A_HOST,
        look_every_s: float = LOOK_EVERY_S,
        mint: Callable[[], str] = lambda: uuid.uuid4().hex,
        chance: Chance = random.random,
    ) -> None:
        """Do nothing yet. `secret` may be several; `send` takes `timeout_s` at most, or a little more.

        Raises ValueError for a secret that is none.
        """
        keys_of(secret)
        self._outbox = outbox
        self._send = send
        self._clock = clock
        self._secret = secret
        self._claimed_s = _SET_OUT_WITHIN_S + timeout_s + _WRITE_WITHIN_S
        self._at_once = at_once
        self._at_once_to_a_host = at_once_to_a_host
        self._look_every_s = look_every_s
        self._mint = mint
        self._chance = chance
        self._recorder: Batcher[Told, None] = Batcher(self._write)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._hosts: Counter[str] = Counter()

    async def serve(self) -> None:
        """Tell what is due, for ever. While the store is away it waits."""
        try:
            await until_answered(self._outbox.prepare, self._clock.sleep)
            while True:
                await self._go_on()
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def _go_on(self) -> None:
        try:
            if not await until_answered(self._look, self._clock.sleep):
                await self._rest()
        except Exception as error:  # noqa: BLE001  one bad moment must not end all deliveries
            emit(CourierBroke(repr(error)), level=logging.ERROR)
            await self._clock.sleep(_PAUSE_S)

    async def _look(self) -> bool:
        """Send what is due and has room; say whether there may be more at once. Raises StoreUnavailable."""
        if len(self._under_way) >= self._at_once:
            return False
        busy = [host for host in self._hosts if not self._has_room(host, self._hosts)]
        due = await self._outbox.due(self._clock.now(), _LOOK_AT, busy)
        chosen = self._choose(due)
        if not chosen:
            return False
        claim, claimed_at, now = self._mint(), self._clock.monotonic(), self._clock.now()
        until = now + timedelta(seconds=self._claimed_s)
        for parcel in await self._outbox.claim(chosen, claim, now, until):
            self._begin(parcel, claim, claimed_at)
        return len(due) == _LOOK_AT

    def _choose(self, due: Sequence[Due]) -> list[str]:
        """Return those that have room, in their order."""
        chosen: list[str] = []
        hosts = self._hosts.copy()
        for job_id, host in due:
            # One whose claim ran out over its writing is here already.
            if self._has_room(host, hosts) and job_id not in self._under_way:
                hosts[host] += 1
                chosen.append(job_id)
        return chosen

    def _has_room(self, host: str, hosts: Counter[str]) -> bool:
        """Tell whether one more to a host may set out beside these."""
        under_way = hosts.total()
        if not hosts[host]:
            return under_way < self._at_once
        second_ones = under_way - len(hosts)
        return hosts[host] < self._at_once_to_a_host and second_ones < self._at_once // 2

    async def _rest(self) -> None:
        """Wait until something is done, or may be due."""
        if self._under_way:
            await asyncio.wait(
                self._under_way.values(), timeout=self._look_every_s, return_when=asyncio.FIRST_COMPLETED
            )
            await self._clock.sleep(_GATHER_S)
        else:
            await self._clock.sleep(self._look_every_s)

    def _begin(self, parcel: Parcel, claim: str, claimed_at: float) -> None:
        job_id, host = parcel.job.job_id, parcel.host
        self._hosts[host] += 1
        task = asyncio.ensure_future(self._deliver(parcel, claim, claimed_at))
        self._under_way[job_id] = task
        task.add_done_callback(lambda task: self._ended(job_id, host, task))

    def _ended(self, job_id: str, host: str, task: "asyncio.Task[None]") -> None:
        del self._under_way[job_id]
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        if not task.cancelled() and (error := task.exception()) is not None:
            emit(CourierBroke(repr(error)), level=logging.ERROR)

    async def _deliver(self, parcel: Parcel, claim: str, claimed_at: float) -> None:
        # Who stood still meanwhile leaves it to whoever has it by now.
        if self._clock.monotonic() - claimed_at > _SET_OUT_WITHIN_S:
            return
        at, began_at = self._clock.now(), self._clock.monotonic()
        reply = await self._tell(parcel.job, at)
        told = self._told(parcel, claim, reply, at, self._clock.monotonic() - began_at)
        await self._recorder.submit(told)

    async def _tell(self, job: Job, at: datetime) -> Reply:
        try:
            body = notice(job)
            return await self._send(job.webhook or "", sign(self._secret, notice_id(job), at, body), body)
        except Exception as error:  # noqa: BLE001  what is wrong with one must not be tried for ever
            emit(CourierBroke(type(error).__name__), level=logging.ERROR)
            return Reply(error="hasty could not send it")

    def _told(self, parcel: Parcel, claim: str, reply: Reply, at: datetime, took_s: float) -> Told:
        delivered = reply.status_code in _TAKEN
        delivery = Delivery(at, parcel.tries + 1, reply.status_code, reply.error, round(took_s, 3), delivered)
        next_at = None if delivered else self._next_at(delivery.attempt, reply)
        if not delivered and next_at is None:
            why = reply.error or f"the receiver answered {reply.status_code}"
            emit(WebhookGivenUp(parcel.job.job_id, delivery.attempt, why), level=logging.WARNING)
        return Told(parcel.job.job_id, claim, delivery, next_at)

    def _next_at(self, tries: int, reply: Reply) -> datetime | None:
        """Return when to try again what failed; None: not at all."""
        now = self._clock.now()
        wait_s = next_try_s(tries, asked_wait_s(reply.retry_after, now), self._chance)
        if wait_s is None or reply.status_code == _GONE:
            return None
        return now + timedelta(seconds=wait_s)

    async def _write(self, told: Sequence[Told]) -> list[None]:
        await until_answered(lambda: self._outbox.record(told), self._clock.sleep)
        return [None] * len(told)
