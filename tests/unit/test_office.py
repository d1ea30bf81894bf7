"""What the Clerk's duties are made of, as the settings say."""

import asyncio

from hasty.actors.registry import Registry
from hasty.cluster.clerk import Neighbours, timetable
from hasty.handlers import built_in
from hasty.schedule import FiringOutcome
from hasty.settings import Settings
from hasty.store.memory import MemoryJobStore, MemoryScheduleStore
from hasty.testing import VirtualClock
from hasty.webhooks import new_secret
from tests.unit.examples import virtually
from tests.unit.system import Silent
from tests.unit.test_timetable import a_schedule

WITH_WEBHOOK = {"object_id": "x", "webhook": {"url": "https://hooks.example/"}}


async def fired(settings):
    """Return what became of the first firing of a schedule whose job has a webhook."""
    clock = VirtualClock(asyncio.get_running_loop())
    jobs, schedules = MemoryJobStore(clock), MemoryScheduleStore()
    registry = Registry(jobs, Silent(), clock)
    await schedules.create(a_schedule(job=WITH_WEBHOOK))
    neighbours = Neighbours(registry, Silent(), lambda: "job-1")
    handlers = built_in(settings)
    firing = timetable(settings, clock, neighbours, schedules=schedules, jobs=jobs, handlers=handlers)
    serving = asyncio.ensure_future(firing.serve())
    await asyncio.sleep(12)
    serving.cancel()
    return schedules.schedules["tick"].last, jobs.jobs


@virtually
async def test_a_firing_with_a_webhook_is_refused_where_nobody_would_send_it():
    last, jobs = await fired(Settings.load({}))
    assert last.outcome is FiringOutcome.REFUSED
    assert last.error["code"] == "invalid_request"
    assert "HASTY_WEBHOOK_SECRET is not set" in last.error["message"]
    assert jobs == {}


@virtually
async def test_a_firing_with_a_webhook_is_accepted_where_there_is_a_secret():
    last, jobs = await fired(Settings.load({"HASTY_WEBHOOK_SECRET": new_secret()}))
    assert last.outcome is FiringOutcome.ACCEPTED
    assert jobs["job-1"].webhook == "https://hooks.example/"
