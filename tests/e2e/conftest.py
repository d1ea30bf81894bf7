"""One hasty with the defaults, started as the README says, for all tests of this layer."""

import shutil

import pytest

from tests.running import Running


def pytest_collection_modifyitems(items):
    """What takes as long as jobs sleep is begun early, and looked at when everything else is done."""
    items.sort(key=lambda item: item.get_closest_marker("at_the_end") is not None)


@pytest.fixture(scope="session")
def hasty():
    running = Running()
    running.start(command=["make", "--silent", "run"]).wait_until_ready()
    yield running
    running.end()
    shutil.rmtree(running.data_dir)
