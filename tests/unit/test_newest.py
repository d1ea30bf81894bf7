"""The Registry's cache is bounded by count and by weight."""

import pytest

from hasty.actors import newest
from hasty.actors.newest import Newest
from tests.unit.examples import a_job


def known(cache, *object_ids):
    return [object_id for object_id in object_ids if cache.get(object_id) is not None]


def test_the_newest_job_of_an_object_is_what_was_put_last():
    cache = Newest()
    cache.put(a_job("job-1", object_id="a"))
    cache.put(a_job("job-2", object_id="a", run=2))
    assert cache.get("a").job_id == "job-2"
    cache.forget("a")
    cache.forget("a")
    assert cache.get("a") is None
    assert cache._weight == 0


def test_what_was_put_first_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(newest, "_OBJECTS", 2)
    cache = Newest()
    for name in ("a", "b", "a", "c"):
        cache.put(a_job(f"job-{name}", object_id=name))
    assert known(cache, "a", "b", "c") == ["a", "c"]


@pytest.mark.parametrize("heavy", ["payload", "result"])
def test_heavy_jobs_leave_room_for_fewer(heavy):
    cache = Newest()
    quarter_of_a_mebibyte = "x" * (256 * 1024)
    for n in range(1_000):
        cache.put(a_job(f"job-{n}", object_id=f"{n}", **{heavy: quarter_of_a_mebibyte}))
    assert 200 < len(cache._jobs) < 256
    assert known(cache, "0", "999") == ["999"]
