"""What is installed is what was tested: every requirement is pinned, and the version is told once."""

import re
import tomllib
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
