"""Many jobs go in as few requests as they fit into; each has its outcome, in its place."""

import json
from itertools import pairwise
from unittest.mock import patch

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasty.client import Job, JobRequest
from hasty.client.batches import MOST_BYTES, MOST_JOBS, batches
from hasty.errors import (
    BacklogFull,
    BodyTooLarge,
    HastyError,
    InvalidRequest,
    JobRefused,
    NotHasty,
    StoreUnavailable,
    Unauthorized,
    Unreachable,
)
from tests.unit.client_double import answer, both, job, problem
from tests.unit.examples import repeatable


def accepted(item):
    return {"status": 201, "job": job(id=item["object_id"]), "problem": None}


def refused(status, code, **more):
    return {
        "status": status,
        "job": None,
        "problem": {"status": status, "code": code, "detail": code, **more},
    }


def decided(decide=accepted):
    """Answer with what is decided of each job."""

    def give(request):
        return answer({"outcomes": [decide(item) for item in json.loads(request.content)["jobs"]]})

    return give


def keys(client):
    return [request.headers["Idempotency-Key"] for request in client.hasty.requests]


def requests(count, payload=None):
    return [JobRequest(f"video-{number}", payload) for number in range(count)]


@both
def test_each_job_has_its_outcome_in_its_place(kind):
    def decide(item):
        if item["object_id"] == "b":
            return refused(409, "rerun_window", job_id="b", retry_after=9, job=job("running", id="b"))
        if item["object_id"] == "c":
            return refused(422, "invalid_request", errors=[{"field": "payload", "message": "no"}])
        return accepted(item) | {"status": 200 if item["object_id"] == "d" else 201}

    client = kind([decided(decide)], {})
    given = [
        "a",
        {"object_id": "b", "payload": 1},
        JobRequest("c"),
        {"object_id": "d", "on_conflict": "attach"},
    ]
    given[0] = JobRequest("a", {"x": 1}, handler="h")
    a, b, c, d = client.call("submit_many", given)
    request = client.hasty.last
    assert (request.method, request.url.path) == ("POST", "/v1/jobs:batch")
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.content) == {
        "jobs": [
            {"object_id": "a", "handler": "h", "payload": {"x": 1}},
            {"object_id": "b", "handler": "sleep", "payload": 1},
            {"object_id": "c", "handler": "sleep"},
            {"object_id": "d", "handler": "sleep", "on_conflict": "attach"},
        ]
    }
    assert isinstance(a, Job) and isinstance(d, Job)
    assert (a.id, d.id) == ("a", "d")
    assert isinstance(b, JobRefused) and isinstance(c, InvalidRequest)
    assert (b.job.status, b.retry_after, c.complaints) == ("running", 9, (("payload", "no"),))


@both
def test_nothing_is_sent_for_nothing(kind):
    assert kind([], {}).call("submit_many", []) == []


@both
def test_more_than_a_thousand_go_in_batches_each_with_a_key_of_its_own(kind):
    client = kind([decided()] * 3, {})
    found = client.call("submit_many", iter(requests(2 * MOST_JOBS + 1)))
    assert [each.id for each in found] == [each.object_id for each in requests(2 * MOST_JOBS + 1)]
    sizes = [len(json.loads(request.content)["jobs"]) for request in client.hasty.requests]
    assert sizes == [MOST_JOBS, MOST_JOBS, 1]
    assert len(set(keys(client))) == 3


@both
def test_the_keys_of_the_batches_come_from_the_caller_s(kind):
    client = kind([decided()] * 4, {})
    for _ in range(2):
        client.call("submit_many", requests(MOST_JOBS + 1), idempotency_key="mine")
    assert keys(client) == ["mine.0", "mine.1"] * 2
    with pytest.raises(InvalidRequest, match=r"^idempotency_key: must have 1 to 240"):
        client.call("submit_many", requests(1), idempotency_key="x" * 241)


@both
def test_each_try_of_a_batch_has_the_same_key(kind):
    client = kind([httpx.ReadTimeout, httpx.Response(500), decided()], {})
    assert len(client.call("submit_many", requests(3))) == 3
    assert len(set(keys(client))) == 1
    assert len({request.content for request in client.hasty.requests}) == 1


@both
def test_what_cannot_be_sent_has_its_error_in_its_place_and_keeps_no_other_from_being_sent(kind):
    client = kind([decided()], {})
    wrong = [
        {"object_id": "x", "paylod": 1},
        {},
        3,
        JobRequest("x", object()),
        JobRequest("x", "y" * MOST_BYTES),
    ]
    found = client.call("submit_many", [*wrong[:3], JobRequest("fine"), *wrong[3:]])
    assert [str(each) for each in found[:3]] == [
        "paylod: is no field of a job",
        "object_id: is missing",
        "A job is a JobRequest, or a mapping with the names of its fields.",
    ]
    assert found[3].id == "fine"
    assert [type(each) for each in found[4:]] == [InvalidRequest, BodyTooLarge]
    assert len(json.loads(client.hasty.last.content)["jobs"]) == 1
    assert [type(each) for each in kind([], {}).call("submit_many", wrong)] == [InvalidRequest] * 4 + [
        BodyTooLarge
    ]


