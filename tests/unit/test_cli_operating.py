"""Commands of who operates hasty over HTTP: pools, handlers, schedules, webhooks."""

import pytest

from tests.unit.fake_api import FakeApi
from tests.unit.typing_commands import hasty, send_by


@pytest.fixture
def api(monkeypatch):
    api = FakeApi()
    send_by(monkeypatch, api.transport())
    return api


# pools, scale -----------------------------------------------------------------------------------


def test_pools_are_shown_a_row_each(api):
    said = hasty("pools")
    assert said.lines[1].split() == ["default", "2", "2", "to", "2", "2", "0", "3", "0", "0", "s"]
    assert [record["name"] for record in hasty("pools", "--json").records] == ["default", "gpu"]


def test_pools_are_resized_one_after_the_other(api):
    said = hasty("scale", "default=3", "gpu=auto")
    assert said.lines == [
        "default: 3 workers, as you say; 2 take jobs now",
        "gpu: 2 workers, as the settings and the load say; 0 take jobs now",
    ]
    assert api.paths() == ["PATCH /v1/pools/default", "PATCH /v1/pools/gpu"]
    assert api.bodies() == [{"workers": 3}, {"workers": "auto"}]
    assert [record["workers"] for record in hasty("scale", "gpu=5", "--json").records] == [5]


def test_a_size_that_will_not_do_is_told_before_anything_is_resized(api):
    said = hasty("scale", "default=3", "gpu")
    assert (said.code, said.out) == (2, "")
    assert "'gpu' is not POOL=N" in said.err
    assert api.asked == []


@pytest.mark.parametrize(
    ("size", "code", "told"), [("x=3", 6, "There is no pool 'x'."), ("default=0", 2, "workers: must be")]
)
def test_a_refusal_is_told_in_its_own_words(api, size, code, told):
    said = hasty("scale", size)
    assert said.code == code
    assert told in said.err


# handlers ---------------------------------------------------------------------------------------


def test_the_handlers_of_a_running_hasty_are_listed(api):
    said = hasty("handlers", "--running")
    assert said.lines[1].split() == ["sleep", "default", "46", "s", "5", "min", "0", "s", "0", "Sleep."]
    assert [record["name"] for record in hasty("handlers", "--running", "--json").records] == ["sleep"]


# schedules --------------------------------------------------------------------------------------


def test_a_schedule_is_added_paused_resumed_and_deleted(api):
    said = hasty(
        *("schedules", "add", "nightly", "report", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin"),
        *("--missed", "once", "--handler", "sleep", "--payload", '{"to": "a"}', "--timeout", "5m"),
        *("--priority", "3", "--label", "team=a", "--on-conflict", "attach"),
        *("--webhook", "https://example.org/hook"),
    )
    assert said.code == 0
    assert said.lines[1].startswith(
        "nightly   0 3 * * * Europe/Berlin  report  sleep    2026-01-01 00:00:30Z"
    )
    assert api.bodies() == [
        {
            "name": "nightly",
            "cron": "0 3 * * *",
            "timezone": "Europe/Berlin",
            "missed": "once",
            "job": {
                "object_id": "report",
                "handler": "sleep",
                "payload": {"to": "a"},
                "timeout": 300,
                "priority": 3,
                "labels": {"team": "a"},
                "on_conflict": "attach",
                "webhook": {"url": "https://example.org/hook"},
            },
        }
    ]
    assert "paused" in hasty("schedules", "pause", "nightly").lines[1]
    assert hasty("schedules", "list", "--json").records[0]["paused"] is True
    assert "paused" not in hasty("schedules", "resume", "nightly").lines[1]
    assert hasty("schedules", "delete", "nightly").out == "nightly is deleted\n"
    assert hasty("schedules", "delete", "nightly", "--json").problem["code"] == "unknown_schedule"
    assert hasty("schedules", "list", "--json").out == ""


def test_a_schedule_may_have_an_interval_and_begin_paused(api):
    assert hasty("schedules", "add", "often", "report", "--every", "90", "--paused", "--json").code == 0
    assert (api.bodies()[0]["interval"], api.bodies()[0]["paused"]) == (90, True)
    assert "every 1 min 30 s" in hasty("schedules", "list").lines[1]


@pytest.mark.parametrize("options", [[], ["--cron", "0 3 * * *", "--every", "90"], ["--every", "often"]])
def test_a_schedule_has_one_of_the_two(api, options):
    assert hasty("schedules", "add", "nightly", "report", *options).code == 2
    assert api.asked == []


def test_a_name_that_is_taken_is_told(api):
    assert hasty("schedules", "add", "nightly", "report", "--every", "1h").code == 0
    assert hasty("schedules", "add", "nightly", "report", "--every", "1h").code == 0
    assert hasty("schedules", "add", "nightly", "other", "--every", "1h").code == 4


def test_what_came_of_a_schedule_is_shown(api):
    hasty("schedules", "add", "nightly", "report", "--every", "1h")
    last = {"at": "2026-01-01T00:00:00Z", "outcome": "accepted", "job_id": "job-7"}
    api.schedules["nightly"]["last"] = last
    assert hasty("schedules", "list").lines[1].endswith("2026-01-01 00:00:00Z accepted  job-7")


# webhooks ---------------------------------------------------------------------------------------


def test_tries_to_deliver_are_shown_and_when_the_next_one_is(api):
    hasty("submit", "video-1", "--webhook", "https://example.org/hook")
    said = hasty("webhooks", "deliveries", "job-1")
    assert said.code == 0
    assert said.lines[1].split() == ["1", "2026-01-01", "00:00:22Z", "503"]
    assert said.lines[2].endswith("timed out")
    assert said.lines[3] == "pending; again at 2026-01-01 00:00:40Z"
    (record,) = hasty("webhooks", "deliveries", "job-1", "--json").records
    assert (record["state"], len(record["deliveries"])) == ("pending", 2)


def test_a_job_without_a_webhook_is_told(api):
    hasty("submit", "video-1")
    assert hasty("webhooks", "deliveries", "job-1").code == 6
