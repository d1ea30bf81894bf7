"""Waiting for jobs and following events: what is shown meanwhile, what is said at the end."""

import asyncio
import io
import json
import re

import httpx
import pytest

from hasty.cli.bars import Bars
from hasty.cli.voice import Voice, console
from hasty.cli.waiting import Waiting
from hasty.client import AsyncClient, Event, Job
from tests.unit.examples import virtually
from tests.unit.fake_api import FakeApi, a_job
from tests.unit.typing_commands import URL, hasty, send_by


@pytest.fixture
def api(monkeypatch):
    api = FakeApi()
    send_by(monkeypatch, api.transport())
    return api


def submitted(api, *handlers):
    for number, handler in enumerate(handlers, 1):
        api.jobs[f"job-{number}"] = a_job(f"job-{number}", f"video-{number}", handler)
    return list(api.jobs)


# wait -------------------------------------------------------------------------------------------


def test_one_job_is_waited_for_by_its_events_and_read_once_it_has_ended(api):
    submitted(api, "sleep")
    said = hasty("wait", "job-1")
    assert (said.code, said.err) == (0, "")
    head, row = said.lines
    assert head.split() == ["JOB", "OBJECT", "STATUS", "TOOK"]
    assert row == 'job-1  video-1  finished  20 s  {"sleep_time_used": 20}'
    read, followed, last = api.paths()
    assert (read, followed) == ("GET /v1/jobs/job-1", "GET /v1/jobs/job-1/events")
    assert last.startswith("GET /v1/jobs/job-1?wait=")


def test_a_job_that_has_ended_is_read_once(api):
    submitted(api, "sleep")
    hasty("wait", "job-1")
    api.asked.clear()
    assert hasty("wait", "job-1").code == 0
    assert api.paths() == ["GET /v1/jobs/job-1"]


def test_where_there_are_no_events_it_is_asked_until_it_has_ended(api):
    submitted(api, "sleep")
    api.streams = False
    said = hasty("wait", "job-1", "--json")
    assert (said.code, said.err) == (0, "")
    assert [record["status"] for record in said.records] == ["finished"]


@pytest.mark.parametrize(
    ("handlers", "code"),
    [
        (["sleep", "sleep"], 0),
        (["sleep", "cancelled"], 3),
        (["cancelled", "fails", "sleep"], 1),
        (["fails", "nobody", "cancelled"], 6),
    ],
)
def test_of_several_jobs_the_worst_end_is_the_exit_code(api, handlers, code):
    jobs = submitted(api, *handlers)
    for job_id, handler in zip(jobs, handlers, strict=True):
        if handler == "cancelled":
            api.jobs[job_id]["status"] = "cancelled"
        if handler == "nobody":
            del api.jobs[job_id]
    said = hasty("wait", *jobs, *jobs)
    assert said.code == code
    assert [line.split()[0] for line in said.lines[1:]] == [job for job in jobs if job in api.jobs]
    assert len(hasty("wait", *jobs, "--json").records) == len(api.jobs)


def test_submit_waits_where_it_is_told_to(api):
    said = hasty("submit", "video-1", "--handler", "fails", "--wait")
    assert said.code == 1
    assert said.lines[1].endswith("ValueError: no such file")
    (record,) = hasty("submit", "video-2", "--wait", "--json").records
    assert (record["status"], record["result"]) == ("finished", {"sleep_time_used": 20})
    assert hasty("rerun", "job-1", "--force", "--wait").code == 1


def test_who_waits_no_longer_than_so_long_is_told_how_it_stands(api):
    submitted(api, "hangs", "sleep")
    said = hasty("wait", "job-1", "job-2", "--within", "0.2")
    assert said.code == 8
    assert said.err == "hasty: job job-1 has not ended within 0.2 s\n"
    assert [line.split()[:3] for line in said.lines[1:]] == [
        ["job-1", "video-1", "queued"],
        ["job-2", "video-2", "finished"],
    ]
    said = hasty("wait", "job-1", "job-2", "--within", "0.2", "--json")
    assert [record["id"] for record in said.records] == ["job-2"]
    problem = said.problem
    assert (problem["code"], problem["job_id"], problem["job_status"]) == ("wait_timeout", "job-1", "queued")


