"""When schedules fire, and what is decided about what is due: pure rules, on the calendars of the world."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hasty.schedule
from hasty.schedule import (
    GRACE,
    Cron,
    Fired,
    Firing,
    FiringOutcome,
    Interval,
    Missed,
    Schedule,
    check_cron,
    check_timezone,
)
from tests.unit.examples import NOW, after, repeatable

BERLIN = ZoneInfo("Europe/Berlin")

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def firings(timing, moment, count):
    """Return the next firings after a moment."""
    found = []
    while len(found) < count:
        moment = timing.after(moment)
        found.append(moment)
    return found


def in_berlin(expression, moment, count):
    """Return what its wall clocks show, with the offset from UTC, at the next firings."""
    found = firings(Cron(expression, "Europe/Berlin"), datetime.fromisoformat(moment), count)
    return [f"{at.astimezone(BERLIN):%m-%d %H:%M %z}" for at in found]


def a_schedule(**changes) -> Schedule:
    fields = {
        "name": "nightly",
        "uid": "one",
        "timing": Interval(10_000, NOW),
        "job": {"object_id": "x"},
        "created_at": NOW,
        "fingerprint": "f",
    }
    return Schedule(**(fields | changes)).begun()


# Cron ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "moment", "expected"),
    [
        ("* * * * *", "2026-01-31 23:59", ["2026-02-01 00:00", "2026-02-01 00:01"]),
        ("*/20 8-9 * * *", "2026-01-01 08:30", ["2026-01-01 08:40", "2026-01-01 09:00"]),
        ("0 12 * * MON-FRI", "2026-01-02 12:00", ["2026-01-05 12:00", "2026-01-06 12:00"]),
        # The ends of months.
        ("0 0 31 * *", "2026-01-31 00:00", ["2026-03-31 00:00", "2026-05-31 00:00"]),
        ("0 0 30 2,4 *", "2026-01-01 00:00", ["2026-04-30 00:00", "2027-04-30 00:00"]),
        ("0 0 L * *", "2026-01-01 00:00", ["2026-01-31 00:00", "2026-02-28 00:00"]),
        ("0 0 * * 5L", "2026-01-01 00:00", ["2026-01-30 00:00", "2026-02-27 00:00"]),
        ("0 0 * * MON#1", "2026-01-01 00:00", ["2026-01-05 00:00", "2026-02-02 00:00"]),
        # The end of the year.
        ("59 23 31 12 *", "2026-01-01 00:00", ["2026-12-31 23:59", "2027-12-31 23:59"]),
        # Leap days; 2100 has none.
        ("0 0 29 2 *", "2026-03-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 *", "2096-02-29 00:00", ["2104-02-29 00:00"]),
        # Where both days are given, either will do; where one begins with a star, both must fit.
        ("0 0 13 * FRI", "2026-02-07 00:00", ["2026-02-13 00:00", "2026-02-20 00:00"]),
        ("0 0 */13 * FRI", "2026-02-07 00:00", ["2026-02-27 00:00", "2026-03-27 00:00"]),
    ],
)
def test_a_cron_expression_fires_by_the_calendar(expression, moment, expected):
    assert firings(Cron(expression), utc(moment), len(expected)) == [utc(at) for at in expected]


def test_what_is_fixed_to_a_time_that_is_skipped_fires_as_soon_as_it_is_over():
    """The clocks of Berlin went from 02:00 to 03:00 on 29 March 2026."""
    assert in_berlin("30 2 * * *", "2026-03-28T12:00+01:00", 2) == ["03-29 03:00 +0200", "03-30 02:30 +0200"]
    assert in_berlin("0 2 * * *", "2026-03-28T12:00+01:00", 2) == ["03-29 03:00 +0200", "03-30 02:00 +0200"]
    # Several such are one, and what is fixed to 03:00 is the same one.
    assert in_berlin("0,30 2,3 * * *", "2026-03-29T01:00+01:00", 2) == [
        "03-29 03:00 +0200",
        "03-29 03:30 +0200",
    ]


def test_what_is_fixed_to_a_time_that_comes_twice_fires_the_first_time():
    """They went from 03:00 back to 02:00 on 25 October 2026."""
    expected = ["10-25 02:30 +0200", "10-26 02:30 +0100"]
    assert in_berlin("30 2 * * *", "2026-10-24T12:00+02:00", 2) == expected
    # Not again, whenever in the second hour somebody looks.
    for moment in ("02:00", "02:15", "02:30", "02:59"):
        assert in_berlin("30 2 * * *", f"2026-10-25T{moment}+01:00", 1) == expected[1:]


def test_what_fires_every_few_minutes_goes_on_through_both_changes():
    assert in_berlin("*/30 * * * *", "2026-03-29T01:00+01:00", 3) == [
        "03-29 01:30 +0100",
        "03-29 03:00 +0200",
        "03-29 03:30 +0200",
    ]
    assert in_berlin("*/30 * * * *", "2026-10-25T02:00+02:00", 4) == [
        "10-25 02:30 +0200",
        "10-25 02:00 +0100",
        "10-25 02:30 +0100",
        "10-25 03:00 +0100",
    ]


def test_midnight_may_be_skipped_and_so_may_a_whole_day():
    cairo = firings(Cron("0 0 * * *", "Africa/Cairo"), utc("2026-04-22 23:00"), 2)
    assert cairo == [utc("2026-04-23 22:00"), utc("2026-04-24 21:00")]
    # Samoa had no 30 December 2011: what was for that day comes as soon as it is over.
    apia = firings(Cron("30 12 * * *", "Pacific/Apia"), utc("2011-12-29 00:00"), 3)
    assert apia == [utc("2011-12-29 22:30"), utc("2011-12-30 10:00"), utc("2011-12-30 22:30")]


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Africa/Cairo", "Asia/Kathmandu"]


def fields(low, high):
    """Some of what may stand in a field of a cron expression."""
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        st.integers(2, 30).map(lambda step: f"*/{step}"),
        st.lists(number, min_size=1, max_size=3).map(lambda some: ",".join(map(str, some))),
        st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}"),
    )


#: Daily, and in winter and summer; many around the hours in which clocks are set.
CRONS = st.builds(
    lambda minute, hour, dom, month, dow, zone: Cron(f"{minute} {hour} {dom} {month} {dow}", zone),
    fields(0, 59),
    st.one_of(fields(0, 4), fields(0, 23)),
    st.one_of(st.just("*"), fields(1, 28)),
    st.one_of(st.just("*"), fields(1, 12)),
    st.one_of(st.just("*"), fields(0, 7)),
    st.sampled_from(ZONES),
)

#: The nights of 2026 in which those zones set their clocks, and a few others.
NIGHTS = ["03-08", "03-29", "04-24", "10-25", "10-30", "11-01", "02-28", "12-31"]

MOMENTS = st.builds(
    lambda night, minutes, ms: utc(f"2026-{night} 00:00") + minutes * MINUTE + timedelta(milliseconds=ms),
    st.sampled_from(NIGHTS),
    st.integers(-36 * 60, 36 * 60),
    st.integers(0, 60_000),
)


@repeatable
@given(CRONS, MOMENTS)
def test_the_next_firing_is_after_the_moment_and_a_whole_minute(cron, moment):
    at = cron.after(moment)
    assert at > moment
    assert (at.second, at.microsecond, at.tzinfo) == (0, 0, UTC)


@repeatable
@given(CRONS, MOMENTS, st.floats(0, 1))
def test_whoever_looks_between_two_firings_finds_the_second(cron, moment, part):
    first = cron.after(moment)
    second = cron.after(first)
    assert cron.after(first + (second - first - timedelta(milliseconds=1)) * part) == second


@repeatable
@given(CRONS, MOMENTS, st.timedeltas(timedelta(0), timedelta(hours=18)))
def test_between_two_windows_no_firing_is_lost(cron, moment, window):
    """Those of a window, one after the other, and the same window cut in two."""
    end, middle = moment + window, moment + window / 3

    def within(start, stop):
        found = []
        while (start := cron.after(start)) <= stop:
            found.append(start)
        return found

    assert within(moment, end) == within(moment, middle) + within(middle, end)


@repeatable
@given(CRONS, MOMENTS, st.timedeltas(timedelta(milliseconds=1), timedelta(hours=18)))
def test_the_latest_firing_is_the_last_of_all(cron, moment, span):
    first = cron.after(moment)
    before = first + span
    all_ = [first]
    while (at := cron.after(all_[-1])) < before:
        all_.append(at)
    assert cron.latest(first, before) == all_[-1]


def test_the_latest_of_a_million_missed_firings_is_found_in_a_few_looks(monkeypatch):
    looks = []

    class Counted(hasty.schedule.CronSim):
        def __init__(self, *args):
            looks.append(1)
            super().__init__(*args)

    monkeypatch.setattr(hasty.schedule, "CronSim", Counted)
    first, before = utc("2024-01-01 00:00"), utc("2026-01-01 00:00")
    assert Cron("* * * * *").latest(first, before) == before - MINUTE
    assert Cron("0 0 1 1 *").latest(first, before) == utc("2025-01-01 00:00")
    assert len(looks) < 100


@pytest.mark.parametrize(
    "expression",
    [
        "0 2 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "* * */20 * 1L",  # the last Monday of a month is never its first or 21st
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "-1 * * * *",
        "1.5 * * * *",
        "L * * * *",
        "* * * * ²L",
        "٣ * * * *",
        "9" * 200 + " * * * *",
        "@daily * * * *",
    ],
)
def test_what_never_fires_or_cannot_be_read_is_refused(expression):
    with pytest.raises(ValueError, match=r"^is no cron expression that ever fires"):
        check_cron(expression)


@pytest.mark.parametrize("expression", ["", "* * * *", "* * * * * *", "@daily", "0 0 * * * * *"])
def test_there_are_five_fields(expression):
    """A sixth would be seconds: those are what an interval is for."""
    with pytest.raises(ValueError, match="5 fields: minute, hour, day of month, month, day of week"):
        check_cron(expression)


def test_a_cron_expression_is_kept_with_single_spaces():
    assert check_cron(" 0\t2  * * mon ") == "0 2 * * mon"
    assert firings(Cron("0 2 * * mon"), utc("2026-01-01 00:00"), 1) == [utc("2026-01-05 02:00")]


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Port-au-Prince", "Etc/GMT+5", "GB-Eire"])
def test_a_time_zone_is_one_of_the_iana_database(name):
    assert check_timezone(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "Europe",
        "europe/berlin",
        "localtime",
        "posix/Europe/Berlin",
        "../Europe/Berlin",
        "Europe/../Europe/Berlin",
        "/etc/localtime",
        "+02:00",
        "Europe/Berlin\0",
        "E" * 255,
        "\ud800",
    ],
)
def test_whatever_else_is_called_a_time_zone_is_refused(name):
    with pytest.raises(ValueError, match="is no time zone of the IANA database"):
        check_timezone(name)


# Interval --------------------------------------------------------------------------------------


def test_an_interval_fires_at_whole_multiples_of_it_after_its_anchor():
    interval = Interval(1_500, NOW)
    assert firings(interval, NOW, 3) == [after(1.5), after(3), after(4.5)]
    assert interval.after(after(3.001)) == after(4.5)
    assert interval.after(after(2.999)) == after(3)
    # Not before its first, whatever somebody's clock says.
    assert interval.after(after(-1_000)) == after(1.5)


@repeatable
@given(
    st.integers(1_000, 10_000_000), st.timedeltas(timedelta(0), 400 * DAY), st.timedeltas(timedelta(0), DAY)
)
def test_an_interval_knows_its_next_and_its_latest_firing(every_ms, since, span):
    interval, every = Interval(every_ms, NOW), timedelta(milliseconds=every_ms)
    first = interval.after(NOW + since)
    assert timedelta(0) < first - (NOW + since) <= every
    assert (first - NOW) % every == timedelta(0)
    before = first + timedelta(microseconds=1) + span
    latest = interval.latest(first, before)
    assert first <= latest < before <= interval.after(latest)


# Decisions -------------------------------------------------------------------------------------


def test_a_schedule_begins_with_its_first_firing_ahead():
    schedule = a_schedule()
    assert (schedule.version, schedule.due_at, schedule.next_at) == (1, after(10), after(10))
    assert (schedule.pending, schedule.last, schedule.firing_key) == (None, None, None)
    assert a_schedule(paused=True).due_at is None


def test_a_firing_that_is_due_is_under_way_under_a_name_of_its_own():
    schedule = a_schedule().decided(after(10.2), "job-1")
    assert schedule.pending == Firing(after(10), "job-1")
    assert (schedule.version, schedule.next_at, schedule.due_at) == (2, after(20), after(10))
    assert schedule.firing_key == "schedule:nightly:one:1767323055678"
    assert datetime.fromtimestamp(1767323055.678, UTC) == after(10)


def test_once_it_is_noted_what_became_of_it_the_next_is_waited_for():
    fired = Fired(after(10), FiringOutcome.ACCEPTED, "job-1")
    schedule = a_schedule().decided(after(10.2), "job-1").noted(fired)
    assert (schedule.version, schedule.pending, schedule.last) == (3, None, fired)
    assert schedule.due_at == schedule.next_at == after(20)


def test_firings_that_are_no_later_than_the_grace_are_carried_out_one_by_one():
    schedule, now = a_schedule(), after(10) + GRACE
    carried_out = []
    while schedule.next_at <= now:
        schedule = schedule.decided(now, "job")
        carried_out.append(schedule.pending.at)
        schedule = schedule.noted(Fired(schedule.pending.at, FiringOutcome.ACCEPTED))
    assert carried_out == [after(10 * n) for n in range(1, 8)]


def test_those_that_are_later_are_skipped_with_a_note():
    schedule = a_schedule().decided(after(100), "job-1")
    # Up to 30 is missed; 40 is late by just the grace.
    assert (schedule.pending, schedule.last) == (None, Fired(after(30), FiringOutcome.MISSED))
    assert (schedule.version, schedule.next_at) == (2, after(40))


def test_or_they_get_one_job_for_all_of_them():
    schedule = a_schedule(missed=Missed.ONCE).decided(after(100), "job-1")
    assert (schedule.pending, schedule.last) == (Firing(after(30), "job-1"), None)
    assert (schedule.version, schedule.next_at) == (2, after(40))


@pytest.mark.parametrize("missed", Missed)
def test_a_firing_late_by_a_year_is_missed(missed):
    schedule = a_schedule(timing=Cron("0 0 1 1 *"), missed=missed).decided(utc("2028-06-01 00:00"), "job")
    latest = utc("2028-01-01 00:00")
    assert (schedule.pending or schedule.last).at == latest
    assert schedule.next_at == utc("2029-01-01 00:00")


def test_a_schedule_that_will_never_fire_again_waits_for_nothing():
    class Once(NamedTuple):
        def after(self, moment):
            return after(10) if moment < after(10) else None

    schedule = a_schedule(timing=Once()).decided(after(10), "job")
    assert schedule.next_at is None
    assert schedule.noted(Fired(schedule.pending.at, FiringOutcome.ACCEPTED)).due_at is None


TIMINGS = st.one_of(
    st.builds(lambda every_ms: Interval(every_ms, NOW), st.integers(1_000, 200_000)),
    st.sampled_from([Cron("* * * * *"), Cron("*/5 * * * *", "Europe/Berlin"), Cron("0 * * * *")]),
)


@repeatable
@given(TIMINGS, st.sampled_from(Missed), st.lists(st.floats(0.25, 7_200), max_size=12))
def test_each_firing_is_carried_out_or_missed_and_none_of_them_twice(timing, missed, waits):
    """Whenever it is looked. What is missed is so by more than the grace; one stands for all of them."""
    schedule, now = a_schedule(timing=timing, missed=missed), NOW
    expected = timing.after(NOW)
    for wait_s in waits:
        now += timedelta(seconds=wait_s)
        while schedule.next_at <= now:
            assert schedule.next_at == expected
            schedule = schedule.decided(now, "job")
            one = (schedule.pending or schedule.last).at
            if one != expected or schedule.pending is None:
                assert one < now - GRACE <= timing.after(one)
                assert (schedule.pending is None) == (missed is Missed.SKIP)
            else:
                # Also the one that stands for others may be the only one.
                assert one >= now - GRACE or (missed is Missed.ONCE and timing.after(one) >= now - GRACE)
            expected = timing.after(one)
            schedule = schedule.noted(Fired(one, FiringOutcome.ACCEPTED))
        assert schedule.next_at == expected > now


# Pausing ---------------------------------------------------------------------------------------


def test_a_paused_schedule_waits_for_nothing_and_goes_on_from_when_it_is_resumed():
    paused = a_schedule().stopped()
    assert (paused.version, paused.paused, paused.due_at) == (2, True, None)
    resumed = paused.resumed(after(1_003))
    # At the same multiples as before; what would have been meanwhile is not missed.
    assert (resumed.version, resumed.paused, resumed.next_at) == (3, False, after(1_010))
    assert resumed.last is None


def test_what_is_under_way_stays_so_through_a_pause():
    paused = a_schedule().decided(after(10), "job-1").stopped()
    assert (paused.pending, paused.due_at, paused.next_at) == (Firing(after(10), "job-1"), after(10), None)
    noted = paused.noted(Fired(after(10), FiringOutcome.ACCEPTED, "job-1"))
    assert (noted.paused, noted.due_at) == (True, None)


def test_it_is_not_resumed_into_a_firing_that_was():
    """Whoever resumes it may have a clock that is behind, even behind its creation."""
    fired = Fired(after(10), FiringOutcome.ACCEPTED, "job-1")
    decided = a_schedule().decided(after(10), "job-1")
    assert decided.stopped().resumed(after(9.9)).next_at == after(20)
    assert decided.noted(fired).stopped().resumed(after(9.9)).next_at == after(20)
    skipped = a_schedule().decided(after(100), "job-1")
    assert skipped.stopped().resumed(after(9.9)).next_at == after(40)
    assert a_schedule(timing=Cron("* * * * *")).stopped().resumed(after(-99)).next_at > NOW


def test_no_change_touches_what_was_defined():
    schedule = a_schedule(idempotency_key="k", missed=Missed.ONCE)
    fired = Fired(after(10), FiringOutcome.ACCEPTED)
    for changed in (schedule.decided(after(10), "j"), schedule.noted(fired), schedule.stopped()):
        same = {"version", "paused", "next_at", "pending", "last"}
        changes = {name for name, value in dataclasses.asdict(changed).items() if value != at(schedule, name)}
        assert "version" in changes <= same


def at(schedule, name):
    return dataclasses.asdict(schedule)[name]
