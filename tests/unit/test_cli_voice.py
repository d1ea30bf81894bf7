"""How the command line speaks: to programs, to terminals, and when nobody listens any more."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from hasty.cli import app
from hasty.cli.cells import Rows, moment, span
from hasty.cli.voice import Voice, console, in_one_line, printable
from hasty.errors import HastyError
from tests.unit.examples import NOW
from tests.unit.fake_api import FakeApi, a_job
from tests.unit.serving import served
from tests.unit.typing_commands import hasty, send_by


@pytest.fixture
def api(monkeypatch):
    api = FakeApi()
    send_by(monkeypatch, api.transport())
    return api


# Programs ---------------------------------------------------------------------------------------


def test_json_has_one_line_whatever_is_in_it(api):
    hasty("submit", "line\nbreak \u2028 \x85", "--payload", '"grün\\n"')
    said = hasty("get", "job-1", "--json")
    assert len(said.out.splitlines()) == 1
    assert said.records[0]["payload"] == "grün\n"


def test_what_json_has_no_word_for_is_told_as_text():
    assert in_one_line({"error": HastyError("no"), "n": 1.5}) == '{"error": "no", "n": 1.5}'


def test_a_wrong_command_line_is_told_on_standard_error_alone(api):
    for words in (["submit"], ["get", "a", "b"], ["ls", "--nonsense"], ["nonsense"], ["cancel"]):
        said = hasty(*words)
        assert (said.code, said.out) == (2, "")
        assert said.err
    assert api.asked == []


def commands(group=app, *above):
    for command in group.registered_commands:
        yield (*above, command.name)
    for below in group.registered_groups:
        yield from commands(below.typer_instance, *above, below.name)


#: What runs until it is stopped, or speaks line by line to who started it.
WITHOUT_JSON = {("up",), ("down",), ("deploy",), ("chaos",)}


@pytest.mark.parametrize("words", [each for each in commands() if each not in WITHOUT_JSON], ids=" ".join)
def test_every_command_speaks_json(words):
    assert "--json" in hasty(*words, "--help", COLUMNS="200").out


@pytest.mark.parametrize("words", [*commands()], ids=" ".join)
def test_no_command_takes_a_key_as_an_option(words):
    shown = hasty(*words, "--help", COLUMNS="200").out
    assert "--api-key " not in shown
    assert "HASTY_API_KEY]" not in shown


# Terminals --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown_on(file, monkeypatch, **environment):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    rows = Rows("JOB", "STATUS")
    rows.add("[red]job[/red] :bug:", "failed")
    console(file).print(rows.table)
    return file.getvalue()


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    assert "\x1b[" in shown_on(Terminal(), monkeypatch)
    assert "\x1b[" not in shown_on(io.StringIO(), monkeypatch)
    assert "\x1b[31" not in shown_on(Terminal(), monkeypatch, NO_COLOR="1")
    assert "\x1b[" not in shown_on(Terminal(), monkeypatch, TERM="dumb")


def test_what_others_wrote_is_shown_as_it_is(monkeypatch):
    assert "[red]job[/red] :bug:" in shown_on(io.StringIO(), monkeypatch)


def test_nothing_that_others_wrote_does_anything_to_the_terminal(api):
    api.jobs["job-9"] = a_job("job-9", "\x1b[2Jvideo\r\x07\u202e", "fails", labels={"a": "\x1b]0;x\x07"})
    api.jobs["job-9"] |= {"status": "failed", "error": {"type": "\x1b[31mE", "message": "two\nlines\x9b"}}
    for words in (["get"], ["wait"], ["cancel"], ["events"], ["attempts"], ["submit"], ["object"]):
        said = hasty(*words, "\x1b[2J" if words[0] in {"submit", "object"} else "job-9")
        text = said.out + said.err
        assert not {each for each in text if not each.isprintable()} - {"\n"}, words
    assert "\\x1b[2Jvideo\\r\\x07\\u202e" in hasty("ls").out


def test_a_text_is_made_printable_by_the_numbers_of_what_is_not():
    assert printable("grün 🎬 a\tb\x00\ud800") == "grün 🎬 a\\tb\\x00\\ud800"


def test_no_line_is_cut_or_folded_where_nobody_looks(api):
    long = "x" * 500
    hasty("submit", long)
    assert long in hasty("ls", COLUMNS="40").out


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, ""),
        (0, "0 s"),
        (0.0004, "0.0 s"),
        (0.003, "3 ms"),
        (0.25, "250 ms"),
        (1.04, "1.0 s"),
        (59.0, "59 s"),
        (59.97, "1 min 0 s"),
        (90, "1 min 30 s"),
        (3_599.9, "1 h 0 min"),
        (7_260, "2 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_two_units(seconds, told):
    assert span(seconds) == told


def test_times_are_told_in_utc():
    assert (moment(NOW), moment(None)) == ("2026-01-02 03:04:05Z", "")


# The key ----------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_or_a_file(api, tmp_path):
    api.key = "hsk_secret"
    (tmp_path / "key").write_text("hsk_secret\n")
    (tmp_path / "wrong").write_text("hsk_wrong\n")
    assert hasty("pools", HASTY_API_KEY="hsk_secret").code == 0
    assert hasty("pools", "--api-key-file", str(tmp_path / "key")).code == 0
    assert hasty("pools", "--api-key-file", str(tmp_path / "key"), HASTY_API_KEY="hsk_wrong").code == 0
    for said in (hasty("pools"), hasty("pools", "--api-key-file", str(tmp_path / "wrong"))):
        assert (said.code, said.out) == (7, "")
        assert "HASTY_API_KEY" in said.err
        assert "hsk_" not in said.err


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), (b"\n", "no API key in"), (b"\xff", "cannot read the API key")],
)
def test_a_file_without_a_key_is_told_before_anything_is_sent(api, tmp_path, content, told):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    said = hasty("pools", "--api-key-file", str(tmp_path / "key"))
    assert said.code == 2
    assert told in said.err
    assert api.asked == []


@pytest.mark.parametrize("key", ["two words", "schlüssel"])
def test_what_cannot_be_a_key_is_not_repeated(api, key):
    said = hasty("pools", HASTY_API_KEY=key)
    assert said.code == 2
    assert key not in said.err


# The URL ----------------------------------------------------------------------------------------


def test_where_hasty_is_may_be_said_in_three_ways(api, monkeypatch):
    hasty("pools", HASTY_URL="", HASTY_HTTP_PORT="")
    hasty("pools", HASTY_URL="", HASTY_HTTP_PORT="9000")
    hasty("pools", HASTY_URL="http://other:1", HASTY_HTTP_PORT="9000")
    hasty("pools", "--url", "http://another:1/under", HASTY_URL="http://other:1")
    assert [str(request.url) for request in api.asked] == [
        "http://127.0.0.1:8000/v1/pools",
        "http://127.0.0.1:9000/v1/pools",
        "http://other:1/v1/pools",
        "http://another:1/under/v1/pools",
    ]


def test_what_is_no_url_is_told(api):
    said = hasty("pools", "--url", "hasty:8000", "--json")
    assert (said.code, said.problem["code"]) == (2, "invalid_request")


# Those who stop listening, and those who stop waiting -------------------------------------------

PROGRAM = [sys.executable, "-m", "hasty"]


def environment():
    """One in which nothing is said of hasty, and output is buffered as it is for most."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("HASTY_")}
    mine.pop("PYTHONUNBUFFERED", None)
    return mine


