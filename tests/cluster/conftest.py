"""Real instances with short times; each serves several tests."""

import shutil

import pytest
from pymongo import MongoClient

from tests.running import Running


@pytest.fixture(scope="package")
def instances():
    """Both, started at the same time."""
    patient = Running(sleep_min_s=3, sleep_max_s=3)
    hurried = Running(
        sleep_min_s=5,
        sleep_max_s=5,
        timeout_s=2,
        rerun_window_s=1,
        handlers="tests.cluster.misbehaving",
        sync_slots=2,
    )
    both = (patient, hurried)
    for running in both:
        running.start()
    for running in both:
        running.wait_until_ready()
    yield both
    for running in both:
        running.end()
        shutil.rmtree(running.data_dir)


@pytest.fixture
def patient(instances):
    """Jobs sleep for 3 s and may take long."""
    return instances[0]


@pytest.fixture
def hurried(instances):
    """Jobs sleep for 5 s and may take 2 s: every one overruns. And it has handlers that misbehave."""
    return instances[1]


@pytest.fixture
def records(patient):
    """The databases of the patient instance, to look at what really happened."""
    socket = str(patient.data_dir / "mongod" / "mongod.sock").replace("/", "%2F")
    with MongoClient(f"mongodb://{socket}/?directConnection=true", tz_aware=True) as client:
        yield client
