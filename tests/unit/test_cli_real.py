"""The command line and the real application of `/v1`, in one process, on virtual time."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import hasty as library
from hasty.handlers.decorator import declaration_of
from hasty.testing import VirtualLoop
from tests.unit.system import System
from tests.unit.typing_commands import hasty, send_by


@library.handler(rerun_window=60)
async def reports(job: library.JobContext, payload: list[str]) -> dict[str, int]:
    job.progress(0.5, "half of it")
    await asyncio.sleep(10)
    return {"lines": len(payload)}


@library.handler
async def fails() -> None:
    raise ValueError("no such file")


HANDLERS = [declaration_of(each).handler(timeout_s=46.0, rerun_window_s=300.0) for each in (reports, fails)]


class InProcess(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A system in a loop of its own, where time passes while a request is answered, and at no other time."""

    def __init__(self):
        # The loop is in one thread only, whoever asks.
        self._thread = ThreadPoolExecutor(1)
        self._loop = VirtualLoop()
        self._app = self.run(self._start())

    def run(self, scenario):
        return self._thread.submit(self._loop.run_until_complete, scenario).result()

    async def _start(self):
        self.system = System(more=HANDLERS)
        await self.system.serve()
        return httpx.ASGITransport(self.system.app(), raise_app_exceptions=False)

    def handle_request(self, request):
        request.read()
        return self.run(self._answer(request))

    async def handle_async_request(self, request):
        await request.aread()
        asked = self._thread.submit(self._loop.run_until_complete, self._answer(request))
        return await asyncio.wrap_future(asked)

    async def _answer(self, request):
        plain = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        answer = await self._app.handle_async_request(plain)
        content = b"".join([part async for part in answer.stream])
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)

    def close(self):
        """Stay: each command closes its client."""

    async def aclose(self):
        """See `close`."""

    def end(self):
        self._thread.submit(self._loop.end).result()
        self._loop.close()
        self._thread.shutdown()


@pytest.fixture
def real(monkeypatch):
    real = InProcess()
    send_by(monkeypatch, real)
    yield real
    real.end()


def submitted(*words):
    said = hasty("submit", *words)
    assert said.code == 0, said
    return said.out.split()[0]


def test_a_job_is_submitted_waited_for_and_shown(real):
    said = hasty("submit", "order-1", "--handler", "reports", "--payload", '["tea"]', "--wait", "--json")
    assert (said.code, said.err) == (0, "")
    (job,) = said.records
    assert (job["status"], job["result"], job["attempt"]) == ("finished", {"lines": 1}, 1)
    assert hasty("get", job["id"], "--json").records == [job]
    assert json.loads(hasty("result", job["id"]).out) == {"lines": 1}
    (attempt,) = hasty("attempts", job["id"], "--json").records
    assert (attempt["attempt"], attempt["outcome"]) == (1, "finished")
    assert hasty("wait", job["id"]).lines[1].endswith('10 s  {"lines": 1}')


def test_the_events_of_a_job_are_told_to_its_end(real):
    job_id = submitted("order-1", "--handler", "reports", "--payload", "[]")
    said = hasty("events", job_id, "--json")
    assert said.code == 0
    assert [event["type"] for event in said.records] == [
        "job.queued",
        "job.running",
        "job.progress",
        "job.finished",
    ]
    assert said.records[2]["progress"]["fraction"] == 0.5
    assert "50% half of it" in hasty("events", job_id).out


def test_how_several_jobs_end_is_the_worst_of_it(real):
    good, bad = submitted("video-1"), submitted("video-2", "--handler", "fails")
    said = hasty("wait", good, bad)
    assert said.code == 1
    assert [line.split()[2] for line in said.lines[1:]] == ["finished", "failed"]
    assert "ValueError: no such file" in said.lines[2]
    failed = hasty("result", bad)
    assert failed.code == 1
    assert "ValueError: no such file" in failed.err


def test_a_refusal_carries_the_job_in_the_way(real):
    first = submitted("video-1")
    said = hasty("submit", "video-1", "--json")
    assert (said.code, said.out) == (4, "")
    assert (said.problem["code"], said.problem["job_id"]) == ("rerun_window", first)
    assert said.problem["retry_after"] > 0
    assert hasty("submit", "video-1", "--on-conflict", "attach").out.split()[0] == first
    hasty("wait", first)
    after = hasty("submit", "video-1", "--on-conflict", "after").out.split()
    assert after[0] != first
    assert after[1] == "scheduled"
    assert hasty("object", "video-1", "--json").records[0]["last_job"]["id"] in {first, after[0]}


def test_the_same_idempotency_key_has_the_same_answer(real):
    first = submitted("video-1", "--idempotency-key", "mine")
    assert submitted("video-1", "--idempotency-key", "mine") == first
    other = hasty("submit", "video-2", "--idempotency-key", "mine", "--json")
    assert (other.code, other.problem["code"]) == (2, "idempotency_key_reused")