def test_a_job_that_has_ended_has_done_so_within_any_time(api):
    (job_id,) = submitted(api, "sleep")
    hasty("wait", job_id)
    assert hasty("wait", job_id, "--within", "0").code == 0
    assert hasty("wait", "nobody", "--within", "0").code == 6
    hanging = hasty("wait", *submitted(api, "sleep", "hangs"), "--within", "0")
    assert (hanging.code, hanging.err) == (8, "hasty: job job-2 has not ended within 0 s\n")


@pytest.mark.parametrize("within", ["0", "0.2"])
def test_where_nothing_answers_that_is_told_and_not_that_the_job_has_not_ended(api, within):
    submitted(api, "sleep")
    api.first = [httpx.ConnectError("Connection refused")] * 100
    said = hasty("wait", "job-1", "--within", within, "--json")
    assert (said.code, said.problem["code"], said.problem["job_id"]) == (5, "unreachable", "job-1")


def slow(api, seconds):
    """Answer as it does, after a while: a real hasty takes its time."""

    async def answer(request):
        await asyncio.sleep(seconds)
        return api.answer(request)

    return httpx.MockTransport(answer)


async def ends(transport, jobs, limit_s, capsys):
    """Wait for jobs; return how each ended, and what was told of those that did not."""
    async with AsyncClient(URL, transport=transport) as client:
        voice = Voice(as_json=True)
        waiting = Waiting(client, Bars(voice), voice, limit_s)
        codes = await asyncio.gather(*map(waiting.for_one, jobs))
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return codes, {each["job_id"]: each["code"] for each in told}


@virtually
async def test_each_job_is_looked_at_though_others_have_all_the_turns(monkeypatch, capsys):
    monkeypatch.setattr("hasty.cli.waiting._AT_ONCE", 2)
    api = FakeApi()
    jobs = submitted(api, "hangs", "hangs", "sleep", "hangs")
    api.jobs["job-3"]["status"] = "finished"
    codes, told = await ends(slow(api, 0), [*jobs, "nobody"], 0.2, capsys)
    assert codes == [8, 8, 0, 8, 6]
    assert told == dict.fromkeys(["job-1", "job-2", "job-4"], "wait_timeout") | {"nobody": "unknown_job"}


@virtually
async def test_a_look_that_takes_longer_than_the_time_is_not_cut_off(capsys):
    api = FakeApi()
    jobs = submitted(api, "sleep", "hangs")
    api.jobs["job-1"]["status"] = "finished"
    codes, told = await ends(slow(api, 0.05), [*jobs, "nobody"], 0.01, capsys)
    assert codes == [0, 8, 6]
    assert told == {"job-2": "wait_timeout", "nobody": "unknown_job"}


@virtually
async def test_a_job_whose_turn_never_comes_is_told_as_it_stands_in_the_end(monkeypatch, capsys):
    monkeypatch.setattr("hasty.cli.waiting._AT_ONCE", 1)
    api = FakeApi()
    jobs = submitted(api, "hangs", "sleep")
    asyncio.get_running_loop().call_later(0.05, lambda: api.end(api.jobs["job-2"]))
    assert (await ends(slow(api, 0), jobs, 0.2, capsys))[0] == [8, 0]


def test_what_is_told_of_a_job_names_it(api):
    submitted(api, "sleep")
    api.key = "another"
    said = hasty("wait", "job-1", "--json")
    assert (said.code, said.problem["code"], said.problem["job_id"]) == (7, "unauthorized", "job-1")


def test_the_id_of_a_new_job_is_said_before_it_is_waited_for(api):
    said = hasty("submit", "video-1", "--wait")
    assert (said.code, said.err) == (0, "job-1 queued\n")
    assert hasty("rerun", "job-1", "--force", "--wait").err == "job-2 queued\n"
    assert hasty("submit", "video-2", "--wait", "--json").err == ""


