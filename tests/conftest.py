"""What several layers share: one real mongod for the whole run."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hasty.local.mongod import Mongod, find_mongod


def pytest_configure():
    """Stop what was started also on SIGTERM: `make test` ends its half in the background by it.

    What a shell starts in the background ignores SIGINT, and so would every command that a test starts.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session")
def mongo_uri() -> Iterator[str]:
    """A private replica set of one member. Where no mongod is found, tests fail; they do not skip."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hasty-", dir=memory) as folder:
        mongod = Mongod(find_mongod(os.environ), Path(folder), os.environ, cache_gb=0.25)
        try:
            yield mongod.start()
        finally:
            mongod.stop(timeout_s=0)