# Failures ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("script", "error"),
    [([lambda _: problem(401, "unauthorized")], Unauthorized), ([httpx.ConnectError] * 6, Unreachable)],
)
def test_where_the_first_batch_fails_its_error_is_raised(kind, script, error):
    with pytest.raises(error):
        kind(script, {"timeout": 1_000}).call("submit_many", requests(MOST_JOBS + 1))


@both
def test_where_a_later_one_fails_what_was_accepted_is_told(kind):
    client = kind([decided(), *[httpx.ConnectError] * 6], {"timeout": 1_000})
    found = client.call("submit_many", [*requests(2 * MOST_JOBS), {}, *requests(MOST_JOBS)])
    assert [each.id for each in found[:MOST_JOBS]] == [each.object_id for each in requests(MOST_JOBS)]
    assert [type(each) for each in found[MOST_JOBS:]] == (
        [Unreachable] * MOST_JOBS + [InvalidRequest] + [Unreachable] * MOST_JOBS
    )
    assert len(client.hasty.requests) == 7


@both
def test_for_those_who_are_to_come_back_the_batch_is_sent_again(kind):
    def full(item):
        return (
            refused(429, "backlog_full", retry_after=4) if item["object_id"] > "video-1" else accepted(item)
        )

    client = kind([decided(full), decided()], {})
    assert [each.id for each in client.call("submit_many", requests(4))] == [f"video-{n}" for n in range(4)]
    (slept,) = client.clock.slept
    assert 4 <= slept <= 4.5
    assert len(set(keys(client))) == 1


@both
def test_after_all_tries_those_have_their_error(kind):
    def full(item):
        return (
            refused(429, "backlog_full", retry_after=1) if item["object_id"] == "video-1" else accepted(item)
        )

    client = kind([decided(full)] * 3, {"retries": 2})
    found = client.call("submit_many", requests(3))
    assert [type(each) for each in found] == [Job, BacklogFull, Job]


@both
@pytest.mark.parametrize("then", [httpx.ConnectError, lambda _: problem(401, "unauthorized")])
def test_what_was_accepted_is_told_though_a_later_try_for_others_fails(kind, then):
    def away(item):
        return refused(503, "store_unavailable") if item["object_id"] == "video-1" else accepted(item)

    client = kind([decided(away), then], {"retries": 1})
    found = client.call("submit_many", requests(3))
    assert [type(each) for each in found] == [Job, StoreUnavailable, Job]


@both
@pytest.mark.parametrize("outcomes", [[], [accepted({"object_id": "x"})] * 3])
def test_another_number_of_outcomes_is_not_of_hasty(kind, outcomes):
    with pytest.raises(NotHasty, match=f"2 jobs were sent, and {len(outcomes)} outcomes were answered"):
        kind([answer({"outcomes": outcomes})], {}).call("submit_many", requests(2))


@both
def test_an_outcome_without_a_word_is_an_error_too(kind):
    told = [{"status": 500, "job": None, "problem": None}, {"status": 409}]
    found = kind([answer({"outcomes": told})] * 6, {"timeout": 1_000}).call("submit_many", requests(2))
    assert all(isinstance(each, HastyError) for each in found)


# Cutting -----------------------------------------------------------------------------------------


@repeatable
@given(st.lists(st.integers(0, 1_200), max_size=40), st.integers(1, 5))
def test_no_batch_is_too_large_and_none_is_cut_too_early(sizes, most_jobs):
    given = [JobRequest(str(number), "x" * size) for number, size in enumerate(sizes)]
    with patch.multiple("hasty.client.batches", MOST_BYTES=1_000, MOST_JOBS=most_jobs):
        found = list(batches(given))
    for batch in found:
        assert len(batch.body()) <= 1_000
        assert len(json.loads(batch.body())["jobs"]) == batch.jobs <= most_jobs
    for batch, following in pairwise(found):
        first = next(item for item in following.items if isinstance(item, bytes))
        assert batch.jobs == most_jobs or len(batch.body()) + len(b",") + len(first) > 1_000
    sent = [
        json.loads(item)["object_id"] for batch in found for item in batch.items if isinstance(item, bytes)
    ]
    assert sum(len(batch.items) for batch in found) == len(sizes)
    assert sent == [
        each.object_id for each, size in zip(given, sizes, strict=True) if frame(each) + size <= 1_000
    ]


def frame(request):
    """How many bytes a batch takes that has only this, without what its payload says."""
    return len(b'{"jobs":[{"object_id":"","handler":"sleep","payload":""}]}') + len(request.object_id)


def test_a_batch_that_is_just_full_is_not_cut():
    room = MOST_BYTES - frame(JobRequest("x"))
    (batch,) = batches([JobRequest("x", "y" * room)])
    assert batch.jobs == 1
    assert len(batch.body()) == MOST_BYTES
    (batch,) = batches([JobRequest("x", "y" * (room + 1))])
    assert isinstance(batch.items[0], BodyTooLarge)