@pytest.mark.parametrize("words", [("submit", "video-1"), ("rerun", "job-1", "--force")])
def test_programs_have_the_id_of_a_new_job_also_where_it_cannot_be_waited_for(api, words):
    hasty("submit", "video-0")
    accepted = api.answer(httpx.Request("POST", f"{URL}/v1/jobs", json={"object_id": "video-9"}))
    assert accepted.json()["id"] == "job-2"
    api.first = [accepted, httpx.Response(401, json={"code": "unauthorized"})]
    said = hasty(*words, "--wait", "--json")
    assert (said.code, said.problem["code"], said.problem["job_id"]) == (7, "unauthorized", "job-2")
    api.first = [accepted, KeyboardInterrupt()]
    said = hasty(*words, "--wait", "--json")
    assert (said.code, said.out) == (130, "")
    assert (said.problem["code"], said.problem["job_id"], said.problem["exit_code"]) == (
        "interrupted",
        "job-2",
        130,
    )


def test_ctrl_c_names_to_programs_only_the_jobs_that_are_left(api):
    submitted(api, "sleep", "hangs")
    api.jobs["job-1"]["status"] = "finished"
    api.first = [httpx.Response(200, json=each) for each in api.jobs.values()] + [KeyboardInterrupt()]
    said = hasty("wait", "job-1", "job-2", "--json")
    assert (said.code, [each["id"] for each in said.records]) == (130, ["job-1"])
    assert said.problem["job_id"] == "job-2"


def test_ctrl_c_leaves_the_job_alone(api):
    submitted(api, "sleep")
    api.first = [httpx.Response(200, json=api.jobs["job-1"]), KeyboardInterrupt()]
    said = hasty("wait", "job-1")
    assert (said.code, said.out) == (130, "")
    assert said.err == "left alone; to wait again: hasty wait job-1\n"
    assert {path.split()[0] for path in api.paths()} == {"GET"}


async def test_so_many_jobs_are_followed_at_once_and_the_others_when_there_is_room(monkeypatch):
    monkeypatch.setattr("hasty.cli.waiting._AT_ONCE", 3)
    open_at_once, most, api = set(), 0, FakeApi()
    jobs = submitted(api, *["sleep"] * 10)

    async def answer(request):
        nonlocal most
        if request.url.path.endswith("/events"):
            open_at_once.add(request.url.path)
            most = max(most, len(open_at_once))
            await asyncio.sleep(0)
            open_at_once.discard(request.url.path)
        return api.answer(request)

    async with AsyncClient(URL, transport=httpx.MockTransport(answer)) as client:
        waiting = Waiting(client, Bars(Voice(as_json=True)), Voice(as_json=True), None)
        assert {*await asyncio.gather(*map(waiting.for_one, jobs))} == {0}
    assert most == 3
    assert {job.status for job in waiting.last.values()} == {"finished"}


@virtually
async def test_where_events_are_kept_back_on_the_way_it_is_asked_instead():
    api, cancelled = FakeApi(), []
    submitted(api, "sleep")

    async def answer(request):
        if request.url.path.endswith("/events"):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(request.url.path)
        return api.answer(request)

    async with AsyncClient(URL, transport=httpx.MockTransport(answer)) as client:
        waiting = Waiting(client, Bars(Voice(as_json=True)), Voice(as_json=True), None)
        assert await waiting.for_one("job-1") == 0
    assert waiting.last["job-1"].status == "finished"
    assert cancelled == ["/v1/jobs/job-1/events"]


@virtually
async def test_events_that_come_may_be_far_apart(monkeypatch):
    api, heard = FakeApi(), []
    submitted(api, "sleep")

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self):
            first, *rest = api.answer(httpx.Request("GET", f"{URL}/v1/jobs/job-1/events")).content.split(
                b"\n\n"
            )
            yield first + b"\n\n"
            yield rest[0] + b"\n\n"
            await asyncio.sleep(60)
            yield b"\n\n".join(rest[1:])

    async def answer(request):
        if request.url.path.endswith("/events"):
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Slow())
        return api.answer(request)

    async with AsyncClient(URL, transport=httpx.MockTransport(answer)) as client:
        bars = Bars(Voice(as_json=True))
        monkeypatch.setattr(bars, "hear", lambda event: heard.append(event.type))
        await Waiting(client, bars, Voice(as_json=True), None).for_one("job-1")
    assert heard == ["job.queued", "job.running", "job.progress", "job.finished"]


