"""Commands about jobs: what they ask hasty for, what they say, and how they exit."""

import json

import httpx
import pytest

from tests.unit.fake_api import FakeApi
from tests.unit.typing_commands import hasty, send_by


@pytest.fixture
def api(monkeypatch):
    api = FakeApi()
    send_by(monkeypatch, api.transport())
    return api


# submit -----------------------------------------------------------------------------------------


def test_a_job_is_submitted_and_its_id_is_the_first_word(api):
    said = hasty("submit", "video-1")
    assert (said.code, said.out, said.err) == (0, "job-1 queued\n", "")
    assert api.paths() == ["POST /v1/jobs"]
    assert api.bodies() == [{"object_id": "video-1", "handler": "sleep"}]


def test_all_that_a_job_can_have_is_sent(api):
    said = hasty(
        *("submit", "order-1", "--handler", "fails", "--payload", '{"items": ["tea"]}'),
        *("--timeout", "5m", "--priority", "-7", "--run-at", "2026-01-02T15:04:05Z"),
        *("--label", "team=a", "--label", "url=x=y", "--on-conflict", "after"),
        *("--webhook", "https://example.org/hook", "--idempotency-key", "mine", "--json"),
    )
    assert said.code == 0
    assert api.asked[0].headers["Idempotency-Key"] == "mine"
    assert api.bodies() == [
        {
            "object_id": "order-1",
            "handler": "fails",
            "payload": {"items": ["tea"]},
            "timeout": 300,
            "priority": -7,
            "run_at": "2026-01-02T15:04:05+00:00",
            "labels": {"team": "a", "url": "x=y"},
            "on_conflict": "after",
            "webhook": {"url": "https://example.org/hook"},
        }
    ]
    (job,) = said.records
    assert (job["id"], job["status"], job["labels"]) == ("job-1", "scheduled", {"team": "a", "url": "x=y"})


def test_a_delay_is_sent_in_seconds(api):
    assert hasty("submit", "video-1", "--delay", "2m").out == "job-1 scheduled\n"
    assert api.bodies()[0]["delay"] == 120


@pytest.mark.parametrize(
    "words",
    [
        *(("get", "\udcff"), ("object", "\udcff"), ("wait", "\udcff"), ("events", "\udcff")),
        *(("submit", "\udcff"), ("cancel", "\udcff"), ("ls", "--object", "\udcff")),
        *(("ls", "--label", "a=\udcff"), ("ls", "--handler", "\udcff"), ("events", "--object", "\udcff")),
        ("schedules", "pause", "\udcff"),
    ],
)
def test_words_that_are_no_text_are_told(api, words):
    """So Python shows bytes of a command line that are no UTF-8."""
    said = hasty(*words, "--json")
    assert (said.code, said.problem["code"]) == (2, "invalid_request")
    assert api.asked == []


def test_a_payload_may_come_from_a_pipe(api):
    assert hasty("submit", "order-1", "--payload", "-", stdin='{"items": []}\n').code == 0
    assert api.bodies()[0]["payload"] == {"items": []}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--payload", "tea"], "--payload: is not JSON"),
        (["--label", "team"], "--label: 'team' is not name=value"),
        (["--timeout", "soon"], "--timeout: 'soon' is no duration"),
        (["--delay", "1", "--run-at", "2026-01-02T15:04:05Z"], "--run-at: give it, or a delay, not both"),
        (["--wait", "--within", "soon"], "--within: 'soon' is no duration"),
        (["--idempotency-key", "with space"], "idempotency_key: must have"),
    ],
)
def test_what_cannot_be_read_is_told_before_anything_is_sent(api, options, told):
    said = hasty("submit", "order-1", *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"hasty: {told}")
    problem = hasty("submit", "order-1", *options, "--json").problem
    assert (problem["code"], problem["exit_code"]) == ("invalid_request", 2)
    assert problem["detail"].startswith(told)
    assert api.asked == []


