"""docs/cli.md says what the command line does: its commands are run, its tables are those of the code."""

import re
import time

import pytest
from typer.testing import CliRunner

from hasty.cli import app
from hasty.cli.exits import _BY_WEIGHT, Exit
from tests.documented import FILES, PAGE, documented
from tests.unit.fake_api import FakeApi
from tests.unit.typing_commands import hasty, send_by


@pytest.fixture
def api(monkeypatch):
    api = FakeApi()
    send_by(monkeypatch, api.transport())
    return api


def interrupt(*_):
    raise KeyboardInterrupt


def test_each_command_of_the_page_does_what_it_says(api, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", interrupt)
    api.more_handlers = {"invoice": ("finished", {"lines": 1}, None)}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for command in documented():
        if command.words[0] in {"doctor", "keys"}:
            continue  # they look at more than what is faked here, and have tests of their own
        words = command.named(lambda object_id: api.newest_of(object_id)["id"])
        said = hasty(*words, stdin=command.stdin)
        assert said.code == (130 if command.endless else command.code), (words, said)
        # Who waits for a new job is told its id on standard error.
        assert bool(said.err) == (bool(command.code) or "--wait" in words), (words, said)


def names(group=app, *above):
    for command in group.registered_commands:
        yield " ".join((*above, command.name))
    for below in group.registered_groups:
        yield from names(below.typer_instance, *above, below.name)


@pytest.mark.parametrize("name", [*names()])
def test_every_command_is_on_the_page(name):
    assert re.search(rf"\bhasty {name}\b", PAGE)


def test_the_table_of_exit_codes_is_that_of_the_code():
    rows = [f"| {code:d} | {code.meaning} |" for code in Exit]
    assert "\n".join(["| Code | Meaning |", "| --- | --- |", *rows]) in PAGE
    order = ", ".join(str(int(code)) for code in _BY_WEIGHT if code < Exit.INTERRUPTED)
    assert f"from bad to worse: {order}." in PAGE


def test_the_exit_codes_are_told_by_the_help():
    shown = " ".join(hasty("--help", COLUMNS="200").out.split())
    assert all(f"{code:d} {code.meaning}" in shown for code in Exit)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell, monkeypatch):
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    said = hasty("--show-completion")
    assert said.code == 0
    assert "HASTY_COMPLETE" in said.out.upper()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("hasty sch", {"schedules"}),
        ("hasty schedules pa", {"pause"}),
        ("hasty ls --status f", {"finished", "failed"}),
        ("hasty submit x --on-conflict a", {"attach", "after"}),
        ("hasty wait --with", {"--within"}),
    ],
)
def test_commands_options_and_what_can_be_chosen_are_completed(typed, completed):
    asked = {"_HASTY_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    result = CliRunner().invoke(app, [], prog_name="hasty", env=asked)
    assert {*result.stdout.split()} == completed
