"""What the Clerk is made of: its duties, each with what it needs, as the settings say."""

import asyncio
import functools
from collections.abc import Callable
from typing import NamedTuple

from hasty.actors.clerk import Clerk, Duty
from hasty.actors.courier import Courier
from hasty.actors.herald import Herald
from hasty.actors.refs import DispatcherRef, RegistryRef
from hasty.actors.timetable import Timetable
from hasty.api.gateway import Gateway
from hasty.api.scheduling import compose
from hasty.clock import Clock
from hasty.cluster.workers import undescribed
from hasty.handlers import Handlers
from hasty.handlers.loading import load
from hasty.outgoing.addresses import Allowed
from hasty.outgoing.sender import Sender
from hasty.retry import until_answered
from hasty.settings import Settings
from hasty.store.base import JobStore, ScheduleStore
from hasty.store.mongo import MongoEventStore, MongoJobStore, MongoOutbox, MongoScheduleStore
from hasty.store.mongo.connection import connect


class Office(NamedTuple):
    """A Clerk, and the duty that others ask."""

    clerk: Clerk
    #: None: there are no events.
    herald: Herald | None


class Neighbours(NamedTuple):
    """Those whom its duties speak to."""

    registry: RegistryRef
    dispatcher: DispatcherRef
    mint_job_id: Callable[[], str]


async def deployed(own: Settings, clock: Clock) -> Settings:
    """Return the settings that were deployed last: a Clerk that is started again is one of now."""
    jobs = MongoJobStore(connect(own.jobs_uri))
    plan = await until_answered(jobs.plan, clock.sleep)
    return own if plan is None else undescribed(plan.settings, own)


def open_office(settings: Settings, clock: Clock, neighbours: Neighbours) -> Office:
    """Return a Clerk with all duties that there are under these settings; nothing is begun."""
    herald = None
    duties: dict[str, Duty] = {
        "timetable": functools.partial(_keep_timetable, settings, clock, neighbours),
    }
    if settings.event_retention_s:
        events = MongoEventStore(connect(settings.jobs_uri))
        herald = Herald(events, clock, keep_s=settings.event_retention_s)
        duties["herald"] = herald.serve
    if settings.webhook_secret is not None:
        secret = settings.webhook_secret.get_secret_value()
        duties["courier"] = functools.partial(_send_courier, settings, clock, secret)
    return Office(Clerk(clock, duties), herald)


async def _send_courier(settings: Settings, clock: Clock, secret: str) -> None:
    sender = Sender(Allowed(settings.webhook_allow), timeout_s=settings.webhook_timeout_s)
    outbox = MongoOutbox(connect(settings.jobs_uri))
    courier = Courier(outbox, sender.post, clock, secret=secret, timeout_s=settings.webhook_timeout_s)
    try:
        await courier.serve()
    finally:
        await sender.close()


async def _keep_timetable(settings: Settings, clock: Clock, neighbours: Neighbours) -> None:
    """Serve the timetable, once the handlers are there; they may take their time, and may not be."""
    handlers = await asyncio.to_thread(load, settings)
    client = connect(settings.jobs_uri)
    schedules = MongoScheduleStore(client)
    await until_answered(schedules.prepare, clock.sleep)
    jobs = MongoJobStore(client)
    await timetable(settings, clock, neighbours, schedules=schedules, jobs=jobs, handlers=handlers).serve()


def timetable(
    settings: Settings,
    clock: Clock,
    neighbours: Neighbours,
    *,
    schedules: ScheduleStore,
    jobs: JobStore,
    handlers: Handlers,
) -> Timetable:
    """Return a timetable. What a firing asks for is checked as what a client asks for is."""
    gateway = Gateway(
        registry=neighbours.registry,
        dispatcher=neighbours.dispatcher,
        jobs=jobs,
        handlers=handlers,
        mint=neighbours.mint_job_id,
        webhooks=settings.webhooks_enabled,
    )
    return Timetable(
        schedules,
        neighbours.registry,
        clock,
        compose=functools.partial(compose, check=gateway.check),
        mint=neighbours.mint_job_id,
    )
