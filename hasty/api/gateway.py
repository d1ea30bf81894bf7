"""The Gateway turns requests into messages and hands answers back. It decides nothing."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from hasty.actors.precedents import again
from hasty.actors.refs import DispatcherRef, RegistryRef
from hasty.api.order import Order
from hasty.batching import Batcher
from hasty.errors import (
    BacklogFull,
    FixTheRequest,
    HastyError,
    IdempotencyKeyReused,
    InvalidRequest,
    PayloadTooLarge,
    StoreUnavailable,
    TryAgainLater,
    UnknownHandler,
    UnknownJob,
    UnknownPool,
    Unreachable,
)
from hasty.handlers import SLEEP, Handler, Handlers
from hasty.job import Job, Json, Work, weigh
from hasty.messages import (
    Accepted,
    Admit,
    Answer,
    Attached,
    Cancel,
    Full,
    Health,
    KeyReused,
    Pools,
    PoolState,
    Refused,
    Request,
    Scale,
    Unknown,
)
from hasty.store.base import JobStore, Keyed

#: A Registry that does not answer within this leaves the client with a 503.
_ADMIT_WITHIN_S = 10.0

#: And a Dispatcher: it writes to the ledger, and then to the job.
_DISPATCHER_WITHIN_S = 30.0

Said = TypeVar("Said")

#: What becomes of one of many orders.
Ordered = Accepted | Attached | Refused | HastyError

#: A payload is refused above this many bytes of JSON.
PAYLOAD_LIMIT = 256 * 1024

#: Each part of the system must answer within this to count as ready.
_READY_WITHIN_S = 2.0

#: Requests that wait for the Registry, at most; more are told to come back.
_WAITING = 20_000
_WAITING_BYTES = 256 * 1024 * 1024


def check_payload(handler: Handler, payload: Json) -> None:
    """Raise InvalidRequest or PayloadTooLarge unless the handler takes it and hasty can keep it."""
    if payload is not None:
        try:
            size = len(json.dumps(payload, allow_nan=False, ensure_ascii=False).encode())
        except ValueError:
            # JSON has no infinity, but a number so large that Python takes it for one.
            raise InvalidRequest(complaints=(("payload", "has a number that is out of range"),)) from None
        if size > PAYLOAD_LIMIT:
            raise PayloadTooLarge
    handler.payload.parse(payload)


class Gateway:
    """Speaks to the actors in batches, from tasks of its own: a client that hangs up stops nothing."""

    def __init__(
        self,
        *,
        registry: RegistryRef,
        dispatcher: DispatcherRef,
        jobs: JobStore,
        handlers: Handlers,
        mint: Callable[[], str],
        webhooks: bool = True,
    ) -> None:
        """Connect nothing yet. `mint` makes job ids; `webhooks`: whether the ends of jobs can be told."""
        self._registry = registry
        self._dispatcher = dispatcher
        self._jobs = jobs
        self._handlers = handlers
        self._mint = mint
        self._webhooks = webhooks
        self._admissions: Batcher[Request, Answer] = Batcher(
            self._admit,
            weigh=lambda request: weigh(request.payload),
            capacity=_WAITING,
            capacity_bytes=_WAITING_BYTES,
        )
        self._reads: Batcher[str, Job | None] = Batcher(self._read, capacity=_WAITING)
        self._briefs: Batcher[str, Job | None] = Batcher(self._read_briefly, capacity=_WAITING)
        self._answered: Batcher[str, Keyed | None] = Batcher(self._read_keys, capacity=_WAITING)

    async def submit(self, object_id: str, handler: str = SLEEP, payload: Json = None) -> Work | Refused:
        """Order a job, with nothing special about it; return it, or why there is none. See `order`."""
        answer = await self.order(Order(object_id, handler, payload))
        assert not isinstance(answer, Attached)  # nobody asked for that
        return answer.work if isinstance(answer, Accepted) else answer

    async def order(self, order: Order) -> Accepted | Attached | Refused:
        """Ask for a job. Accepted work is durable.

        Raises FixTheRequest: UnknownHandler, InvalidRequest, PayloadTooLarge, IdempotencyKeyReused. Raises
        TryAgainLater when no clear answer could be had: the job may exist or not.
        """
        try:
            handler = self.check(order)
        except FixTheRequest:
            # What is wrong now was not when this key came first: its answer stands.
            answer = await self._earlier(order)
            if answer is None:
                raise
        else:
            answer = await self._ask(order.request(self._mint(), handler))
        match answer:
            case Unknown():
                raise StoreUnavailable(answer.why)
            case Full():
                raise BacklogFull(retry_after_s=math.ceil(answer.retry_after_s))
            case KeyReused():
                raise _reused(answer.job_id)
        return answer

    async def order_all(self, orders: Sequence[Order | HastyError]) -> list[Ordered]:
        """Ask for many jobs at once; return what became of each, in their order: what `order` raises, too."""
        return await asyncio.gather(*(self._outcome(order) for order in orders))

    async def _outcome(self, order: Order | HastyError) -> Ordered:
        if isinstance(order, HastyError):
            return order
        try:
            return await self.order(order)
        except (FixTheRequest, TryAgainLater) as error:
            return error

    async def _earlier(self, order: Order) -> Answer | None:
        """Return what was answered when this order's key came first. Raises StoreUnavailable."""
        known = await self._ask_store(self._answered, order.key) if order.key is not None else None
        return again(known, order.fingerprint) if known is not None else None

    async def check_keys(self, orders: Sequence[Order]) -> None:
        """Raise IdempotencyKeyReused if one of these keys came before with another request.

        Raises StoreUnavailable. Of two requests at once, each may find nothing: the Registry looks, too.
        """
        wanted = {order.key: order.fingerprint for order in orders if order.key is not None}
        known = await self._jobs.by_key(wanted) if wanted else {}
        for key, answer in known.items():
            if answer.fingerprint != wanted[key]:
                raise _reused(answer.job.job_id)

    def check(self, order: Order) -> Handler:
        """Return the handler of an order. Raises UnknownHandler, InvalidRequest, PayloadTooLarge."""
        handler = self._handler(order.handler)
        check_payload(handler, order.payload)
        if order.webhook is not None and not self._webhooks:
            raise InvalidRequest(
                complaints=(("webhook", "must be left out: HASTY_WEBHOOK_SECRET is not set"),)
            )
        if order.timeout_s is not None and order.timeout_s > handler.longest_s and not order.again:
            told = f"must be at most {handler.longest_s:g}, the longest that {order.handler} may run"
            raise InvalidRequest(complaints=(("timeout", told),))
        return handler

    def _handler(self, name: str) -> Handler:
        try:
            return self._handlers[name]
        except KeyError:
            known = tuple(sorted(self._handlers))
            told = f"no handler is registered under the name {name!r}; there are: {', '.join(known)}"
            raise UnknownHandler(told, known) from None

    async def _ask(self, request: Request) -> Answer:
        """Put the request to the Registry; it waits its turn, but no longer than a client would."""
        try:
            async with asyncio.timeout(_ADMIT_WITHIN_S):
                return await self._admissions.submit(request)
        except TimeoutError:
            raise Unreachable("the registry did not answer in time") from None

    async def get(self, job_id: str) -> Job | None:
        """Return the job. Raises StoreUnavailable."""
        return await self._ask_store(self._reads, job_id)

    async def find(self, job_id: str) -> Job:
        """Return the job. Raises UnknownJob, StoreUnavailable."""
        return _known(job_id, await self.get(job_id))

    async def find_briefly(self, job_id: str) -> Job:
        """Return the job without its payload and its result. Raises UnknownJob, StoreUnavailable."""
        return _known(job_id, await self._ask_store(self._briefs, job_id))

    async def _ask_store(self, reads: Batcher[str, Said], what: str) -> Said:
        try:
            async with asyncio.timeout(_ADMIT_WITHIN_S):
                return await reads.submit(what)
        except TimeoutError:
            raise StoreUnavailable("MongoDB did not answer in time") from None

    async def cancel(self, job_id: str, reason: str) -> tuple[Job, bool]:
        """End a job wherever it stands; return it as it stands then, and whether a cancel ended it.

        Raises UnknownJob. Raises TryAgainLater when no clear answer could be had: asking again is safe.
        """
        answer = await self._ask_dispatcher(self._dispatcher.cancel(Cancel(job_id, reason)))
        return await self.find(job_id), answer.by_cancel

    async def pools(self) -> Pools:
        """Say how the pools are. Raises TryAgainLater."""
        return await self._ask_dispatcher(self._dispatcher.pools())

    async def scale(self, pool: str, workers: int | None) -> PoolState:
        """Let a pool have so many workers; None: as its plan and its load say. Durable.

        Raises UnknownPool, TryAgainLater.
        """
        answer = await self._ask_dispatcher(self._dispatcher.scale(Scale(pool, workers)))
        pools = {state.name: state for state in answer.pools}
        if pool not in pools:
            raise UnknownPool(f"There is no pool {pool!r}; there are: {', '.join(pools)}.")
        return pools[pool]

    async def _ask_dispatcher(self, asked: Awaitable[Said]) -> Said:
        try:
            return await asyncio.wait_for(asked, _DISPATCHER_WITHIN_S)
        except TimeoutError:
            raise Unreachable("the dispatcher did not answer in time") from None

    async def ready(self) -> dict[str, str]:
        """Return what is not ready, and why: empty when all is well."""
        checks = {
            "mongodb": self._check(self._server_time),
            "registry": self._check(self._registry.health),
            "dispatcher": self._check(self._dispatcher.health),
        }
        problems = await asyncio.gather(*checks.values())
        return {name: problem for name, problem in zip(checks, problems, strict=True) if problem}

    async def _check(self, ask: Callable[[], Awaitable[Health]]) -> str | None:
        try:
            health = await asyncio.wait_for(ask(), _READY_WITHIN_S)
        except TimeoutError:
            return f"did not answer within {_READY_WITHIN_S:g} s"
        except TryAgainLater as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  whatever is wrong with a part, it is named
            return f"failed ({type(error).__name__})"
        return health.problem

    async def _server_time(self) -> Health:
        await self._jobs.server_time()
        return Health("mongodb")

    async def _admit(self, requests: Sequence[Request]) -> Sequence[Answer]:
        async with asyncio.timeout(_ADMIT_WITHIN_S):
            return (await self._registry.admit(Admit(tuple(requests)))).answers

    async def _read(self, job_ids: Sequence[str]) -> list[Job | None]:
        jobs = await self._jobs.get(set(job_ids))
        return [jobs.get(job_id) for job_id in job_ids]

    async def _read_briefly(self, job_ids: Sequence[str]) -> list[Job | None]:
        jobs = await self._jobs.brief(set(job_ids))
        return [jobs.get(job_id) for job_id in job_ids]

    async def _read_keys(self, keys: Sequence[str]) -> list[Keyed | None]:
        known = await self._jobs.by_key(set(keys))
        return [known.get(key) for key in keys]


def _known(job_id: str, job: Job | None) -> Job:
    if job is None:
        raise UnknownJob(f"There is no job with the id {job_id}.")
    return job


def _reused(job_id: str) -> IdempotencyKeyReused:
    told = f"This Idempotency-Key came before, with another request: that of job {job_id}."
    return IdempotencyKeyReused(told)
