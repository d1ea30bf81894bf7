"""The client for code that awaits: the same calls as of the one that blocks."""

import builtins
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import httpx

from hasty.client import calls
from hasty.client.address import address
from hasty.client.address import api_key as usable_key
from hasty.client.batches import submit_many
from hasty.client.calls import JobId
from hasty.client.drivers import AsyncClock, AsyncDriver, options
from hasty.client.following import follow
from hasty.client.models import (
    Attempt,
    DeliveryLog,
    Event,
    HandlerInfo,
    Job,
    Json,
    ObjectState,
    Pool,
    Schedule,
)
from hasty.client.paging import all_schedules, each_job
from hasty.client.patience import ask, limits
from hasty.client.questions import Question, Value
from hasty.client.requests import SLEEP, JobRequest, Moment, OnConflict
from hasty.client.waiting import result, wait
from hasty.errors import HastyError


class AsyncClient:
    """Speaks to a hasty over HTTP, and lets others run meanwhile. See `Client`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: AsyncClock | None = None,
    ) -> None:
        """See `Client`."""
        where = address(url)
        self._limits = limits(retries, timeout)
        self._url = where.url
        self._http = httpx.AsyncClient(transport=transport, **options(where, usable_key(api_key)))
        self._driver = AsyncDriver(self._http, clock)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: builtins.object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    # Jobs ----------------------------------------------------------------------------------------

    async def submit(
        self,
        object_id: str,
        payload: Any = None,
        *,
        handler: str = SLEEP,
        timeout: float | None = None,
        priority: int = 0,
        run_at: Moment | None = None,
        delay: float | None = None,
        labels: Mapping[str, str] | None = None,
        on_conflict: OnConflict = "reject",
        webhook: str | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """See `Client.submit`."""
        request = JobRequest(
            object_id,
            payload,
            handler=handler,
            timeout=timeout,
            priority=priority,
            run_at=run_at,
            delay=delay,
            labels=labels,
            on_conflict=on_conflict,
            webhook=webhook,
        )
        return await self._ask(calls.submit(request, idempotency_key))

    async def submit_many(
        self, requests: Iterable[JobRequest | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> builtins.list[Job | HastyError]:
        """See `Client.submit_many`."""
        return await self._driver.run(submit_many(requests, idempotency_key, self._limits))

    async def get(self, job_id: JobId) -> Job:
        """See `Client.get`."""
        return await self._ask(calls.get_job(job_id))

    async def wait(self, job_id: JobId, timeout: float | None = None) -> Job:
        """See `Client.wait`."""
        return await self._driver.run(wait(job_id, timeout, self._limits))

    async def result(self, job_id: JobId, timeout: float | None = None) -> Json:
        """See `Client.result`."""
        return await self._driver.run(result(job_id, timeout, self._limits))

    def events(
        self,
        job_id: JobId | None = None,
        *,
        last_event_id: str | None = None,
        object_id: str | None = None,
        handler: str | None = None,
    ) -> AsyncIterator[Event]:
        """See `Client.events`."""
        return self._driver.iterate(follow(self._limits, job_id, last_event_id, object_id, handler))

    async def cancel(self, job_id: JobId, reason: str | None = None) -> Job:
        """See `Client.cancel`."""
        return await self._ask(calls.cancel(job_id, reason))

    async def rerun(
        self,
        job_id: JobId,
        *,
        force: bool = False,
        on_conflict: OnConflict = "reject",
        idempotency_key: str | None = None,
    ) -> Job:
        """See `Client.rerun`."""
        return await self._ask(calls.rerun(job_id, force, on_conflict, idempotency_key))

    def list(
        self,
        *,
        status: str | Sequence[str] = (),
        handler: str | None = None,
        object_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        accepted_after: Moment | None = None,
        accepted_before: Moment | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Job]:
        """See `Client.list`."""
        query = calls.chosen(
            status=status,
            handler=handler,
            object_id=object_id,
            labels=labels,
            accepted_after=accepted_after,
            accepted_before=accepted_before,
        )
        return self._driver.iterate(each_job(query, limit, self._limits))

    async def attempts(self, job_id: JobId) -> builtins.list[Attempt]:
        """See `Client.attempts`."""
        return await self._ask(calls.attempts(job_id))

    async def deliveries(self, job_id: JobId) -> DeliveryLog:
        """See `Client.deliveries`."""
        return await self._ask(calls.deliveries(job_id))

    # What else there is --------------------------------------------------------------------------

    async def object(self, object_id: str) -> ObjectState:
        """See `Client.object`."""
        return await self._ask(calls.get_object(object_id))

    async def handlers(self) -> builtins.list[HandlerInfo]:
        """See `Client.handlers`."""
        return await self._ask(calls.handlers())

    async def pools(self) -> builtins.list[Pool]:
        """See `Client.pools`."""
        return await self._ask(calls.pools())

    async def scale(self, name: str, workers: int | Literal["auto"]) -> Pool:
        """See `Client.scale`."""
        return await self._ask(calls.scale(name, workers))

    async def ready(self) -> dict[str, Json]:
        """See `Client.ready`."""
        return await self._driver.run(ask(calls.ready(), replace(self._limits, retries=0)))

    # Recurring jobs ------------------------------------------------------------------------------

    async def create_schedule(
        self,
        name: str,
        *,
        job: JobRequest | Mapping[str, Any],
        cron: str | None = None,
        interval: float | None = None,
        timezone: str | None = None,
        missed: Literal["skip", "once"] | None = None,
        paused: bool = False,
        idempotency_key: str | None = None,
    ) -> Schedule:
        """See `Client.create_schedule`."""
        definition = {
            "name": name,
            "cron": cron,
            "interval": interval,
            "timezone": timezone,
            "missed": missed,
            "paused": paused or None,
        }
        return await self._ask(calls.create_schedule(definition, JobRequest.of(job), idempotency_key))

    async def schedules(self) -> builtins.list[Schedule]:
        """See `Client.schedules`."""
        return await self._driver.run(all_schedules(self._limits))

    async def schedule(self, name: str) -> Schedule:
        """See `Client.schedule`."""
        return await self._ask(calls.get_schedule(name))

    async def pause_schedule(self, name: str) -> Schedule:
        """See `Client.pause_schedule`."""
        return await self._ask(calls.switch_schedule(name, "pause"))

    async def resume_schedule(self, name: str) -> Schedule:
        """See `Client.resume_schedule`."""
        return await self._ask(calls.switch_schedule(name, "resume"))

    async def delete_schedule(self, name: str) -> None:
        """See `Client.delete_schedule`."""
        await self._ask(calls.delete_schedule(name))

    # Inside ------------------------------------------------------------------------------------------

    async def _ask(self, question: Question[Value]) -> Value:
        return await self._driver.run(ask(question, self._limits))