@contextlib.contextmanager
def running(*words, url):
    process = subprocess.Popen(
        [*PROGRAM, *words],
        env={**environment(), "HASTY_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            # It has ended, unless the test failed.
            process.kill()


@pytest.mark.parametrize("options", [["--json"], []])
def test_who_stops_reading_ends_it_quietly(options):
    api = FakeApi()
    # More than a pipe takes, line by line.
    api.jobs = {f"job-{n}": a_job(f"job-{n}", "x" * 500) for n in range(200)}
    with served(api) as url, running("events", *options, url=url) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr.read() == ""


LEFT_OVER = """
import sys, typer
from hasty.cli.group import Commands
app = typer.Typer(cls=Commands)

@app.command("speak")
def speak():
    sys.stdout.write("what nobody reads")
    raise BrokenPipeError

@app.command("other")
def other(): ...

app(["speak"])
"""


def test_what_is_left_over_when_nobody_reads_is_no_error_at_the_end_either():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OVER],
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_ends_the_waiting_and_nothing_else():
    api, asked = FakeApi(), threading.Event()
    api.jobs["job-1"] = a_job("job-1", "video-1", "hangs")
    answer = api.answer
    api.answer = lambda request: (
        asked.set() if request.url.path.endswith("/events") else None,
        answer(request),
    )[1]
    with served(api) as url, running("wait", "job-1", url=url) as process:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err == "left alone; to wait again: hasty wait job-1\n"
    assert {request.method for request in api.asked} == {"GET"}
    assert api.jobs["job-1"]["status"] == "queued"


def test_what_nobody_foresaw_is_shown_whole(api):
    api.first = [ZeroDivisionError("a bug")]
    with pytest.raises(ZeroDivisionError, match="a bug"):
        hasty("pools")


def test_a_voice_for_people_says_nothing_to_programs(capsys):
    voice = Voice(as_json=True)
    voice.tell("a table")
    voice.note("by the way")
    assert capsys.readouterr() == ("", "")


def test_a_server_error_is_to_try_later(api, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    api.first = [httpx.Response(500, text="oops")] * 3
    assert hasty("pools").code == 5


def test_a_narrow_terminal_folds_what_is_long_and_cuts_nothing(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "60")
    rows, job_id = Rows("JOB", "OBJECT", "ERROR"), "019b0a6e-6f0c-7c52-9d55-3d2f1a0c6b1e"
    rows.add(job_id, "x" * 40, "y" * 40)
    terminal = Terminal()
    console(terminal).print(rows.table)
    shown = terminal.getvalue()
    assert job_id in shown
    assert (shown.count("x"), shown.count("y")) == (40, 40)
