"""The Gateway turns requests into messages and hands answers back. It decides nothing."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from hasty.actors.refs import DispatcherRef, RegistryRef
from hasty.batching import Batcher
from hasty.errors import (
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
    Cancel,
    Health,
    Pools,
    PoolState,
    Refused,
    Request,
    Scale,
)
from hasty.store.base import JobStore

#: A Registry that does not answer within this leaves the client with a 503.
_ADMIT_WITHIN_S = 10.0

#: And a Dispatcher: it writes to the ledger, and then to the job.
_DISPATCHER_WITHIN_S = 30.0

Said = TypeVar("Said")

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
    ) -> None:
        """Connect nothing yet. `mint` makes job ids."""
        self._registry = registry
        self._dispatcher = dispatcher
        self._jobs = jobs
        self._handlers = handlers
        self._mint = mint
        self._admissions: Batcher[Request, Answer] = Batcher(
            self._admit,
            weigh=lambda request: weigh(request.payload),
            capacity=_WAITING,
            capacity_bytes=_WAITING_BYTES,
        )
        self._reads: Batcher[str, Job | None] = Batcher(self._read, capacity=_WAITING)

    async def submit(self, object_id: str, handler: str = SLEEP, payload: Json = None) -> Work | Refused:
        """Ask for a job. Accepted work is durable.

        Raises FixTheRequest: UnknownHandler, InvalidRequest, PayloadTooLarge. Raises TryAgainLater
        when no clear answer could be had: the job may exist or not.
        """
        known = self._handler(handler)
        check_payload(known, payload)
        request = Request(
            self._mint(),
            object_id,
            handler,
            known.timeout_s,
            known.window,
            payload,
            pool=known.pool,
            queue_timeout_s=known.queue_timeout_s,
        )
        answer = await self._ask(request)
        if isinstance(answer, Accepted):
            return answer.work
        if isinstance(answer, Refused):
            return answer
        raise StoreUnavailable(answer.why)

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
        try:
            async with asyncio.timeout(_ADMIT_WITHIN_S):
                return await self._reads.submit(job_id)
        except TimeoutError:
            raise StoreUnavailable("MongoDB did not answer in time") from None

    async def cancel(self, job_id: str, reason: str) -> tuple[Job, bool]:
        """End a job wherever it stands; return it as it stands then, and whether a cancel ended it.

        Raises UnknownJob. Raises TryAgainLater when no clear answer could be had: asking again is safe.
        """
        answer = await self._ask_dispatcher(self._dispatcher.cancel(Cancel(job_id, reason)))
        job = await self.get(job_id) if answer.status is not None else None
        if job is None:
            raise UnknownJob(f"There is no job with the id {job_id}.")
        return job, answer.by_cancel

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
