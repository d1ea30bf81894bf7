"""`GET /v1/jobs/{id}/deliveries`: what came of telling a webhook, as clients see it."""

import httpx
import pytest
from fastapi import FastAPI

from hasty.api.problems import HANDLERS
from hasty.api.v1.deliveries import add_deliveries
from hasty.clock import SystemClock
from hasty.dispatch import Settle
from hasty.errors import StoreUnavailable
from hasty.job import Outcome, Status
from hasty.store.base import Delivery, Told
from hasty.store.memory import MemoryJobStore, MemoryOutbox
from tests.unit.examples import NOW, a_job, after


class Away(MemoryOutbox):
    async def log(self, _job_id):
        raise StoreUnavailable


@pytest.fixture
def jobs():
    return MemoryJobStore(SystemClock())


@pytest.fixture
def outbox(jobs):
    return MemoryOutbox(jobs)


async def get(outbox, job_id="job-1"):
    app = FastAPI(exception_handlers=HANDLERS)
    add_deliveries(app, outbox)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hasty") as client:
        return await client.get(f"/v1/jobs/{job_id}/deliveries")


async def shown(outbox):
    response = await get(outbox)
    assert response.status_code == 200
    return response.json()


async def end(jobs):
    await jobs.settle([Settle("job-1", Outcome(Status.FINISHED, after(30), None, None, 1, NOW, "w"))], 1, NOW)


async def test_each_try_is_shown_and_when_the_next_one_is(jobs, outbox):
    await jobs.insert([a_job(webhook="http://hooks.example/?token=hunter2")])
    assert await shown(outbox) == {"state": "waiting", "deliveries": [], "next_at": None}

    await end(jobs)
    assert (await shown(outbox))["state"] == "pending"

    await outbox.claim(["job-1"], "c", after(31), after(60))
    assert await shown(outbox) == {"state": "pending", "deliveries": [], "next_at": None}

    failed = Delivery(after(31), 1, None, "no connection", 0.25, delivered=False)
    await outbox.record([Told("job-1", "c", failed, after(36))])
    first = {
        "at": "2026-01-02T03:04:36.678000Z",
        "attempt": 1,
        "status_code": None,
        "error": "no connection",
        "duration": 0.25,
        "delivered": False,
    }
    next_at = "2026-01-02T03:04:41.678000Z"
    assert await shown(outbox) == {"state": "pending", "deliveries": [first], "next_at": next_at}

    await outbox.claim(["job-1"], "d", after(36), after(66))
    await outbox.record([Told("job-1", "d", Delivery(after(36), 2, 204, None, 0.5, delivered=True))])
    told = await shown(outbox)
    assert (told["state"], told["next_at"]) == ("delivered", None)
    assert [each["status_code"] for each in told["deliveries"]] == [None, 204]
    assert "hunter2" not in str(told)


async def test_what_is_given_up_is_said_to_be(jobs, outbox):
    await jobs.insert([a_job(webhook="http://hooks.example/")])
    await end(jobs)
    await outbox.claim(["job-1"], "c", after(31), after(60))
    await outbox.record([Told("job-1", "c", Delivery(after(31), 1, 410, None, 0.25, delivered=False))])
    assert (await shown(outbox))["state"] == "given_up"


async def test_without_a_job_or_a_webhook_there_is_no_log(jobs, outbox):
    unknown = await get(outbox, "nobody")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_job")
    await jobs.insert([a_job()])
    without = await get(outbox)
    assert (without.status_code, without.json()["code"]) == (404, "no_webhook")


async def test_without_a_clear_answer_it_is_503(jobs):
    response = await get(Away(jobs))
    assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
    assert response.headers["retry-after"]


def test_it_is_described():
    app = FastAPI()
    add_deliveries(app, None)
    (operation,) = app.openapi()["paths"]["/v1/jobs/{job_id}/deliveries"].values()
    assert set(operation["responses"]) >= {"200", "404", "503"}
    assert [each["name"] for each in operation["parameters"]] == ["job_id"]
