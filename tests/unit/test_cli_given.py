"""What people type is read, or refused with the name of the option."""

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest

from hasty.cli.given import read_duration, read_json, read_labels, read_moment, read_since, read_size
from hasty.errors import InvalidRequest
from tests.unit.examples import NOW


class Clock:
    def now(self):
        return NOW


def test_json_is_given_as_it_is_in_a_file_or_on_standard_input(tmp_path, monkeypatch):
    (tmp_path / "order.json").write_text('{"items": ["tea"]}\n')
    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2]\n"))
    assert read_json("payload", '{"width": 1.5}') == {"width": 1.5}
    assert read_json("payload", f"@{tmp_path / 'order.json'}") == {"items": ["tea"]}
    assert read_json("payload", "-") == [1, 2]
    assert read_json("payload", "null") is None
    assert read_json("payload", None) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tea", """payload: is not JSON: .*; a string has quotes of its own: '"text"'"""),
        ("", "payload: is not JSON"),
        ("NaN", "payload: is not JSON: NaN is no number in it"),
        ("[" * 100_000, "payload: is not JSON"),
        ("@nowhere.json", "payload: cannot read nowhere.json: No such file"),
        ("@.", r"payload: cannot read \.: Is a directory"),
    ],
)
def test_what_is_no_json_is_told(text, told):
    with pytest.raises(InvalidRequest, match=told):
        read_json("payload", text)


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "picture").write_bytes(b"\xff\xd8")
    with pytest.raises(InvalidRequest, match="payload: is not text in UTF-8"):
        read_json("payload", f"@{tmp_path / 'picture'}")


def test_labels_are_names_and_values():
    assert read_labels("label", ["team=a", "url=x=y", "empty="]) == {"team": "a", "url": "x=y", "empty": ""}
    assert read_labels("label", None) is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["team"], "label: 'team' is not name=value"),
        (["=a"], "label: '=a' is not name=value"),
        (["team=a", "team=b"], "label: team is given twice"),
    ],
)
def test_what_is_no_label_is_told(given, told):
    with pytest.raises(InvalidRequest, match=told):
        read_labels("label", given)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("5m", 300), ("2h", 7_200), ("1d", 86_400), ("0", 0)],
)
def test_a_duration_is_read(text, seconds):
    assert read_duration("delay", text) == seconds
    assert read_duration("delay", None) is None


@pytest.mark.parametrize("text", ["", "-1", "5x", "5 m", "1e3", "٣", "m", "inf", "9" * 400])
def test_what_is_no_duration_is_told(text):
    with pytest.raises(InvalidRequest, match=r"delay: .* is no duration"):
        read_duration("delay", text)


def test_a_moment_has_its_time_zone():
    assert read_moment("run-at", "2026-01-02T15:04:05Z") == datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
    there = timezone(timedelta(hours=2))
    assert read_moment("run-at", "2026-01-02T15:04:05+02:00") == datetime(2026, 1, 2, 15, 4, 5, tzinfo=there)
    with pytest.raises(InvalidRequest, match=r"run-at: .* lacks its time zone"):
        read_moment("run-at", "2026-01-02T15:04:05")
    with pytest.raises(InvalidRequest, match="run-at: 'tomorrow' is no time"):
        read_moment("run-at", "tomorrow")


def test_since_is_a_moment_or_how_long_ago_it_was():
    assert read_since("since", "2h", Clock()) == NOW - timedelta(hours=2)
    assert read_since("since", "2026-01-02T15:04:05Z", Clock()) == datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
    assert read_since("since", None, Clock()) is None
    with pytest.raises(InvalidRequest, match=r"since: .* is before all time"):
        read_since("since", "999999999d", Clock())
    with pytest.raises(InvalidRequest, match="since: 'yesterday' is no time"):
        read_since("since", "yesterday", Clock())


@pytest.mark.parametrize(
    ("text", "meant"), [("default=8", ("default", 8)), ("gpu-a=auto", ("gpu-a", "auto")), ("x=0", ("x", 0))]
)
def test_a_size_is_understood(text, meant):
    assert read_size(text) == meant


@pytest.mark.parametrize(
    "text",
    ["default", "=8", "default=", "default=many", "default=-1", "default=٣", "", "x=" + "9" * 5_000],
)
def test_any_other_size_is_told_how_it_is_written(text):
    with pytest.raises(InvalidRequest, match="is not POOL=N, as in default=8"):
        read_size(text)
