"""One hasty with the defaults, started as the README says, for all tests of this layer."""

import shutil

import pytest

from tests.running import Running


@pytest.fixture(scope="session")
def hasty():
    running = Running()
    running.start(command=["make", "--silent", "run"]).wait_until_ready()
    yield running
    running.end()
    shutil.rmtree(running.data_dir)