def test_a_refusal_names_the_job_in_the_way_and_what_can_be_done(api):
    hasty("submit", "video-1")
    said = hasty("submit", "video-1")
    assert (said.code, said.out) == (4, "")
    assert "job-1" in said.err
    assert "hasty get job-1" in said.err
    problem = hasty("submit", "video-1", "--json").problem
    assert (problem["code"], problem["job_id"], problem["job_status"]) == ("rerun_window", "job-1", "queued")
    assert (problem["retry_after"], problem["exit_code"]) == (300, 4)
    attached = hasty("submit", "video-1", "--on-conflict", "attach")
    assert (attached.code, attached.out) == (0, "job-1 queued\n")


def test_an_unknown_handler_is_told_with_those_that_there_are(api):
    said = hasty("submit", "video-1", "--handler", "nobody", "--json")
    assert (said.code, said.out) == (6, "")
    assert said.problem["handlers"] == ["sleep", "fails"]


@pytest.mark.parametrize("words", [("submit", "video-1"), ("rerun", "job-1")], ids=str)
def test_where_nobody_answers_it_is_said_how_to_ask_again_without_a_second_job(api, words):
    api.first = [httpx.ConnectError("Connection refused")] * 3
    said = hasty(*words)
    assert (said.code, said.out) == (5, "")
    key = api.asked[0].headers["Idempotency-Key"]
    assert {request.headers["Idempotency-Key"] for request in api.asked} == {key}
    assert f"--idempotency-key {key}" in said.err
    assert "hasty: no answer from hasty.test:8000: Connection refused" in said.err
    assert "hasty doctor" in said.err
    api.first = [httpx.ConnectError("Connection refused")] * 3
    said = hasty(*words, "--json")
    assert (said.problem["code"], said.problem["exit_code"]) == ("unreachable", 5)
    assert said.problem["idempotency_key"] == api.asked[-1].headers["Idempotency-Key"]
    api.first = [httpx.ConnectError("Connection refused")] * 3
    hasty(*words, "--idempotency-key", "mine")
    assert api.asked[-1].headers["Idempotency-Key"] == "mine"


