"""One real instance with short times, and with handlers that misbehave."""

import shutil

import pytest

from tests.running import Running


@pytest.fixture(scope="package")
def hurried():
    """Jobs sleep for 5 s and may take 2 s: every one overruns."""
    running = Running(
        sleep_min_s=5,
        sleep_max_s=5,
        timeout_s=2,
        rerun_window_s=1,
        handlers="tests.jobs.misbehaving",
        sync_slots=2,
    )
    yield running.up()
    running.end()
    shutil.rmtree(running.data_dir)
