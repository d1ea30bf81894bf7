"""Settings: parsed once, refused in one line."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from hasty.errors import CannotStart
from hasty.settings import Settings

SECRET = "hunter2"
URI = f"mongodb://user:{SECRET}@db.example:27017/?replicaSet=rs0"


def complaint(environment, given=None) -> str:
    with pytest.raises(CannotStart) as refused:
        Settings.load(environment, given)
    return str(refused.value)


def test_nothing_needs_to_be_set():
    settings = Settings.load({})
    assert settings == Settings()
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8000)
    assert (settings.timeout_s, settings.rerun_window_s) == (46.0, 300.0)
    assert (settings.sleep_min_s, settings.sleep_max_s) == (15.0, 45.0)
    assert (settings.workers, settings.retention_days) == (2, 7.0)
    assert (settings.api_mongo_uri, settings.worker_mongo_uri) == (None, None)


def test_variables_are_read_by_their_prefix_and_others_are_left_alone():
    settings = Settings.load({"HASTY_TIMEOUT_S": "1.5", "HASTY_WORKERS": "3", "TIMEOUT_S": "9", "PATH": "/"})
    assert (settings.timeout_s, settings.workers) == (1.5, 3)


def test_hasty_variables_that_are_no_settings_are_left_alone():
    assert Settings.load({"HASTY_MONGOD": "/usr/bin/mongod", "HASTY_E2E": "1"}) == Settings()


def test_an_empty_variable_counts_as_not_set():
    assert Settings.load({"HASTY_TIMEOUT_S": "", "HASTY_API_MONGO_URI": ""}) == Settings()


def test_what_is_given_wins_over_variables_unless_it_is_none():
    environment = {"HASTY_WORKERS": "3", "HASTY_HTTP_PORT": "9000"}
    settings = Settings.load(environment, {"workers": 5, "http_port": None})
    assert (settings.workers, settings.http_port) == (5, 9000)


def test_the_environment_of_this_process_is_not_read_behind_ones_back(monkeypatch):
    monkeypatch.setenv("HASTY_WORKERS", "77")
    assert Settings.load({}).workers == 2
    assert Settings.load(os.environ).workers == 77


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"HASTY_WORKERS": "many"},
            "HASTY_WORKERS: Input should be a valid integer, unable to parse string as an integer",
        ),
        ({"HASTY_WORKERS": "0"}, "HASTY_WORKERS: Input should be greater than or equal to 1"),
        ({"HASTY_TIMEOUT_S": "0"}, "HASTY_TIMEOUT_S: Input should be greater than 0"),
        ({"HASTY_TIMEOUT_S": "nan"}, "HASTY_TIMEOUT_S: Input should be less than or equal to 86400"),
        ({"HASTY_HTTP_PORT": "65536"}, "HASTY_HTTP_PORT: Input should be less than or equal to 65535"),
        (
            {"HASTY_RERUN_WINDOW_S": "-1"},
            "HASTY_RERUN_WINDOW_S: Input should be greater than or equal to 0",
        ),
        ({"HASTY_RETENTION_DAYS": "0.5"}, "HASTY_RETENTION_DAYS: Input should be greater than or equal to 1"),
        (
            {"HASTY_RETENTION_DAYS": "inf"},
            "HASTY_RETENTION_DAYS: Input should be less than or equal to 3650",
        ),
        ({"HASTY_SLEEP_MAX_S": "inf"}, "HASTY_SLEEP_MAX_S: Input should be less than or equal to 86400"),
        (
            {"HASTY_HANDLERS": "shop.jobs,no path"},
            "HASTY_HANDLERS: must be import paths of modules, as in `import shop.jobs`",
        ),
        (
            {"HASTY_HANDLERS": "shop..jobs"},
            "HASTY_HANDLERS: must be import paths of modules, as in `import shop.jobs`",
        ),
        ({"HASTY_INSTANCE": "x" * 65}, "HASTY_INSTANCE: String should have at most 64 characters"),
    ],
)
def test_a_wrong_setting_is_named_by_its_variable(environment, said):
    assert complaint(environment) == said


def test_every_wrong_setting_is_named_in_one_line():
    said = complaint({"HASTY_WORKERS": "many\nlines", "HASTY_SLOTS": "-5"})
    assert said == (
        "HASTY_WORKERS: Input should be a valid integer, unable to parse string as an integer; "
        "HASTY_SLOTS: Input should be greater than or equal to 1"
    )


def test_a_given_setting_that_does_not_exist_is_named():
    said = complaint({}, {"wrokers": 3})
    assert said == "HASTY_WROKERS: there is no such setting; did you mean workers?"


@pytest.mark.parametrize(
    ("environment", "given"),
    [
        ({"HASTY_API_MONGO_URI": URI, "HASTY_WORKERS": SECRET}, None),
        ({}, {"api_mongo_uri": SECRET.encode() + b"\xff"}),
        ({"HASTY_HTTP_HOST": SECRET, "HASTY_WORKER_MONGO_URI": URI}, None),
    ],
)
def test_a_complaint_shows_no_values(environment, given):
    said = complaint(environment, given)
    assert said.startswith("HASTY_")
    assert SECRET not in said
    assert "\n" not in said


def test_settings_do_not_show_their_secrets():
    settings = Settings.load({"HASTY_API_MONGO_URI": URI, "HASTY_WORKER_MONGO_URI": URI})
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"


def test_handlers_are_split_at_commas_or_given_one_by_one():
    paths = ("shop.jobs", "mail")
    assert Settings.load({"HASTY_HANDLERS": " shop.jobs, mail,"}).handlers == paths
    assert Settings.load({}, {"handlers": ["shop.jobs", "mail"]}).handlers == paths
    assert Settings.load({"HASTY_HANDLERS": ""}).handlers == Settings().handlers == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_http_is_served_to_this_machine_or_to_all(host):
    assert Settings.load({"HASTY_HTTP_HOST": host}).http_host == host


@pytest.mark.parametrize("host", ["localhost", "::1", "192.168.0.7", "127.0.0.2", " 127.0.0.1"])
def test_no_other_address_is_taken(host):
    assert complaint({"HASTY_HTTP_HOST": host}) == (
        "HASTY_HTTP_HOST: must be 127.0.0.1 (this machine only) or 0.0.0.0 (every interface)"
    )


@pytest.mark.parametrize(
    ("environment", "needed"),
    [
        ({}, False),
        ({"HASTY_HTTP_HOST": "0.0.0.0"}, True),
        ({"HASTY_HTTP_HOST": "0.0.0.0", "HASTY_AUTH": ""}, True),
        ({"HASTY_HTTP_HOST": "0.0.0.0", "HASTY_AUTH": "false"}, False),
        ({"HASTY_AUTH": "true"}, True),
    ],
)
def test_keys_are_needed_where_others_can_reach_it_unless_it_is_said(environment, needed):
    assert Settings.load(environment).needs_keys == needed


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "many"])
def test_a_rate_is_a_number_above_nothing(rate):
    assert complaint({"HASTY_RATE_LIMIT": rate}).startswith("HASTY_RATE_LIMIT: Input should be ")


def test_the_shortest_sleep_is_not_longer_than_the_longest():
    assert "sleep_min_s is greater than sleep_max_s" in complaint({"HASTY_SLEEP_MIN_S": "45.5"})
    assert "sleep_min_s is greater than sleep_max_s" in complaint({"HASTY_SLEEP_MAX_S": "14"})
    same = Settings.load({"HASTY_SLEEP_MIN_S": "0", "HASTY_SLEEP_MAX_S": "0"})
    assert (same.sleep_min_s, same.sleep_max_s) == (0.0, 0.0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"api_mongo_uri": URI, "worker_mongo_uri": "mongodb://other/", "instance": "a b=c"},
        {"data_dir": Path("/tmp/with space"), "timeout_s": 0.1, "rerun_window_s": 1 / 3},
        {"handlers": ("shop.jobs", "mail")},
        {"http_host": "0.0.0.0", "http_port": 1, "sleep_min_s": 0, "sleep_max_s": 1e-9},
        {"auth": False, "rate_limit": 0.5},
        {"auth": True},
    ],
)
def test_settings_survive_the_way_through_an_environment(given):
    settings = Settings.load({}, given)
    environment = settings.to_environment()
    assert all(name.startswith("HASTY_") and isinstance(value, str) for name, value in environment.items())
    assert Settings.load(environment) == settings


def test_the_environment_hands_on_the_secrets_and_empties_what_is_not_set():
    environment = Settings.load({"HASTY_API_MONGO_URI": URI}).to_environment()
    assert environment["HASTY_API_MONGO_URI"] == URI
    assert environment["HASTY_WORKER_MONGO_URI"] == environment["HASTY_INSTANCE"] == ""
    assert len(environment) == len(Settings.model_fields)


def test_the_ledger_lives_beside_the_jobs_unless_it_is_told_otherwise():
    assert Settings(api_mongo_uri=URI).jobs_uri == URI
    assert Settings(api_mongo_uri=URI).ledger_uri == URI
    apart = Settings(api_mongo_uri=URI, worker_mongo_uri="mongodb://other/")
    assert (apart.jobs_uri, apart.ledger_uri) == (URI, "mongodb://other/")


def test_without_a_database_the_missing_variable_is_named():
    for uri in ("jobs_uri", "ledger_uri"):
        with pytest.raises(CannotStart, match=r"^HASTY_API_MONGO_URI is not set: "):
            getattr(Settings(), uri)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings().workers = 3
