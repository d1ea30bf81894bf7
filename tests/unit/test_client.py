"""What each call of the clients sends, and what it makes of the answer."""

import inspect
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest
from pydantic import BaseModel, Field, ValidationError

import hasty
from hasty.client import AsyncClient, Client, Job, JobRequest
from hasty.errors import (
    FixTheRequest,
    InvalidRequest,
    JobRefused,
    TryAgainLater,
    UnknownSchedule,
    Unreachable,
)
from tests.unit.client_double import answer, both, job, problem

AT = "2026-01-02T03:04:05Z"
DEFINITION = {"name": "nightly", "cron": "30 2 * * *", "interval": None, "timezone": "UTC", "missed": "skip"}
DEFINITION |= {"paused": False, "job": {"object_id": "x", "handler": "sleep"}, "created_at": AT}
DEFINITION |= {"next_at": AT, "last": {"at": AT, "outcome": "accepted", "job_id": "job-9"}}
POOL = {"name": "default", "min_workers": 1, "max_workers": 4, "workers": 2, "pinned": True, "present": 2}
POOL |= {"outdated": 0, "running": 3, "queued": 5, "oldest_wait_s": 0.5}


class Picture(BaseModel):
    width: int
    kind: str = Field("png", alias="format")


def sent(client):
    """Return the body that was sent last."""
    return json.loads(client.hasty.last.content)


# Submitting --------------------------------------------------------------------------------------


@both
def test_a_job_is_submitted_and_returned(kind):
    client = kind([answer(job(), 201)], {})
    made = client.call("submit", "video-1", {"width": 3}, handler="thumbnails")
    request = client.hasty.last
    assert (request.method, request.url.path) == ("POST", "/v1/jobs")
    assert request.headers["Content-Type"] == "application/json"
    assert sent(client) == {"object_id": "video-1", "handler": "thumbnails", "payload": {"width": 3}}
    assert isinstance(made, Job)
    assert (made.id, made.status, made.final) == ("job-1", "queued", False)
    assert made.accepted_at == datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


@both
def test_all_that_can_be_said_of_a_job_is_sent(kind):
    client = kind([answer(job(), 201)], {})
    client.call(
        "submit",
        "x",
        [0],
        timeout=1.5,
        priority=-3,
        run_at=datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1))),
        labels={"team": "blue"},
        on_conflict="after",
        webhook="https://example.com/hook",
    )
    assert sent(client) == {
        "object_id": "x",
        "handler": "sleep",
        "payload": [0],
        "timeout": 1.5,
        "priority": -3,
        "run_at": "2026-01-02T00:00:00+01:00",
        "labels": {"team": "blue"},
        "on_conflict": "after",
        "webhook": {"url": "https://example.com/hook"},
    }


@both
def test_a_delay_of_nothing_and_a_payload_of_nothing_are_sent_too(kind):
    client = kind([answer(job(), 201)], {})
    client.call("submit", "x", 0, delay=0, run_at="2026-01-02T00:00:00Z", webhook={"url": "u"})
    told = {"payload": 0, "delay": 0, "run_at": "2026-01-02T00:00:00Z", "webhook": {"url": "u"}}
    assert sent(client) == {"object_id": "x", "handler": "sleep"} | told


@both
def test_a_payload_may_be_a_model(kind):
    client = kind([answer(job(), 201)], {})
    client.call("submit", "x", {"pictures": [Picture(width=3, format="jpeg")]})
    assert sent(client)["payload"] == {"pictures": [{"width": 3, "format": "jpeg"}]}


@both
@pytest.mark.parametrize("payload", [object(), float("nan"), {"deep": float("inf")}, "\ud800"])
def test_what_cannot_be_said_in_json_is_refused_before_it_is_sent(kind, payload):
    client = kind([], {})
    with pytest.raises(InvalidRequest, match="cannot be said in JSON"):
        client.call("submit", "x", payload)


@both
def test_a_time_without_a_zone_is_refused_before_it_is_sent(kind):
    client = kind([], {})
    naive = datetime(2026, 1, 2)  # noqa: DTZ001  that is the mistake
    with pytest.raises(InvalidRequest, match=r"^run_at: must say its time zone"):
        client.call("submit", "x", run_at=naive)
    with pytest.raises(InvalidRequest, match=r"^accepted_after: must say its time zone"):
        client.take("list", accepted_after=naive)


