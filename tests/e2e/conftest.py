"""One hasty with the defaults, started as the README says, for all tests of this layer."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.readme import SHOP, UP
from tests.running import ROOT, Running, short_folder


def pytest_collection_modifyitems(items):
    """What takes long by itself is begun early, and looked at when everything else here is done."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    places = [number for number, item in enumerate(items) if item in here]
    for place, item in zip(places, sorted(here, key=_turn), strict=True):
        items[place] = item


def _turn(item) -> int:
    marks = {mark.name for mark in item.iter_markers()}
    return ("at_the_end" in marks) - ("at_the_start" in marks)


@pytest.fixture(scope="package")
def hasty():
    # Time to sleep for 45 s also where the machine pauses for more than the one second of the default.
    running = Running(webhook_allow="127.0.0.1", timeout_s=100, handlers="tests.held")
    running.start(command=["make", "--silent", "run"]).wait_until_ready()
    yield running
    running.end()
    shutil.rmtree(running.data_dir)


@pytest.fixture(scope="package")
def shop():
    """A hasty with the README's handler, started as it says in the folder of that; `sleep` takes 2 to 12 s.

    The last test that uses it stops it.
    """
    folder = short_folder()
    (folder / "shop.py").write_text(SHOP)
    shutil.copy(ROOT / "tests" / "held.py", folder)
    running = Running(folder / "data", directory=folder, sleep_min_s=2, sleep_max_s=12)
    assert UP[:2] == ["hasty", "up"]
    yield running.up(*UP[2:], "--handlers", "hasty.bench.ticking")
    running.end()
    shutil.rmtree(folder)


@pytest.fixture
def records(shop):
    """Its databases, to look at what really happened."""
    with shop.databases() as client:
        yield client