def test_what_a_handler_does_not_take_is_told_by_the_field(real):
    said = hasty("submit", "order-1", "--handler", "reports", "--payload", "{}", "--json")
    assert (said.code, said.problem["code"]) == (2, "invalid_request")
    assert said.problem["errors"][0]["field"] == "payload"
    assert hasty("submit", "order-1", "--handler", "nobody").code == 6


def test_a_job_is_cancelled_once(real):
    job_id = submitted("video-1", "--delay", "1h", "--label", "team=a", "--priority", "-3")
    said = hasty("cancel", job_id, "--reason", "no use")
    assert (said.code, said.out) == (0, f"{job_id} cancelled\n")
    assert hasty("wait", job_id).code == 3
    (job,) = hasty("get", job_id, "--json").records
    assert (job["error"]["message"], job["labels"], job["priority"]) == ("no use", {"team": "a"}, -3)
    done = submitted("video-2")
    hasty("wait", done)
    assert hasty("cancel", done, "--json").problem["job_status"] == "finished"
    assert hasty("cancel", "nobody").code == 6


def test_a_job_is_run_again(real):
    first = submitted("order-1", "--handler", "reports", "--payload", '["tea"]')
    hasty("wait", first)
    assert hasty("rerun", first).code == 4
    said = hasty("rerun", first, "--force", "--wait", "--json")
    assert said.code == 0
    assert (said.records[0]["run"], said.records[0]["result"]) == (2, {"lines": 1})


def test_jobs_are_listed_by_what_is_true_of_them(real):
    jobs = [submitted(f"video-{n}", "--label", f"n={n}") for n in range(3)]
    hasty("wait", jobs[0])
    later = submitted("video-9", "--handler", "fails")
    found = [job["id"] for job in hasty("ls", "--json").records]
    assert found == [later, *reversed(jobs)]
    for options, ids in (
        (["--label", "n=1"], [jobs[1]]),
        (["--handler", "fails"], [later]),
        (["--object", "video-0", "--status", "finished"], [jobs[0]]),
        (["--limit", "2"], [later, jobs[2]]),
        (["--since", "2030-01-01T00:00:00Z"], []),
    ):
        assert [job["id"] for job in hasty("ls", "--json", *options).records] == ids


def test_pools_and_handlers_are_shown_and_pools_resized(real):
    assert [pool["name"] for pool in hasty("pools", "--json").records] == ["default"]
    assert hasty("scale", "default=1").out == "default: 1 workers, as you say; 1 take jobs now\n"
    assert hasty("scale", "nobody=1").code == 6
    assert hasty("scale", "default=0").code == 2
    assert {each["name"] for each in hasty("handlers", "--running", "--json").records} == {
        "sleep",
        "reports",
        "fails",
    }


def test_what_is_not_there_is_told(real):
    for words in (["get"], ["wait"], ["result"], ["attempts"], ["events"], ["rerun"], ["object"]):
        assert hasty(*words, "nobody").code == 6, words


def test_a_schedule_is_added_paused_resumed_and_deleted(real):
    add = ("schedules", "add", "nightly", "report", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin")
    (made,) = hasty(*add, "--missed", "once", "--handler", "reports", "--payload", "[]", "--json").records
    assert (made["cron"], made["timezone"], made["missed"]) == ("0 3 * * *", "Europe/Berlin", "once")
    assert made["job"]["handler"] == "reports"
    assert hasty(*add, "--json").problem["code"] == "schedule_exists"
    assert hasty("schedules", "list").lines[1].startswith("nightly   0 3 * * * Europe/Berlin  report")
    assert "paused" in hasty("schedules", "pause", "nightly").lines[1]
    assert "2026-01-01 02:00:00Z" in hasty("schedules", "resume", "nightly").lines[1]
    assert hasty("schedules", "delete", "nightly").code == 0
    assert hasty("schedules", "pause", "nightly").code == 6
    assert hasty("schedules", "list", "--json").records == []


@pytest.mark.parametrize(
    "options", [["--cron", "often"], ["--every", "0"], ["--every", "1", "--timezone", "CET"]]
)
def test_a_schedule_that_cannot_be_is_told(real, options):
    said = hasty("schedules", "add", "nightly", "report", *options, "--json")
    assert (said.code, said.problem["code"]) == (2, "invalid_request")


def test_what_came_of_a_webhook_is_shown(real):
    told = submitted("video-1", "--webhook", "https://hooks.example/hasty")
    (log,) = hasty("webhooks", "deliveries", told, "--json").records
    assert log["state"] in {"waiting", "pending"}
    assert hasty("webhooks", "deliveries", told).lines[-1].startswith(log["state"])
    assert hasty("webhooks", "deliveries", submitted("video-2")).code == 6
    assert hasty("webhooks", "deliveries", "nobody").code == 6