@both
def test_a_refusal_is_raised_with_the_job_in_the_way(kind):
    client = kind([problem(409, "unfinished", 5, job_id="job-1", job=job("running"))], {})
    with pytest.raises(JobRefused) as refused:
        client.call("submit", "video-1")
    assert (refused.value.code, refused.value.retry_after, refused.value.job.status) == (
        "unfinished",
        5,
        "running",
    )
    assert client.clock.slept == []


# Idempotency keys --------------------------------------------------------------------------------

POSTS = [
    ("submit", "x"),
    ("cancel", "job-1"),
    ("rerun", "job-1"),
    ("pause_schedule", "nightly"),
    ("resume_schedule", "nightly"),
]


@both
@pytest.mark.parametrize("call", POSTS, ids=lambda call: call[0])
def test_each_post_has_a_key_of_its_own(kind, call):
    shown = job() if call[0] in {"submit", "cancel", "rerun"} else DEFINITION
    client = kind([answer(shown)] * 2, {})
    client.call(*call)
    client.call(*call)
    keys = [request.headers["Idempotency-Key"] for request in client.hasty.requests]
    assert len({uuid.UUID(key) for key in keys}) == 2


@both
def test_the_caller_s_key_wins(kind):
    client = kind([answer(job())] * 2 + [answer(DEFINITION)], {})
    client.call("submit", "x", idempotency_key="mine!")
    client.call("rerun", "x", idempotency_key="mine!")
    client.call(
        "create_schedule", "nightly", job={"object_id": "x"}, cron="* * * * *", idempotency_key="mine!"
    )
    assert [request.headers["Idempotency-Key"] for request in client.hasty.requests] == ["mine!"] * 3


@both
@pytest.mark.parametrize("key", ["", "two words", "grün", "x" * 256, "a\nb"])
def test_what_cannot_be_a_key_is_refused_before_it_is_sent(kind, key):
    client = kind([], {})
    with pytest.raises(InvalidRequest, match=r"^idempotency_key: must have 1 to 255 visible ASCII"):
        client.call("submit", "x", idempotency_key=key)


@both
def test_nothing_but_a_post_needs_a_key(kind):
    client = kind([answer(job()), answer(POOL)], {})
    client.call("get", "job-1")
    client.call("scale", "default", 3)
    assert not any("Idempotency-Key" in request.headers for request in client.hasty.requests)


# Jobs --------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("job_id", "path"),
    [
        ("job-1", b"/v1/jobs/job-1"),
        (Job(**job()), b"/v1/jobs/job-1"),
        ("a/b?c#d%é", b"/v1/jobs/a%2Fb%3Fc%23d%25%C3%A9"),
        ("..", b"/v1/jobs/%2E%2E"),
        (".", b"/v1/jobs/%2E"),
        ("../pools", b"/v1/jobs/..%2Fpools"),
    ],
)
def test_a_job_is_asked_for_by_its_id_whatever_that_is(kind, job_id, path):
    client = kind([answer(job())], {})
    client.call("get", job_id)
    assert (client.hasty.last.method, client.hasty.last.url.raw_path) == ("GET", path)


@both
def test_an_empty_id_asks_for_nothing(kind):
    client = kind([], {})
    for call in ["get", "cancel", "attempts"]:
        with pytest.raises(InvalidRequest, match=r"^job_id: must not be empty"):
            client.call(call, "")
    with pytest.raises(InvalidRequest, match=r"^object_id: must not be empty"):
        client.call("object", "")


@both
def test_what_a_newer_hasty_says_is_kept_and_what_an_older_one_does_not_say_is_borne(kind):
    client = kind([answer(job(brand_new={"a": 1}, status="exploded"))], {})
    found = client.call("get", "job-1")
    assert found.model_dump(mode="json") == job(brand_new={"a": 1}, status="exploded") | {
        "accepted_at": "2026-01-02T03:04:05.678000Z"
    }
    assert not found.final
    client = kind([answer({"id": "x", "object_id": "y", "handler": "z", "status": "queued"})], {})
    assert client.call("get", "x").accepted_at is None


