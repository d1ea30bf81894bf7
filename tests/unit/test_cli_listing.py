"""`hasty ls`: which jobs are asked for, and how they are shown, once or again and again."""

import io
import re

import httpx
import pytest

from hasty.cli import listing
from hasty.cli.voice import console
from tests.unit.fake_api import AT, FakeApi, a_job
from tests.unit.typing_commands import hasty, send_by


@pytest.fixture
def api(monkeypatch):
    api = FakeApi()
    send_by(monkeypatch, api.transport())
    for number, handler in enumerate(["sleep", "fails", "sleep"], 1):
        api.jobs[f"job-{number}"] = a_job(
            f"job-{number}", f"video-{number}", handler, labels={"n": str(number)}
        )
    api.jobs["job-1"] |= {"status": "finished", "started_at": AT.format(0), "ended_at": AT.format(20)}
    return api


@pytest.fixture
def looks(monkeypatch):
    """Nothing is waited for: before each look but the first something happens, in the end Ctrl-C.

    Before each new try of a request, too.
    """
    happens = []

    def sleep(_seconds):
        if not happens:
            raise KeyboardInterrupt
        happens.pop(0)()

    monkeypatch.setattr(listing.time, "sleep", sleep)
    return happens


def test_jobs_are_listed_newest_first(api):
    said = hasty("ls")
    assert said.code == 0
    assert " ".join(said.lines[0].split()) == "JOB OBJECT HANDLER STATUS ATTEMPT ACCEPTED TOOK"
    assert [line.split()[0] for line in said.lines[1:]] == ["job-3", "job-2", "job-1"]
    assert "finished" in said.lines[3]
    assert "20 s" in said.lines[3]
    assert [record["id"] for record in hasty("ls", "--json").records] == ["job-3", "job-2", "job-1"]


def test_what_is_asked_for_is_sent(api):
    hasty(
        *("ls", "--status", "queued", "--status", "running", "--handler", "sleep", "--object", "video-3"),
        *("--label", "n=3", "--since", "2026-01-01T00:00:00Z", "--limit", "7"),
    )
    assert dict(api.asked[0].url.params.multi_items()) == {
        "status": "running",
        "handler": "sleep",
        "object_id": "video-3",
        "label": "n=3",
        "accepted_after": "2026-01-01T00:00:00+00:00",
        "limit": "7",
    }
    assert api.asked[0].url.params.get_list("status") == ["queued", "running"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--status", "finished"], ["job-1"]),
        (["--handler", "fails"], ["job-2"]),
        (["--object", "video-3"], ["job-3"]),
        (["--label", "n=2"], ["job-2"]),
        (["--limit", "2"], ["job-3", "job-2"]),
        (["--object", "nothing"], []),
    ],
)
def test_jobs_are_chosen(api, options, found):
    assert [record["id"] for record in hasty("ls", "--json", *options).records] == found


@pytest.mark.parametrize(
    "options",
    [
        ["--status", "done"],
        ["--limit", "0"],
        ["--since", "yesterday"],
        ["--label", "team"],
        ["--watch", "--every", "often"],
    ],
)
def test_what_cannot_be_read_is_told_before_anything_is_asked(api, options):
    assert hasty("ls", *options).code == 2
    assert api.asked == []


def change(api, job_id, **how):
    return lambda: api.jobs[job_id].update(how)


def test_programs_that_watch_get_each_job_anew_when_it_has_changed(api, looks):
    looks += [
        lambda: None,
        change(api, "job-2", status="running"),
        lambda: api.jobs.update({"job-4": a_job("job-4", "video-4")}),
    ]
    said = hasty("ls", "--watch", "--json")
    assert said.code == 130
    assert [(record["id"], record["status"]) for record in said.records] == [
        ("job-1", "finished"),
        ("job-2", "queued"),
        ("job-3", "queued"),
        ("job-2", "running"),
        ("job-4", "queued"),
    ]


def test_a_file_that_watches_gets_what_has_changed(api, looks):
    looks += [change(api, "job-2", status="running")]
    said = hasty("ls", "--watch")
    assert said.code == 130
    assert [line.split()[0] for line in said.lines] == ["JOB", "job-1", "job-2", "job-3", "JOB", "job-2"]


def test_who_watches_is_told_when_hasty_is_away_and_goes_on(api, looks):
    away = [httpx.ConnectError("Connection refused")] * 3
    tries = [lambda: None] * 2
    looks += [lambda: api.first.extend(away), *tries, change(api, "job-2", status="running")]
    said = hasty("ls", "--watch")
    assert "no answer from hasty.test:8000: Connection refused" in said.err
    assert said.lines[-1].split()[:4] == ["job-2", "video-2", "fails", "running"]


ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_one_table_that_changes(api, looks, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    terminal = Terminal()
    monkeypatch.setattr("hasty.cli.voice.console", lambda _file: console(terminal))
    looks += [change(api, "job-2", status="running")]
    assert hasty("ls", "--watch").code == 130
    shown = terminal.getvalue()
    first, second = shown.split("\x1b[1A", 1)
    assert re.search(r"job-2 .* queued", ESCAPE.sub("", first))
    assert re.search(r"job-2 .* running", ESCAPE.sub("", second))
    assert "Ctrl-C to end" in second


def test_a_terminal_is_told_that_hasty_is_away_in_the_place_of_the_table(api, looks, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    monkeypatch.setattr("hasty.cli.voice.console", lambda _file: console(terminal))
    api.first = [httpx.ConnectError("Connection refused")] * 3
    looks += [lambda: None] * 3
    assert hasty("ls", "--watch").code == 130
    away, _, back = terminal.getvalue().rpartition("Connection refused")
    assert "no answer from" in away
    assert "job-3" in back
