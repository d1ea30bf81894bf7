"""What the command line needs: the client alone, and of that no more than a command uses."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from tests.unit.fake_api import FakeApi
from tests.unit.serving import served

ROOT = Path(__file__).parents[2]

#: Run commands in a process in which some modules cannot be imported, nor their distributions be found.
#: Say how each ended, and in the end which modules were imported.
SCRIPT = """
import importlib.metadata as metadata, json, sys
modules, names, commands = map(json.loads, sys.argv[1:])
found = metadata.version

def version(name):
    if name in names:
        raise metadata.PackageNotFoundError(name)
    return found(name)

metadata.version = version
sys.modules.update(dict.fromkeys(modules))
from hasty.cli import app
codes = []
for words in commands:
    try:
        app(words)
    except SystemExit as end:
        codes.append(end.code)
there = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
print(json.dumps({"codes": codes, "modules": sorted(there)}), file=sys.stderr)
"""


_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

#: The distributions that only a server needs, and their modules.
SERVER = {Requirement(line).name for line in _EXTRAS["server"]}
MODULES = {module for module, names in packages_distributions().items() if {*names} & SERVER}


class Done(NamedTuple):
    out: str
    complaints: list[str]
    codes: list[int]
    modules: set[str]


def run(*commands, url="http://127.0.0.1:9") -> Done:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(json.dumps, [[*MODULES], [*SERVER], commands])],
        capture_output=True,
        text=True,
        check=True,
        env={"HASTY_URL": url, "HOME": "/nowhere"},
    )
    *complaints, last = done.stderr.splitlines()
    end = json.loads(last)
    return Done(done.stdout, complaints, end["codes"], {*end["modules"]})


def test_the_server_is_what_takes_long_to_import():
    assert {"ray", "pymongo", "bson", "fastapi", "psutil", "starlette", "uvloop"} <= MODULES


def test_each_command_of_a_client_works_where_no_server_is_installed():
    commands = [
        ["submit", "video-1", "--wait"],
        ["submit", "video-2"],
        ["get", "job-1"],
        ["wait", "job-1", "job-2"],
        ["result", "job-1"],
        ["ls"],
        ["attempts", "job-1"],
        ["events", "job-1"],
        ["object", "video-1"],
        ["rerun", "job-1", "--force"],
        ["cancel", "job-3"],
        ["pools"],
        ["scale", "default=3"],
        ["handlers", "--running"],
        ["schedules", "list"],
        ["--help"],
    ]
    with served(FakeApi()) as url:
        done = run(*commands, url=url)
    assert dict(zip(map(" ".join, commands), done.codes, strict=True)) == {
        " ".join(words): 0 for words in commands
    }
    # The id of the job that is waited for.
    assert done.complaints == ["job-1 queued"]


def test_the_machine_is_looked_at_where_no_server_is_installed():
    done = run(["doctor", "--json"])
    found = {each["about"]: each for each in map(json.loads, done.out.splitlines())}
    assert found["server"]["found"] == "only the client is installed"
    assert "MongoDB" not in found
    # There is nothing at the URL.
    assert (found["hasty"]["level"], done.codes) == ("fail", [1])


def test_the_handlers_of_this_folder_are_looked_at_without_a_server():
    assert run(["handlers"]).codes == [0]


def test_what_needs_a_server_says_in_one_line_what_to_install():
    commands = [["up"], ["down"], ["deploy"], ["bench"], ["chaos"], ["keys", "list"]]
    done = run(*commands)
    assert (done.codes, done.out) == ([2] * len(commands), "")
    assert len(done.complaints) == len(commands)
    for complaint in done.complaints:
        assert complaint.startswith("hasty: this needs what a server needs")
        assert complaint.endswith("pip install 'hasty[server]'")


def test_what_asks_nobody_does_not_import_what_asks():
    done = run(["version"], ["--help"], ["ls", "--help"])
    assert done.codes == [0, 0, 0]
    assert not done.modules & {*MODULES, "httpx", "httpcore", "anyio"}
