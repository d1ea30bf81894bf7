"""The client for code that blocks."""

import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import httpx

from hasty.client import calls
from hasty.client.address import address
from hasty.client.address import api_key as usable_key
from hasty.client.batches import submit_many
from hasty.client.calls import JobId
from hasty.client.drivers import Clock, Driver, options
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


class Client:
    """Speaks to a hasty over HTTP. Every error is one of `hasty.errors`. To be shared by threads.

    What did not succeed for a reason that may pass is tried again, after a random, growing wait and no
    sooner than hasty asks for. That is safe: each request that would count twice carries an
    idempotency key of its own, which stays the same.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        transport: httpx.BaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            url: Where hasty is; by default HASTY_URL, else this machine. No proxy is used for this machine.
            api_key: By default HASTY_API_KEY, else none. It is shown nowhere.
            timeout: For so long a call is tried, in seconds. One try is silent for a third of that at
                most; an answer that keeps coming is read to its end. Waiting for jobs and events comes
                on top.
            retries: A call is tried again so often.
            transport: What sends requests, as in httpx.
            clock: Time, for tests of code that waits.

        Raises:
            InvalidRequest: The URL, the key or a number cannot be used; it says which.
        """
        where = address(url)
        self._limits = limits(retries, timeout)
        self._url = where.url
        self._http = httpx.Client(transport=transport, **options(where, usable_key(api_key)))
        self._driver = Driver(self._http, clock)

    def close(self) -> None:
        """Let go of all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: builtins.object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    # Jobs ----------------------------------------------------------------------------------------

    def submit(
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
        """Ask for a job; return it as it stands once it was accepted: it is durable then.

        Args:
            object_id: What the work is about.
            payload: What the handler is given: JSON, or a pydantic model.
            handler: The name of a registered handler.
            timeout: Longest an attempt may run, in seconds; by default as the handler says.
            priority: From -100 to 100; lower numbers go first.
            run_at: Not to start before: an aware time, or text as RFC 3339 has it.
            delay: Not to start for so many seconds.
            labels: Names and values, to find it by.
            on_conflict: Where the object's last job stands in the way: `reject`; `attach`, return that one;
                `replace`, cancel it; `after`, start when it has ended and its window is open.
            webhook: The URL that is told how it ended.
            idempotency_key: With the same key again, the first answer comes again, and no other job.

        Raises:
            JobRefused: The object's last job stands in the way.
            FixTheRequest: What is asked for can never be a job.
            TryAgainLater: After all retries; the job may exist or not. With an idempotency key of
                one's own it can be asked for again.
        """
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
        return self._ask(calls.submit(request, idempotency_key))

    def submit_many(
        self, requests: Iterable[JobRequest | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> builtins.list[Job | HastyError]:
        """Ask for many jobs; return for each, in order, the job, or the error that tells why there is none.

        They go in batches of 1,000. Raises where the first batch fails as a whole. Where a later one
        does, its error stands in the place of its jobs and of all behind them, which are not sent.
        Under the same idempotency key the same requests have the same jobs again, where they were
        accepted.
        """
        return self._driver.run(submit_many(requests, idempotency_key, self._limits))

    def get(self, job_id: JobId) -> Job:
        """Return the job as it stands now. Raises UnknownJob."""
        return self._ask(calls.get_job(job_id))

    def wait(self, job_id: JobId, timeout: float | None = None) -> Job:
        """Return the job once it has ended, however it did. A hasty that is away for a minute is borne.

        Raises WaitTimeout after so many seconds, None: never; and UnknownJob.
        """
        return self._driver.run(wait(job_id, timeout, self._limits))

    def result(self, job_id: JobId, timeout: float | None = None) -> Json:
        """Return what the job returned, once it has finished.

        Raises JobFailed or JobCancelled where it ended otherwise, and what `wait` raises.
        """
        return self._driver.run(result(job_id, timeout, self._limits))

    def events(
        self,
        job_id: JobId | None = None,
        *,
        last_event_id: str | None = None,
        object_id: str | None = None,
        handler: str | None = None,
    ) -> Iterator[Event]:
        """Yield what happens to jobs, as it happens: each event once, over any number of connections.

        Those of one job from its first to its last. Else those of all jobs, or of an object or a handler,
        from now on; `last_event_id` is the `id` of the event to go on after. An event of the type `gap` tells
        that some are no longer kept: read anew how things stand. Raises when hasty is away for longer than
        the client's retries.
        """
        return self._driver.iterate(follow(self._limits, job_id, last_event_id, object_id, handler))

    def cancel(self, job_id: JobId, reason: str | None = None) -> Job:
        """End the job wherever it stands; return it as it stands then. Repeating it changes nothing.

        Raises AlreadyEnded where it ended otherwise before, and UnknownJob.
        """
        return self._ask(calls.cancel(job_id, reason))

    def rerun(
        self,
        job_id: JobId,
        *,
        force: bool = False,
        on_conflict: OnConflict = "reject",
        idempotency_key: str | None = None,
    ) -> Job:
        """Ask for another job like this one; return it. `force` leaves the rerun window out of account.

        Raises what `submit` raises, and UnknownJob.
        """
        return self._ask(calls.rerun(job_id, force, on_conflict, idempotency_key))

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
    ) -> Iterator[Job]:
        """Yield jobs, newest first: those of which all this is true, so many at most.

        Of several `status`, one must be true. Jobs that arrive meanwhile are left out.
        """
        query = calls.chosen(
            status=status,
            handler=handler,
            object_id=object_id,
            labels=labels,
            accepted_after=accepted_after,
            accepted_before=accepted_before,
        )
        return self._driver.iterate(each_job(query, limit, self._limits))

    def attempts(self, job_id: JobId) -> builtins.list[Attempt]:
        """Return the starts of the job's handler, and what became of each. Raises UnknownJob."""
        return self._ask(calls.attempts(job_id))

    def deliveries(self, job_id: JobId) -> DeliveryLog:
        """Return what became of the job's webhook. Raises UnknownJob, NoWebhook."""
        return self._ask(calls.deliveries(job_id))

    # What else there is --------------------------------------------------------------------------

    def object(self, object_id: str) -> ObjectState:
        """Return the object's last job, and when its window opens. Raises UnknownObject."""
        return self._ask(calls.get_object(object_id))

    def handlers(self) -> builtins.list[HandlerInfo]:
        """Return the handlers that are registered."""
        return self._ask(calls.handlers())

    def pools(self) -> builtins.list[Pool]:
        """Return the pools of workers."""
        return self._ask(calls.pools())

    def scale(self, name: str, workers: int | Literal["auto"]) -> Pool:
        """Let a pool have so many workers from now on; `auto`: as the settings and the load say.

        Raises UnknownPool.
        """
        return self._ask(calls.scale(name, workers))

    def ready(self) -> dict[str, Json]:
        """Return what hasty says of itself where it is ready for jobs. It is asked once.

        Raises Unreachable where nothing answers, TryAgainLater where it is not ready.
        """
        return self._driver.run(ask(calls.ready(), replace(self._limits, retries=0)))

    # Recurring jobs ------------------------------------------------------------------------------

    def create_schedule(
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
        """Let a job be submitted again and again; the same once more changes nothing.

        Args:
            name: What it is called by.
            job: What is submitted each time.
            cron: When, as in `*/5 * * * *`; either this or `interval`.
            interval: Seconds from one to the next.
            timezone: Where `cron` is meant; UTC by default.
            missed: What becomes of firings that hasty missed: `skip` them, or run `once` for all.
            paused: Whether it waits for `resume_schedule`.
            idempotency_key: With the same key again, the first answer comes again.

        Raises:
            ScheduleExists: Another schedule has this name.
        """
        definition = {
            "name": name,
            "cron": cron,
            "interval": interval,
            "timezone": timezone,
            "missed": missed,
            "paused": paused or None,
        }
        return self._ask(calls.create_schedule(definition, JobRequest.of(job), idempotency_key))

    def schedules(self) -> builtins.list[Schedule]:
        """Return every schedule."""
        return self._driver.run(all_schedules(self._limits))

    def schedule(self, name: str) -> Schedule:
        """Return a schedule. Raises UnknownSchedule."""
        return self._ask(calls.get_schedule(name))

    def pause_schedule(self, name: str) -> Schedule:
        """Let a schedule submit nothing until it is resumed. Raises UnknownSchedule."""
        return self._ask(calls.switch_schedule(name, "pause"))

    def resume_schedule(self, name: str) -> Schedule:
        """Let a schedule go on. Raises UnknownSchedule."""
        return self._ask(calls.switch_schedule(name, "resume"))

    def delete_schedule(self, name: str) -> None:
        """End a schedule; its jobs stay. Raises UnknownSchedule."""
        self._ask(calls.delete_schedule(name))

    # Inside ------------------------------------------------------------------------------------------

    def _ask(self, question: Question[Value]) -> Value:
        return self._driver.run(ask(question, self._limits))
