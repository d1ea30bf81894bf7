"""Each problem of the API becomes the error that says what to do about it."""

import inspect

import httpx
import pytest

import hasty.errors
from hasty.api.problems import CODES
from hasty.client.problems import failure, refusal
from hasty.errors import (
    AlreadyEnded,
    BacklogFull,
    BodyTooLarge,
    FixTheRequest,
    Forbidden,
    IdempotencyKeyReused,
    InvalidRequest,
    JobRefused,
    NotHasty,
    RateLimited,
    TryAgainLater,
    Unauthorized,
    UnknownHandler,
    UnknownJob,
    Unreachable,
)
from tests.unit.client_double import answer, both, job, problem

REQUEST = httpx.Request("GET", "http://hasty.example:8000/v1/jobs/x?wait=30")


CLASSES = {
    error.code: error
    for error in vars(hasty.errors).values()
    if inspect.isclass(error) and hasattr(error, "code")
}


def failed(response):
    response.request = REQUEST
    return failure(response)


def error_of(response):
    return failed(response).error


@pytest.mark.parametrize("code", CODES)
def test_each_code_of_the_api_is_an_error_of_its_family_and_is_told(code):
    status, _ = CODES[code]
    error = error_of(problem(status, code))
    assert error.code == code
    family = JobRefused if code in {"rerun_window", "unfinished"} else FixTheRequest
    assert isinstance(error, TryAgainLater if status >= 500 or status == 429 else family)
    assert type(error) is CLASSES.get(code, type(error))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", Forbidden),
        (404, "unknown_job", UnknownJob),
        (413, "body_too_large", BodyTooLarge),
        (422, "idempotency_key_reused", IdempotencyKeyReused),
        (429, "backlog_full", BacklogFull),
        (429, "rate_limited", RateLimited),
        (503, "unreachable", Unreachable),
    ],
)
def test_a_code_has_a_class(status, code, error):
    raised = error_of(problem(status, code))
    assert type(raised) is error
    assert str(raised) == f"It is {code}."


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, FixTheRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, FixTheRequest),
        (409, FixTheRequest),
        (413, BodyTooLarge),
        (418, FixTheRequest),
        (422, FixTheRequest),
        (429, RateLimited),
        (500, TryAgainLater),
        (501, TryAgainLater),
        (503, TryAgainLater),
        (599, TryAgainLater),
    ],
)
def test_an_unknown_code_is_judged_by_its_status(status, error):
    raised = error_of(problem(status, "brand_new"))
    assert type(raised) is error
    assert raised.code == "brand_new"
    assert str(raised) == "It is brand_new."


def test_a_refusal_carries_the_job_in_the_way():
    raised = error_of(problem(409, "rerun_window", 120, job_id="job-1", job=job("running")))
    assert isinstance(raised, JobRefused)
    assert (raised.code, raised.job_id, raised.retry_after) == ("rerun_window", "job-1", 120)
    assert raised.job.status == "running"
    assert str(raised) == "rerun_window: job job-1 stands in the way for 120 s"


def test_an_invalid_request_says_which_fields():
    told = {
        "errors": [{"field": "payload.width", "message": "too wide"}],
        "detail": "payload.width: too wide",
    }
    raised = error_of(problem(422, "invalid_request", **told))
    assert isinstance(raised, InvalidRequest)
    assert raised.complaints == (("payload.width", "too wide"),)
    assert str(raised) == "payload.width: too wide"


def test_an_unknown_handler_says_which_there_are():
    raised = error_of(problem(404, "unknown_handler", handlers=["invoice", "sleep"]))
    assert isinstance(raised, UnknownHandler)
    assert raised.known == ("invoice", "sleep")


def test_a_job_that_has_ended_says_how():
    raised = error_of(problem(409, "already_ended", job_id="job-1", job_status="finished"))
    assert isinstance(raised, AlreadyEnded)
    assert (raised.job_id, raised.job_status) == ("job-1", "finished")


def test_what_a_key_would_have_to_allow_is_told():
    assert error_of(problem(403, "forbidden", scope="admin")).scope == "admin"


def test_what_may_succeed_later_says_when():
    assert error_of(problem(429, "rate_limited", 7)).retry_after_s == 7
    assert error_of(problem(503, "draining")).retry_after_s == 10
    assert error_of(httpx.Response(503, headers={"Retry-After": "3"})).retry_after_s == 3
    assert refusal(503, {"code": "store_unavailable", "retry_after": 4}).retry_after_s == 4


