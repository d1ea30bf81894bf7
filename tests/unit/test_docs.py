"""The documents say what the code says: settings, commands, targets and links."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.main import get_command

import hasty
from hasty.api.problems import CODES
from hasty.cli import app
from hasty.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]

#: Not ours, or made by running something. Names that begin with a dot are left out as well.
MADE = {"__pycache__", "bench-results", "dist"}
#: Of those with a dot, these are ours.
OURS = {".ci", ".github", ".gitignore"}

#: What is run in a terminal: the lines of ```sh blocks, and `what stands in backticks`.
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")

#: The folders of two kinds of machine that have no place in a repository. In pieces: this file is in it.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(" + "root|work" + r")/")


class Snippet(NamedTuple):
    """Something to type, and where it is written."""

    file: str
    text: str


def files() -> Iterator[Path]:
    pending = [ROOT]
    while pending:
        for path in pending.pop().iterdir():
            if path.name in MADE or (path.name.startswith(".") and path.name not in OURS):
                continue
            if path.is_dir():
                pending.append(path)
            else:
                yield path


def documents() -> list[Path]:
    return sorted(path for path in files() if path.suffix == ".md")


def snippets() -> Iterator[Snippet]:
    for path in documents():
        text, name = path.read_text(), str(path.relative_to(ROOT))
        for language, block in BLOCK.findall(text):
            if language == "sh":
                yield from (Snippet(name, line) for line in block.splitlines())
        yield from (Snippet(name, span) for span in SPAN.findall(BLOCK.sub("", text)))


def typed(program: str) -> list[Any]:
    """Find each use of a program as a command: what follows its name, up to the end of the command."""
    # In front of it: nothing, an assignment of a variable, or the end of another command.
    command = re.compile(rf"(?:^|[;&|] *)(?:[A-Z_]+=\S+ +)*{program} +([^#;&|]+)")
    return [
        pytest.param(use.strip().split(), id=f"{snippet.file}: {program} {use.strip()}")
        for snippet in dict.fromkeys(snippets())
        for use in command.findall(snippet.text)
    ]


def test_the_table_of_settings_is_that_of_the_code():
    expected = [
        f"| `{PREFIX}{name.upper()}` | {default_of(name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    found = [
        line for line in (ROOT / "docs" / "settings.md").read_text().splitlines() if f"| `{PREFIX}" in line
    ]
    assert found == expected


def default_of(name: str) -> str:
    if name == "data_dir":
        return "`~/.local/share/hasty`"
    default = Settings.model_fields[name].default
    return "none" if default in (None, ()) else f"`{default}`"


def test_the_table_of_problems_is_that_of_the_code():
    expected = [f"| `{code}` | {status} | {meaning} |" for code, (status, meaning) in CODES.items()]
    text = (ROOT / "docs" / "handlers.md").read_text().partition("## Problems")[2]
    assert [line for line in text.splitlines() if line.startswith("| `")][1:] == expected


def test_the_table_of_options_is_that_of_the_decorator():
    text = (ROOT / "docs" / "handlers.md").read_text().partition("## Options")[2].partition("## The")[0]
    parameters = inspect.signature(hasty.handler).parameters.values()
    options = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == options


def test_the_table_of_the_context_is_that_of_the_code():
    text = (ROOT / "docs" / "handlers.md").read_text().partition("## The context")[2].partition("## Pay")[0]
    fields = [field.name for field in dataclasses.fields(hasty.JobContext)]
    members = [*fields, *(name for name in vars(hasty.JobContext) if name not in {*fields, "of"})]
    public = [name for name in members if not name.startswith("_")]
    assert re.findall(r"^\| `(\w+)[^`]*` \|", text, re.MULTILINE) == public


def test_the_default_data_folder_is_the_documented_one(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert Settings().data_dir == Path("/somewhere/.local/share/hasty")


@pytest.mark.parametrize("use", typed("hasty"))
def test_every_command_exists(use):
    command, words = get_command(app), list(use)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    # The words that are left are no commands.
    assert not (words and hasattr(command, "commands")) or words[0].startswith("--")
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    assert {option.split("=")[0] for option in words if option.startswith("--")} <= known


@pytest.mark.parametrize("use", typed("make"))
def test_every_target_exists(use):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in use if "=" not in word} <= set(targets)


def test_the_commands_of_the_readme_are_found_at_all():
    assert {"run", "test"} <= {parameter.values[0][0] for parameter in typed("make")}
    assert {"up", "down", "deploy", "environment"} <= {use.values[0][0] for use in typed("hasty")}


@pytest.mark.parametrize(
    "variable", sorted({v for s in snippets() for v in re.findall(r"\bHASTY_[A-Z_]+", s.text)})
)
def test_every_variable_means_something(variable):
    beside_the_settings = {"HASTY_MONGOD", "HASTY_URL", "HASTY_API_KEY"}
    assert variable in beside_the_settings | {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    for link in LINK.findall(BLOCK.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, heading = link.partition("#")
        document = path.parent / target if target else path
        assert document.exists(), link
        assert not heading or heading in headings(document), link


def headings(document: Path) -> set[str]:
    titles = re.findall(r"^#+ +(.+)$", BLOCK.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_decision_is_listed():
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 100


def test_no_file_knows_the_machine_it_was_written_on():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found


#: `tests/layer/test_file.py::test_name`, or the file alone.
SHOWN_BY = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_shows_a_guarantee_exists():
    shown = SHOWN_BY.findall((ROOT / "docs" / "guarantees.md").read_text())
    assert len(shown) > 20
    for file, name in shown:
        assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).is_file(), (file, name)