def test_who_cannot_take_the_job_now_says_when_and_how_to_ask_again(api, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    full = {"code": "backlog_full", "detail": "Full.", "retry_after": 12}
    api.first = [httpx.Response(503, json=full)] * 3
    problem = hasty("submit", "video-1", "--idempotency-key", "mine", "--json").problem
    assert (problem["code"], problem["exit_code"]) == ("backlog_full", 5)
    assert (problem["retry_after"], problem["idempotency_key"]) == (12, "mine")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_every_error_that_passes_says_when_to_try_again(api, monkeypatch, status):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    api.first = [httpx.Response(status, text="of a proxy")] * 3
    assert hasty("pools", "--json").problem["retry_after"] == 1
    api.first = [httpx.Response(status, text="of a proxy", headers={"Retry-After": "7"})] * 3
    assert hasty("pools", "--json").problem["retry_after"] == 7


def test_an_answer_of_a_stranger_is_told(api):
    api.first = [httpx.Response(200, html="<html>")]
    said = hasty("submit", "video-1", "--json")
    assert (said.code, said.problem["code"]) == (2, "not_hasty")


# rerun ------------------------------------------------------------------------------------------


def test_a_job_is_run_again_by_the_rules_or_by_force(api):
    hasty("submit", "video-1")
    assert hasty("rerun", "job-1").code == 4
    assert hasty("rerun", "job-1", "--force").out == "job-2 queued\n"
    assert hasty("rerun", "job-1", "--on-conflict", "attach").out == "job-2 queued\n"
    assert api.bodies()[1:] == [{}, {"force": True}, {"on_conflict": "attach"}]
    assert hasty("rerun", "job-9").code == 6


# get, result ------------------------------------------------------------------------------------


def test_a_job_is_shown_however_it_stands(api):
    hasty("submit", "video-1", "--label", "team=a", "--payload", '["tea"]', "--handler", "fails", "--wait")
    said = hasty("get", "job-1")
    shown = dict(line.split(maxsplit=1) for line in said.lines)
    assert said.code == 0
    assert shown == {
        "job": "job-1",
        "object": "video-1 (run 1)",
        "handler": "fails",
        "status": "failed",
        "attempt": "1",
        "error": "ValueError: no such file",
        "payload": '["tea"]',
        "labels": "team=a",
        "timeout": "46 s",
        "pool": "default",
        "accepted": "2026-01-01 00:00:00Z",
        "started": "2026-01-01 00:00:01Z",
        "ended": "2026-01-01 00:00:21Z",
        "took": "20 s",
    }
    (record,) = hasty("get", "job-1", "--json").records
    assert record == api.jobs["job-1"]


def test_a_job_that_there_is_not_is_told(api):
    said = hasty("get", "nobody")
    assert (said.code, said.out, said.err) == (6, "", "hasty: There is no job with the id nobody.\n")
    assert hasty("get", "nobody", "--json").problem == {
        "code": "unknown_job",
        "detail": "There is no job with the id nobody.",
        "exit_code": 6,
    }


def test_a_result_is_printed_once_there_is_one(api):
    hasty("submit", "video-1")
    said = hasty("result", "job-1")
    assert (said.code, json.loads(said.out), said.err) == (0, {"sleep_time_used": 20}, "")
    assert hasty("result", "job-1", "--json").records == [{"sleep_time_used": 20}]


def test_a_job_without_a_result_is_told_by_the_exit_code(api):
    hasty("submit", "video-1", "--handler", "fails")
    hasty("submit", "video-2", "--handler", "hangs")
    said = hasty("result", "job-1")
    assert (said.code, said.out) == (1, "")
    assert "ValueError: no such file" in said.err
    late = hasty("result", "job-2", "--within", "0", "--json")
    assert (late.code, late.problem["code"], late.problem["job_status"]) == (8, "wait_timeout", "queued")
    hasty("cancel", "job-2")
    cancelled = hasty("result", "job-2", "--json")
    assert (cancelled.code, cancelled.problem["code"]) == (3, "job_cancelled")


# cancel -----------------------------------------------------------------------------------------


def test_several_jobs_are_cancelled_and_the_worst_is_told(api):
    for number in (1, 2, 3):
        hasty("submit", f"video-{number}")
    hasty("wait", "job-2")
    said = hasty("cancel", "job-1", "job-2", "job-1", "job-3", "--reason", "no use")
    assert (said.code, said.lines) == (4, ["job-1 cancelled", "job-3 cancelled"])
    assert said.err == "hasty: The job has ended already: it is finished.\n"
    assert api.jobs["job-1"]["error"]["message"] == "no use"
    again = hasty("cancel", "job-2", "nobody", "--json")
    assert (again.code, again.out) == (6, "")
    told = [json.loads(line) for line in again.err.splitlines()]
    assert [each["code"] for each in told] == ["already_ended", "unknown_job"]
    assert (told[0]["job_id"], told[0]["job_status"]) == ("job-2", "finished")


# attempts, object -------------------------------------------------------------------------------


def test_attempts_are_shown_a_row_each(api):
    hasty("submit", "video-1")
    said = hasty("attempts", "job-1")
    head, first, second = said.lines
    assert " ".join(head.split()) == "ATTEMPT WORKER NODE PID STARTED TOOK OUTCOME CAUSE ERROR"
    assert {"1", "4711", "lost", "killed"} <= {*first.split()}
    assert {"2", "4712", "running"} <= {*second.split()}
    assert [each["pid"] for each in hasty("attempts", "job-1", "--json").records] == [4711, 4712]


def test_an_object_is_shown_with_its_last_job_and_its_window(api):
    hasty("submit", "a/b c")
    said = hasty("object", "a/b c")
    assert api.paths()[-1] == "GET /v1/objects/a%2Fb%20c"
    assert "window    opens in 59 s" in said.lines
    assert "last job  job-1 queued" in said.lines
    (record,) = hasty("object", "a/b c", "--json").records
    assert (record["runs"], record["last_job"]["id"]) == (1, "job-1")
    assert hasty("object", "nothing").code == 6
