"""One real instance with short times, which dies and freezes in all its parts."""

import shutil

import pytest

from tests.held import Held
from tests.running import Running


@pytest.fixture(scope="package")
def patient():
    """Jobs sleep for 3 s and may take long, or run until they are let go."""
    running = Running(sleep_min_s=3, sleep_max_s=3, handlers="tests.held")
    yield running.up()
    running.end()
    shutil.rmtree(running.data_dir)


@pytest.fixture
def records(patient):
    """The databases of the patient instance, to look at what really happened."""
    with patient.databases() as client:
        yield client


@pytest.fixture
def held(patient, tmp_path):
    """Jobs of the patient instance that run until the test lets them go: it breaks something before."""
    jobs = Held(patient, tmp_path)
    yield jobs
    jobs.let_go()
