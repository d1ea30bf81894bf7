"""What is installed is what was tested: every requirement is pinned, and the version is told once."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hasty

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()

#: A name, two equals signs, a version, and nothing else: no address, no option, no file.
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+]+)")


def asked_for() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    lists = [PROJECT["build-system"]["requires"], PROJECT["project"]["dependencies"], *extras]
    return [Requirement(line) for requirements in lists for line in requirements]


def pins() -> dict[str, str]:
    found = [PIN.fullmatch(line) for line in CONSTRAINTS]
    return {canonicalize_name(pin[1]): pin[2] for pin in found if pin}


def test_a_constraint_is_an_exact_version_and_nothing_else():
    assert [line for line in CONSTRAINTS if not PIN.fullmatch(line)] == []


def test_nothing_is_pinned_twice():
    assert len(pins()) == len(CONSTRAINTS)


@pytest.mark.parametrize("requirement", asked_for(), ids=str)
def test_everything_asked_for_is_pinned_to_a_version_that_will_do(requirement):
    assert requirement.url is None
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)], prereleases=True)


@pytest.mark.parametrize("requirement", asked_for(), ids=str)
def test_it_is_written_down_why_it_is_asked_for(requirement):
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    assert f"| `{requirement.name}{extras}` |" in (ROOT / "docs" / "dependencies.md").read_text()


def test_no_reason_outlives_what_it_was_for():
    explained = re.findall(
        r"^\| `([\w-]+)(?:\[.*\])?` \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE
    )
    assert sorted(explained) == sorted(requirement.name for requirement in asked_for())


def test_the_changelog_tells_of_this_version():
    assert hasty.__version__ in (ROOT / "CHANGELOG.md").read_text()


# Without a server ----------------------------------------------------------------------------------

#: Blocks everything that `pip install hasty` does not bring, then runs what stands behind it.
ALONE = """
import sys
from importlib.abc import MetaPathFinder

BLOCKED = frozenset({blocked!r})


class Blocking(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


# setuptools is there from the start.
assert BLOCKED & {{*sys.modules}} <= {{"_distutils_hack"}}
sys.meta_path.insert(0, Blocking())
"""

GIVE_A_JOB = """
import httpx
import hasty

JOB = {"id": "1", "object_id": "video-1", "handler": "sleep", "status": "finished", "result": [3]}
hasty_there = httpx.MockTransport(lambda request: httpx.Response(200, json=JOB))
with hasty.Client("http://hasty.example", api_key="k", transport=hasty_there) as client:
    job = client.submit("video-1", {"width": 3})
    assert client.result(job) == [3]
    assert isinstance(client.submit_many, object) and hasty.AsyncClient and hasty.JobRequest("x")
try:
    client.submit("x", object())
except hasty.errors.InvalidRequest:
    print("the client works")
"""

DECLARE_A_HANDLER = """
import hasty

@hasty.handler(timeout=30)
async def invoice(job: hasty.JobContext, order: dict) -> dict: ...

print("a handler can be declared")
"""

ASK_THE_COMMAND_LINE = """
from typer.testing import CliRunner
from hasty.cli import app

for command in ([], ["submit"], ["get"], ["wait"], ["ls"]):
    told = CliRunner().invoke(app, [*command, "--help"])
    assert told.exit_code == 0, told.output
print("the command line works")
"""


def brought(names) -> set[str]:
    """Return the distributions that come with these, and with those, and so on."""
    found, pending = set(), [Requirement(name) for name in names]
    while pending:
        asked = pending.pop()
        extras = sorted(asked.extras) or [""]
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(asked.name)
        if (name, *extras) in found:
            continue
        found |= {(name, *extras), name}
        for line in requires(name) or ():
            more = Requirement(line)
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(Requirement(line.partition(";")[0]))
    return {name for name in found if isinstance(name, str)}


def not_brought() -> set[str]:
    """Return every module that is installed here and does not come with the client."""
    own = brought(PROJECT["project"]["dependencies"]) | {"hasty"}
    return {
        module
        for module, distributions in packages_distributions().items()
        if not own & {canonicalize_name(each) for each in distributions}
    }


def alone(script: str) -> str:
    """Run a script where nothing is installed but what the client brings; return what it prints."""
    blocked = sorted(not_brought())
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE.format(blocked=blocked) + script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_the_client_brings_no_server():
    server = {"ray", "pymongo", "bson", "fastapi", "starlette", "psutil", "uvloop", "uuid_utils", "cronsim"}
    assert server | {"tzdata", "uvicorn", "numpy", "pytest", "yaml"} <= not_brought()
    assert not not_brought() & {"httpx", "pydantic", "pydantic_core", "rich", "typer", "anyio", "hasty"}


def test_a_program_with_a_client_needs_no_server():
    assert alone(GIVE_A_JOB) == "the client works"


def test_a_module_with_handlers_can_be_imported_without_a_server():
    assert alone(DECLARE_A_HANDLER) == "a handler can be declared"


def test_the_command_line_needs_no_server():
    assert alone(ASK_THE_COMMAND_LINE) == "the command line works"


def test_what_is_blocked_is_blocked():
    told = "No module named 'pymongo"
    script = f"""
try:
    import hasty.store.mongo
except ModuleNotFoundError as missing:
    print(str(missing)[:{len(told)}])
"""
    assert alone(script) == told


def test_types_come_along():
    assert (ROOT / "hasty" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


def test_importing_hasty_imports_hardly_anything():
    script = 'import sys, hasty; print(sorted(name for name in sys.modules if name.startswith("hasty")))'
    assert alone(script) == "['hasty', 'hasty.errors']"
