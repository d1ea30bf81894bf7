"""The Registry's cache is bounded by count, and what is in it weighs little."""

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


def test_what_was_put_first_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(newest, "_OBJECTS", 2)
    cache = Newest()
    for name in ("a", "b", "a", "c"):
        cache.put(a_job(f"job-{name}", object_id=name))
    assert known(cache, "a", "b", "c") == ["a", "c"]


def test_what_may_be_heavy_is_not_kept():
    """A payload that is nested takes thirty times in memory what it takes on its way."""
    cache = Newest()
    heavy = {"payload": [[]] * 1_000, "result": {"a": 1}, "idempotency_key": "k", "fingerprint": "f"}
    cache.put(a_job("job-1", object_id="a", **heavy))
    assert cache.get("a") == a_job("job-1", object_id="a")