def test_what_is_returned_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Job(**job()).status = "finished"


@both
def test_a_job_is_cancelled(kind):
    client = kind([answer(job("cancelled"))] * 2, {})
    assert client.call("cancel", "job-1", "no need").final
    assert client.hasty.last.url.path == "/v1/jobs/job-1/cancel"
    assert sent(client) == {"reason": "no need"}
    client.call("cancel", "job-1")
    assert sent(client) == {}


@both
def test_a_job_is_run_again(kind):
    client = kind([answer(job(), 201)] * 2, {})
    client.call("rerun", "job-0")
    assert (client.hasty.last.url.path, sent(client)) == ("/v1/jobs/job-0/rerun", {})
    client.call("rerun", "job-0", force=True, on_conflict="replace")
    assert sent(client) == {"force": True, "on_conflict": "replace"}


@both
def test_attempts_are_listed(kind):
    told = {
        "attempt": 1,
        "worker": "hasty-worker-default-0",
        "node": "n",
        "pid": 7,
        "boot": 2,
        "started_at": AT,
    }
    told |= {"ended_at": AT, "outcome": "lost", "cause": "crashed", "error": None}
    client = kind([answer({"attempts": [told]})], {})
    (attempt,) = client.call("attempts", "job-1")
    assert client.hasty.last.url.path == "/v1/jobs/job-1/attempts"
    assert (attempt.worker, attempt.outcome, attempt.cause, attempt.boot) == (
        "hasty-worker-default-0",
        "lost",
        "crashed",
        2,
    )


@both
def test_deliveries_are_told(kind):
    tries = [{"at": AT, "attempt": 1, "status_code": 500, "error": None, "delivered": False}]
    client = kind([answer({"deliveries": tries, "next_at": AT, "state": "pending"})], {})
    log = client.call("deliveries", "job-1")
    assert client.hasty.last.url.path == "/v1/jobs/job-1/deliveries"
    assert (log.state, log.deliveries[0].status_code, log.next_at.year) == ("pending", 500, 2026)


# Lists -------------------------------------------------------------------------------------------


@both
def test_a_list_is_read_page_by_page_until_its_end(kind):
    pages = [
        answer({"jobs": [job(id="3"), job(id="2")], "next_cursor": "c=&"}),
        answer({"jobs": [job(id="1")], "next_cursor": None}),
    ]
    client = kind(pages, {})
    found = client.take(
        "list",
        status=["queued", "running"],
        handler="sleep",
        object_id="a&b",
        labels={"team": "blue", "k": "a=b"},
        accepted_after=datetime(2026, 1, 2, tzinfo=UTC),
        accepted_before="2026-01-03T00:00:00Z",
    )
    assert [each.id for each in found] == ["3", "2", "1"]
    chosen = [
        ("status", "queued"),
        ("status", "running"),
        ("handler", "sleep"),
        ("object_id", "a&b"),
        ("label", "team=blue"),
        ("label", "k=a=b"),
        ("accepted_after", "2026-01-02T00:00:00+00:00"),
        ("accepted_before", "2026-01-03T00:00:00Z"),
        ("limit", "100"),
    ]
    first, second = client.hasty.requests
    assert (first.method, first.url.path) == ("GET", "/v1/jobs")
    assert first.url.params.multi_items() == chosen
    assert second.url.params.multi_items() == [*chosen, ("cursor", "c=&")]


@both
def test_no_page_is_asked_for_before_it_is_needed(kind):
    client = kind([answer({"jobs": [job(id="2"), job(id="1")], "next_cursor": "more"})], {})
    assert [each.id for each in client.take("list", most=2, status="queued")] == ["2", "1"]
    assert client.hasty.last.url.params.multi_items() == [("status", "queued"), ("limit", "100")]


@both
def test_a_limit_is_for_all_pages(kind):
    full = answer({"jobs": [job()] * 100, "next_cursor": "more"})
    client = kind([full, answer({"jobs": [job()] * 20, "next_cursor": "more"})], {})
    assert len(client.take("list", limit=120)) == 120
    assert [request.url.params["limit"] for request in client.hasty.requests] == ["100", "20"]
    assert kind([], {}).take("list", limit=0) == []