# Bars -------------------------------------------------------------------------------------------

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_a_terminal(monkeypatch, *, as_json=False):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    voice = Voice(as_json=as_json)
    voice.err = console(Terminal())
    return voice


def seen(voice):
    return ESCAPE.sub("", voice.err.file.getvalue())


def test_a_terminal_has_a_bar_for_each_job_and_in_the_end_none(monkeypatch):
    voice = on_a_terminal(monkeypatch)
    with Bars(voice) as bars:
        bars.see(Job(**a_job("job-1", "[red]video\x1b[2J", "sleep")))
        bars.see(Job(**a_job("job-2", "video-2", "fails")))
        half = {"at": "2026-01-01T00:00:05Z", "fraction": 0.5, "message": "half\x07 of it"}
        bars.hear(Event(type="job.progress", job_id="job-1", status="running", progress=half))
        bars.hear(Event(type="gap"))
        bars.hear(Event(type="job.running", job_id="of somebody else", status="running"))
        bars.see(Job(**a_job("job-2", "video-2", "fails") | {"status": "failed"}))
        (first, second) = bars._bars.tasks
        assert (first.completed, first.total) == (0.5, 1.0)
        assert (second.completed, second.total) == (1.0, 1.0)
        bars._bars.refresh()
    assert "[red]video\\x1b[2J (sleep)" in seen(voice)
    assert "running half\\x07 of it" in seen(voice)
    assert "failed" in seen(voice)
    # The last thing that is done erases the lines.
    assert voice.err.file.getvalue().endswith("\x1b[2K")


def test_a_job_that_says_nothing_of_how_far_it_is_has_no_share(monkeypatch):
    with Bars(on_a_terminal(monkeypatch)) as bars:
        bars.see(Job(**a_job("job-1", "video-1")))
        assert bars._bars.tasks[0].total is None


def test_programs_see_no_bars_nor_do_files(monkeypatch):
    voice = on_a_terminal(monkeypatch, as_json=True)
    with Bars(voice) as bars:
        bars.see(Job(**a_job("job-1", "video-1")))
    assert seen(voice) == ""
    voice = Voice(as_json=False)
    voice.err = console(io.StringIO())
    with Bars(voice) as bars:
        bars.see(Job(**a_job("job-1", "video-1")))
    assert seen(voice) == ""


# events -----------------------------------------------------------------------------------------


def test_the_events_of_a_job_are_followed_to_its_last(api):
    submitted(api, "fails")
    said = hasty("events", "job-1")
    assert said.code == 0
    assert said.lines[0] == "2026-01-01 00:00:01Z job-1 queued video-1 (fails), attempt 1"
    assert said.lines[2].endswith("job-1 running video-1 (fails), attempt 1, 50% half of it")
    assert said.lines[-1].endswith("job-1 failed video-1 (fails), attempt 1, ValueError: no such file")
    kinds = [record["type"] for record in hasty("events", "job-1", "--json").records]
    assert kinds == ["job.queued", "job.running", "job.progress", "job.failed"]
    assert hasty("events", "nobody").code == 6


def test_all_events_are_followed_until_ctrl_c_from_where_one_says(api):
    submitted(api, "sleep", "sleep")
    first = api.answer(httpx.Request("GET", f"{URL}/v1/events?object_id=video-1"))
    api.asked.clear()
    api.first = [first, KeyboardInterrupt()]
    said = hasty("events", "--object", "video-1", "--handler", "sleep", "--after", "0", "--json")
    assert said.code == 130
    assert [record["job_id"] for record in said.records] == ["job-1"] * 3
    assert api.paths()[0] == "GET /v1/events?object_id=video-1&handler=sleep"
    assert [request.headers["Last-Event-ID"] for request in api.asked] == ["0", "3"]


def test_a_gap_is_told(api):
    gap = {"id": "7", "type": "gap"}
    body = f"id: 7\nevent: gap\ndata: {json.dumps(gap)}\n\n".encode()
    stream = httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})
    api.first = [stream, KeyboardInterrupt()]
    assert hasty("events").out == "gap: what was before is no longer kept\n"
