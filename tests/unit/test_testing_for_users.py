"""What users test their handlers with: one attempt inline, and a whole hasty on virtual time."""

import asyncio
import gc
import random
import re
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

import hasty
from hasty.errors import BadResult, FixTheHandler, InvalidRequest, PayloadTooLarge, UnknownHandler, UnknownJob
from hasty.testing import (
    JobRefused,
    Overran,
    VirtualClock,
    VirtualHasty,
    inline,
    perform,
    perform_async,
    plugin,
    run_virtually,
)

ROOT = Path(__file__).parents[2]

#: Here also where the plugin was not installed yet.
job_context, virtual_hasty = plugin.job_context, plugin.virtual_hasty


class Order(BaseModel):
    items: list[str]


class Receipt(BaseModel):
    lines: int


@hasty.handler(timeout=30)
async def invoice(job: hasty.JobContext, order: Order) -> Receipt:
    job.progress(0.5, "half")
    return Receipt(lines=len(order.items))


@hasty.handler
def pack(job: hasty.JobContext, order: Order) -> Receipt:
    job.progress(0.5, "half")
    return Receipt(lines=len(order.items))


@hasty.handler
async def anything(payload):
    return payload


@hasty.handler(pool="gpu", queue_timeout=60)
async def wait_for(job: hasty.JobContext, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return job.attempt


# One attempt -------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [invoice, pack])
@pytest.mark.parametrize("payload", [{"items": ["tea", "milk"]}, Order(items=["tea", "milk"])])
def test_an_attempt_takes_what_clients_send_and_returns_what_they_read(handler, payload):
    done = perform(handler, payload, object_id="order-1", run=2, attempt=3)
    assert done.result == {"lines": 2}
    assert [(said.fraction, said.message) for said in done.progress] == [(0.5, "half")]
    assert (done.job.object_id, done.job.run, done.job.attempt) == ("order-1", 2, 3)


async def test_an_async_test_awaits_an_attempt():
    assert (await perform_async(invoice, {"items": []})).result == {"lines": 0}
    assert (await perform_async(pack, {"items": []})).result == {"lines": 0}
    with pytest.raises(RuntimeError, match="await hasty"):
        perform(invoice, {"items": []})


def test_an_attempt_is_refused_what_a_client_is_refused():
    with pytest.raises(InvalidRequest, match=r"payload\.items"):
        perform(invoice, {"items": 3})
    with pytest.raises(PayloadTooLarge):
        perform(anything, "x" * 300_000)


def test_a_result_is_judged_as_by_a_worker():
    assert perform(anything, (1, 2)).result == [1, 2]

    @hasty.handler
    def grows(size: int):
        return "x" * size if size else object()

    for size in (0, 300_000):
        with pytest.raises(BadResult):
            perform(grows, size)


def test_what_a_handler_raises_comes_out_as_it_is():
    error = KeyError("x")

    @hasty.handler(retries=3)
    async def fails():
        raise error

    @hasty.handler
    async def gives_up():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    with pytest.raises(KeyError) as raised:
        perform(fails)
    assert raised.value is error
    with pytest.raises(asyncio.CancelledError):
        perform(gives_up)


def test_an_attempt_is_stopped_when_its_time_has_passed(monkeypatch):
    ended = []

    @hasty.handler(max_timeout=60)
    async def slow(job: hasty.JobContext, seconds: float):
        job.extend(seconds)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(job.cancelled())

    @hasty.handler(stall_timeout=0.01)
    async def silent():
        await asyncio.sleep(60)

    @hasty.handler(timeout=0.01)
    def patient(job: hasty.JobContext):
        while not job.cancelled():
            time.sleep(0.001)

    with pytest.raises(Overran, match="no progress"):
        perform(silent)
    with pytest.raises(Overran):
        perform(patient)
    # In virtual time it is certain that the handler has begun by then.
    monkeypatch.setattr(inline, "SystemClock", lambda: VirtualClock(asyncio.get_running_loop()))
    with pytest.raises(Overran, match="ran longer than 20 s"):
        run_virtually(perform_async(slow, 20, timeout=10))
    assert ended == [True]


def test_a_sync_handler_may_run_a_loop_of_its_own():
    async def seven():
        return 7

    @hasty.handler
    def bridges() -> int:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(seven())

    assert perform(bridges).result == 7


def test_what_is_no_handler_is_told():
    with pytest.raises(FixTheHandler, match="put @hasty"):
        perform(lambda: 1)
    with pytest.raises(FixTheHandler, match="put @hasty"):
        VirtualHasty(print)


async def test_a_context_is_one_of_a_job_that_is_nowhere(job_context):
    job = job_context(object_id="order-1", timeout=1_000, max_timeout=10_000)
    assert await invoice(job, Order(items=["tea"])) == Receipt(lines=1)
    assert isinstance(job, hasty.JobContext)
    assert (job.object_id, job.reported[0].message) == ("order-1", "half")
    assert 900 < (job.deadline - datetime.now(UTC)).total_seconds() <= 1_000
    assert 4_900 < job.extend(5_000) <= 5_000
    assert not job.cancelled()
    job.cancel()
    assert job.cancelled()
    fences = [job_context(run=run, attempt=attempt).fence for run in (1, 2) for attempt in (1, 2)]
    assert fences == sorted(set(fences))


# A whole hasty -----------------------------------------------------------------------------------


def test_a_job_is_admitted_once_in_its_window(virtual_hasty):
    hasty = virtual_hasty(invoice, pack, rerun_window_s=200)
    done = hasty.wait(hasty.submit("order-1", "invoice", Order(items=["tea"])))
    assert (done.status, done.result, done.run) == ("finished", {"lines": 1}, 1)
    hasty.advance(199)
    with pytest.raises(JobRefused, match="rerun_window") as refused:
        hasty.submit("order-1", "pack", {"items": []})
    assert refused.value.job_id == done.job_id
    assert 0 < refused.value.retry_after < 1
    hasty.advance(1)
    again = hasty.wait(hasty.submit("order-1", "pack", {"items": ["tea", "milk"]}))
    assert (again.status, again.result, again.run) == ("finished", {"lines": 2}, 2)
    assert hasty.wait(hasty.submit("video-1")).handler == "sleep"


def test_what_can_never_be_a_job_is_refused(virtual_hasty):
    hasty = virtual_hasty(invoice)
    with pytest.raises(InvalidRequest, match=r"payload\.items"):
        hasty.submit("order-1", "invoice", {"items": 3})
    with pytest.raises(UnknownHandler):
        hasty.submit("order-1", "pack")
    for ask in (hasty.get, hasty.wait, hasty.cancel):
        with pytest.raises(UnknownJob):
            ask("no-such-job")


def test_a_handler_is_stopped_when_its_time_has_passed_or_somebody_says_so(virtual_hasty):
    stopped = []

    @hasty.handler
    async def endless(job: hasty.JobContext):
        try:
            await asyncio.sleep(10_000)
        finally:
            stopped.append(job.object_id)

    system = virtual_hasty(endless)
    overran = system.wait(system.submit("overran", "endless"))
    assert (overran.status, overran.error["type"]) == ("cancelled", "Timeout")
    assert (overran.ended_at - overran.started_at).total_seconds() == 46
    running = system.submit("unwanted", "endless")
    with pytest.raises(TimeoutError, match="after 10 s the job is running, attempt 1 of 'endless'"):
        system.wait(running, within=10)
    assert system.cancel(running, "enough").error == {"type": "CancelRequested", "message": "enough"}
    assert stopped == ["overran", "unwanted"]
    assert system.cancel(overran) == overran


def test_a_job_that_nobody_starts_in_time_is_cancelled(virtual_hasty):
    hasty = virtual_hasty(wait_for, slots=1, timeout_s=500)
    first, second = (hasty.submit(name, "wait_for", 100) for name in ("first", "second"))
    assert hasty.wait(second).error["type"] == "QueueTimeout"
    assert hasty.wait(first).status == "finished"


def test_a_handler_that_fails_is_tried_again_if_it_says_so(virtual_hasty):
    @hasty.handler(retries=5, backoff=60)
    def flaky(job: hasty.JobContext):
        if job.attempt < 3:
            raise ValueError(job.attempt)
        return (job.attempt,)

    @hasty.handler(retries=5, retry_on=KeyError)
    def hopeless():
        sys.exit("on purpose")

    system = virtual_hasty(flaky, hopeless)
    first, second = system.submit("a", "flaky"), system.submit("b", "hopeless")
    assert system.get(first).status == "scheduled"
    done, failed = system.wait(first), system.wait(second)
    assert (done.status, done.result) == ("finished", [3])
    assert (failed.status, failed.attempt) == ("failed", 1)
    assert failed.error == {"type": "SystemExit", "message": "on purpose"}


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_an_attempt_whose_end_nobody_heard_of_is_made_again(virtual_hasty, kind):
    done = []

    @hasty.handler(name="async", max_crashes=1)
    async def acts(job: hasty.JobContext):
        done.append(job.fence)

    @hasty.handler(name="sync", max_crashes=1)
    def acts_too(job: hasty.JobContext):
        done.append(job.fence)

    system = virtual_hasty(acts, acts_too)
    system.crash_worker(at_end=True)
    ended = system.wait(system.submit("a", kind))
    assert (ended.status, ended.attempt) == ("finished", 2)
    assert done == sorted(set(done)) and len(done) == 2
    assert system.wait(system.submit("b", kind)).attempt == 1


def test_what_runs_in_a_crash_runs_again(virtual_hasty):
    hasty = virtual_hasty(wait_for)
    job = hasty.submit("a", "wait_for", 20)
    hasty.advance(10)
    hasty.crash_worker()
    assert hasty.wait(job).result == 2


def test_a_thread_is_run_at_once(virtual_hasty):
    @hasty.handler
    async def threads(error: bool) -> int:
        return await asyncio.to_thread(int, "x" if error else "7")

    system = virtual_hasty(threads)
    assert system.wait(system.submit("a", "threads", False)).result == 7
    assert system.wait(system.submit("b", "threads", True)).error["type"] == "ValueError"


def test_handlers_are_found_by_their_modules_too(virtual_hasty, tmp_path, monkeypatch):
    (tmp_path / "found_by_path.py").write_text("import hasty\n\n@hasty.handler\ndef there():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    hasty = virtual_hasty("found_by_path", "found_by_path", invoice)
    assert hasty.wait(hasty.submit("a", "there")).result == 1
    sys.modules.pop("found_by_path")


@pytest.mark.timeout(120)
def test_a_year_passes_and_what_is_old_is_forgotten(virtual_hasty):
    hasty = virtual_hasty(anything, rerun_window_s=31_000_000)
    job = hasty.submit("a", "anything")
    hasty.advance(30_999_000)
    with pytest.raises(JobRefused):
        hasty.submit("a", "anything")
    hasty.advance(86_400 + 1_000)
    with pytest.raises(UnknownJob):
        hasty.get(job)
    assert hasty.wait(hasty.submit("a", "anything", {"n": 1})).result == {"n": 1}


def test_it_takes_the_same_course_each_time_and_leaves_chance_as_it_was():
    def course() -> list[float]:
        with VirtualHasty() as hasty:
            jobs = [hasty.wait(hasty.submit(f"video-{n}")) for n in range(3)]
        return [job.ended_at for job in jobs]

    random.seed(7)
    expected = random.random()
    random.seed(7)
    assert course() == course()
    assert random.random() == expected


async def test_an_async_test_is_refused():
    with pytest.raises(RuntimeError, match="not async"):
        VirtualHasty()


def test_what_still_runs_at_the_end_leaves_no_trace(recwarn, caplog):
    hasty = VirtualHasty(wait_for)
    hasty.submit("a", "wait_for", 1_000)
    hasty.advance(1)
    hasty.crash_worker()
    hasty.close()
    hasty.close()
    del hasty
    gc.collect()
    assert not recwarn.list
    assert [record for record in caplog.records if record.name == "asyncio"] == []


# The plugin and the page -------------------------------------------------------------------------


def test_the_plugin_costs_little_and_nothing_here_takes_ray_or_mongodb():
    look = """
import importlib, pkgutil, sys
import hasty.testing.plugin
heavy = {"hasty.testing.system", "hasty.testing.inline", "hasty.actors", "hasty.api"}
print(sorted(heavy & sys.modules.keys()))
for module in pkgutil.iter_modules(hasty.testing.__path__):
    importlib.import_module(f"hasty.testing.{module.name}")
print([name for name in hasty.testing.__all__ if not hasattr(hasty.testing, name)])
print(sorted({"ray", "pymongo", "bson"} & sys.modules.keys()))
"""
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["[]", "[]", "[]"]


def test_every_example_of_the_page_runs(tmp_path):
    page = (ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == page.count("```python") == 4
    for name, code in blocks:
        (tmp_path / name).write_text(code)
    install_plugin(tmp_path)
    options = [
        "-q",
        "-W",
        "error",
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f"{page.count('def test_')} passed" in run.stdout, run.stdout + run.stderr


def install_plugin(folder):
    """Let pytest find what an installation of this project would bring, for whoever starts in this folder."""
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    metadata = folder / "installed-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))


def test_a_job_can_follow_another_of_its_object(virtual_hasty):
    hasty = virtual_hasty(invoice)
    first = hasty.submit("order-1", "invoice", Order(items=["tea"]))
    after = hasty.submit("order-1", "invoice", Order(items=["milk"]), on_conflict="after")
    assert (after.run, after.status) == (2, "scheduled")
    assert hasty.submit("order-1", "invoice", Order(items=[]), on_conflict="after").job_id == after.job_id
    assert hasty.submit("order-1", "invoice", Order(items=[]), on_conflict="attach").job_id == after.job_id
    done = hasty.wait(after)
    assert done.status == "finished"
    assert done.started_at >= first.opens_at
    with pytest.raises(InvalidRequest, match="delay"):
        hasty.submit("order-2", "invoice", Order(items=[]), delay=-1.0)