@pytest.mark.parametrize(
    ("said", "dated", "seconds"),
    [
        ("0", None, 0),
        ("12", None, 12),
        ("Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 30),
        ("Wed, 21 Oct 2026 07:27:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", None, 0),
        ("soon", "Wed, 21 Oct 2026 07:28:00 GMT", 0),
        ("-5", None, 0),
        ("", None, 0),
        ("\u00b2", None, 0),
        ("9" * 5_000, None, 999_999_999),
    ],
)
def test_retry_after_is_seconds_or_a_date(said, dated, seconds):
    headers = {"Retry-After": said.encode("latin-1")} | ({"Date": dated} if dated else {})
    assert failed(httpx.Response(503, headers=headers)).wait_s == seconds


@pytest.mark.parametrize("status", range(400, 600))
def test_only_what_may_pass_is_worth_another_try(status):
    assert failed(httpx.Response(status)).passes == (status in {429, 500, 502, 503, 504})
    assert failed(problem(status, "x")).passes == (status in {429, 500, 502, 503, 504})


def test_success_is_no_failure():
    assert all(failed(httpx.Response(status)) is None for status in (200, 201, 202, 204))


@pytest.mark.parametrize(
    "document",
    [None, [], "no", 3, {}, {"code": 3}, {"code": None, "detail": 3}],
)
def test_what_is_no_problem_document_is_judged_by_its_status(document):
    raised = error_of(answer(document, 503))
    assert type(raised) is TryAgainLater
    assert "http://hasty.example:8000/v1/jobs/x was answered with 503" in str(raised)


@pytest.mark.parametrize(
    "name", ["errors", "handlers", "job_id", "job", "retry_after", "detail", "job_status"]
)
@pytest.mark.parametrize("wrong", [3.5, "x", [], {}, [3], [{"field": 3}], None])
@pytest.mark.parametrize("code", ["rerun_window", "invalid_request", "unknown_handler", "already_ended"])
def test_a_field_that_is_not_as_it_should_be_hides_no_other(name, wrong, code):
    assert error_of(problem(409, code, **{name: wrong})).code == code


def test_a_stranger_is_told_from_hasty():
    raised = error_of(httpx.Response(404, text="<html>\n <h1>Not   Found</h1>" + "x" * 500))
    assert type(raised) is NotHasty
    assert str(raised).startswith(
        "GET http://hasty.example:8000/v1/jobs/x was answered with 404: <html> <h1>Not Found</h1>xxx"
    )
    assert len(str(raised)) < 300
    assert type(error_of(httpx.Response(400, text="?"))) is FixTheRequest
    assert type(error_of(httpx.Response(401, text="?"))) is Unauthorized


def test_a_redirect_says_where_it_leads():
    raised = error_of(httpx.Response(308, headers={"Location": "https://hasty.example/"}))
    assert type(raised) is NotHasty
    assert str(raised).endswith("was answered with 308: it is now at https://hasty.example/")


@both
def test_no_redirect_is_followed(kind):
    client = kind([httpx.Response(307, headers={"Location": "https://elsewhere.example/"})], {"api_key": "k"})
    with pytest.raises(NotHasty, match="it is now at https://elsewhere"):
        client.call("submit", "x")


def test_a_connection_that_failed_says_where_to_and_why():
    raised = failure(httpx.ConnectError("[Errno 111] Connection refused", request=REQUEST))
    assert raised.passes
    assert type(raised.error) is Unreachable
    assert str(raised.error) == "no answer from hasty.example:8000: [Errno 111] Connection refused"
    silent = failure(httpx.ReadTimeout("", request=REQUEST))
    assert str(silent.error) == "no answer from hasty.example:8000: ReadTimeout"


@both
@pytest.mark.parametrize(
    "said",
    [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"id": 3}', b"<html>", b"\xff", b"[" * 100_000],
)
@pytest.mark.parametrize(
    "call", [("get", "x"), ("attempts", "x"), ("object", "x"), ("pools",), ("schedules",)]
)
def test_an_answer_that_is_something_else_is_not_of_hasty(kind, said, call):
    client = kind([httpx.Response(200, content=said)] * 2, {})
    with pytest.raises(NotHasty, match=r"^http://127\.0\.0\.1:8000/"):
        client.call(*call)
    with pytest.raises(NotHasty):
        client.take("list")