@both
def test_a_page_that_fails_is_asked_for_again_and_no_job_is_yielded_twice(kind):
    script = [
        answer({"jobs": [job(id="2")], "next_cursor": "c"}),
        httpx.ReadError,
        answer({"jobs": [job(id="1")], "next_cursor": None}),
    ]
    assert [each.id for each in kind(script, {}).take("list")] == ["2", "1"]


# What else there is ------------------------------------------------------------------------------


@both
def test_an_object_is_shown(kind):
    told = {
        "object_id": "a/b",
        "runs": 3,
        "opens_at": AT,
        "open": False,
        "retry_after": 12,
        "last_job": job(),
    }
    client = kind([answer(told | {"waiting_job": None})], {})
    state = client.call("object", "a/b")
    assert client.hasty.last.url.raw_path == b"/v1/objects/a%2Fb"
    assert (state.runs, state.open, state.retry_after, state.last_job.id) == (3, False, 12, "job-1")


@both
def test_handlers_are_listed(kind):
    told = {"name": "invoice", "pool": "default", "timeout": 30.0, "max_timeout": None, "rerun_window": 60.0}
    told |= {"window_from": "accepted", "window_after": ["finished"], "retries": 3, "max_crashes": 3}
    told |= {
        "queue_timeout": None,
        "payload_schema": {"type": "object"},
        "result_schema": None,
        "description": "",
    }
    client = kind([answer({"handlers": [told]})], {})
    (handler,) = client.call("handlers")
    assert client.hasty.last.url.path == "/v1/handlers"
    assert (handler.name, handler.window_after, handler.payload_schema) == (
        "invoice",
        ("finished",),
        {"type": "object"},
    )


@both
def test_pools_are_listed_and_resized(kind):
    client = kind([answer({"generation": 1, "pools": [POOL]}), answer(POOL), answer(POOL)], {})
    (pool,) = client.call("pools")
    assert (pool.name, pool.workers, pool.oldest_wait_s) == ("default", 2, 0.5)
    assert client.call("scale", "default", 2).pinned
    assert (client.hasty.last.method, client.hasty.last.url.path) == ("PATCH", "/v1/pools/default")
    assert client.hasty.last.headers["Content-Type"] == "application/json"
    assert sent(client) == {"workers": 2}
    client.call("scale", "default", "auto")
    assert sent(client) == {"workers": "auto"}


@both
def test_hasty_says_that_it_is_ready_or_why_it_is_not(kind):
    not_ready = answer({"message": "not ready: mongodb: away"}, 503, Retry_After="1")
    client = kind([answer({"message": "ready"}), not_ready, httpx.ConnectError], {})
    assert client.call("ready") == {"message": "ready"}
    assert client.hasty.last.url.path == "/readyz"
    with pytest.raises(TryAgainLater, match="not ready: mongodb: away"):
        client.call("ready")
    with pytest.raises(Unreachable):
        client.call("ready")
    # Whoever asks wants to know how it is now.
    assert client.clock.slept == []


# Recurring jobs ----------------------------------------------------------------------------------


@both
def test_a_schedule_is_created(kind):
    client = kind([answer(DEFINITION, 201)] * 2, {})
    made = client.call("create_schedule", "nightly", job=JobRequest("x", priority=2), cron="30 2 * * *")
    assert client.hasty.last.url.path == "/v1/schedules"
    assert sent(client) == {
        "name": "nightly",
        "cron": "30 2 * * *",
        "job": {"object_id": "x", "handler": "sleep", "priority": 2},
    }
    assert (made.name, made.last.job_id, made.next_at.hour) == ("nightly", "job-9", 3)
    how = {"interval": 60, "timezone": "UTC", "missed": "once", "paused": True}
    client.call("create_schedule", "nightly", job={"object_id": "x"}, **how)
    assert sent(client) == {"name": "nightly", "job": {"object_id": "x", "handler": "sleep"}} | how


@both
@pytest.mark.parametrize(
    ("given", "told"),
    [({"object": "x"}, "object: is no field of a job"), ({}, "object_id: is missing"), (["x"], "a mapping")],
)
def test_what_is_no_job_is_refused_before_it_is_sent(kind, given, told):
    with pytest.raises(InvalidRequest, match=told):
        kind([], {}).call("create_schedule", "nightly", job=given, cron="* * * * *")


@both
def test_schedules_are_listed_shown_paused_resumed_and_deleted(kind):
    pages = [
        answer({"schedules": [DEFINITION], "next_cursor": "nightly"}),
        answer({"schedules": [DEFINITION | {"name": "other"}], "next_cursor": None}),
    ]
    client = kind([*pages, *[answer(DEFINITION)] * 3, httpx.Response(204)], {})
    assert [schedule.name for schedule in client.call("schedules")] == ["nightly", "other"]
    assert client.hasty.last.url.params["cursor"] == "nightly"
    assert client.call("schedule", "nightly").cron == "30 2 * * *"
    client.call("pause_schedule", "nightly")
    client.call("resume_schedule", "nightly")
    assert client.call("delete_schedule", "nightly") is None
    assert [(request.method, request.url.path) for request in client.hasty.requests[2:]] == [
        ("GET", "/v1/schedules/nightly"),
        ("POST", "/v1/schedules/nightly/pause"),
        ("POST", "/v1/schedules/nightly/resume"),
        ("DELETE", "/v1/schedules/nightly"),
    ]


@both
def test_a_schedule_that_was_deleted_by_a_try_whose_answer_got_lost_is_deleted(kind):
    gone = problem(404, "unknown_schedule")
    assert kind([httpx.ReadTimeout, gone], {}).call("delete_schedule", "nightly") is None
    with pytest.raises(UnknownSchedule):
        kind([gone], {}).call("delete_schedule", "nightly")


# Both clients ------------------------------------------------------------------------------------


def methods(cls):
    return {name: function for name, function in vars(cls).items() if not name.startswith("_")}


def test_both_clients_have_the_same_calls():
    blocking, awaiting = methods(Client), methods(AsyncClient)
    assert list(blocking) == list(awaiting)
    for name, function in blocking.items():
        asked = inspect.signature(function).parameters
        assert asked == inspect.signature(awaiting[name]).parameters, name
        assert inspect.iscoroutinefunction(awaiting[name]) == (name not in {"events", "list"})


def test_a_request_for_one_of_many_says_what_a_submit_says():
    fields = {name: field.default for name, field in JobRequest.__dataclass_fields__.items()}
    asked = {name: each.default for name, each in inspect.signature(Client.submit).parameters.items()}
    assert {*asked} - {*fields} == {"self", "idempotency_key"}
    assert all(asked[name] == default for name, default in fields.items() if name != "object_id")


def test_what_a_program_needs_is_had_from_hasty_itself():
    assert (hasty.Client, hasty.AsyncClient, hasty.JobRequest) == (Client, AsyncClient, JobRequest)
    assert {"Client", "AsyncClient", "JobRequest", "handler", "JobContext"} <= {*dir(hasty)}
    assert all(hasattr(hasty, name) for name in hasty.__all__)
    with pytest.raises(AttributeError, match="module 'hasty' has no attribute 'Clint'"):
        _ = hasty.Clint


def test_every_error_of_a_client_is_caught_as_what_it_is():
    assert issubclass(JobRefused, hasty.HastyError)
    assert not issubclass(JobRefused, FixTheRequest | TryAgainLater)


@both
@pytest.mark.parametrize(
    ("name", "args", "field"),
    [
        ("get", ["\udcff"], "job_id"),
        ("object", ["a\udcff"], "object_id"),
        ("schedule", ["\udcff"], "name"),
        ("scale", ["\udcff", 1], "name"),
    ],
)
def test_what_is_no_text_is_refused_by_the_name_of_its_field(kind, name, args, field):
    with pytest.raises(InvalidRequest, match=rf"^{field}: must be text in UTF-8$"):
        kind([], {}).call(name, *args)


@both
def test_nor_can_jobs_or_events_be_chosen_by_what_is_no_text(kind):
    for name in ("list", "events"):
        with pytest.raises(InvalidRequest, match=r"^object_id: must be text in UTF-8$"):
            kind([], {}).take(name, object_id="\udcff")
