"""What time it is."""

import time
from datetime import UTC, datetime, timedelta, timezone

from hasty.clock import SystemClock, epoch_ms, to_milliseconds
from tests.unit.examples import NOW, virtually


def test_a_time_is_cut_down_to_whole_milliseconds():
    assert to_milliseconds(NOW.replace(microsecond=678_999)) == NOW
    assert to_milliseconds(NOW) == NOW


def test_milliseconds_since_1970_do_not_depend_on_the_zone():
    assert epoch_ms(datetime(1970, 1, 1, 0, 0, 1, 1_000, tzinfo=UTC)) == 1_001
    assert epoch_ms(NOW) == 1_767_323_045_678
    assert epoch_ms(NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))) == 1_767_323_045_678


def test_each_millisecond_has_a_number_of_its_own():
    moments = [NOW.replace(microsecond=0) + timedelta(milliseconds=n) for n in range(1_000)]
    assert [epoch_ms(moment) for moment in moments] == list(range(1_767_323_045_000, 1_767_323_046_000))


def test_wall_time_is_aware_whole_milliseconds_and_the_machines_own_at_first():
    before = time.time()
    now = SystemClock().now()
    assert before - 0.001 <= now.timestamp() <= time.time()
    assert now.utcoffset() == timedelta()
    assert now.microsecond % 1_000 == 0


def test_wall_time_follows_an_authority():
    clock = SystemClock()
    ahead = clock.now() + timedelta(hours=1)
    offset = clock.follow(ahead)
    assert timedelta(minutes=59) < offset <= timedelta(hours=1)
    assert timedelta() <= clock.now() - ahead < timedelta(minutes=1)
    behind = SystemClock().now() - timedelta(hours=1)
    assert clock.follow(behind) < timedelta(minutes=-59)
    assert timedelta() <= clock.now() - behind < timedelta(minutes=1)


def test_a_correction_of_wall_time_leaves_durations_alone():
    clock = SystemClock()
    before = clock.monotonic()
    clock.follow(NOW - timedelta(days=10_000))
    assert 0 <= clock.monotonic() - before < 60


@virtually
async def test_sleeping_takes_as_long_as_it_says(loop_time):
    started = loop_time()
    await SystemClock().sleep(12.5)
    assert loop_time() - started == 12.5


def test_wall_time_goes_on_while_the_machine_is_suspended(monkeypatch):
    clock, before = SystemClock(), time.clock_gettime
    clock.follow(datetime(2026, 1, 1, tzinfo=UTC))
    suspended_s = {time.CLOCK_BOOTTIME: 3_600.0}
    monkeypatch.setattr(time, "clock_gettime", lambda which: before(which) + suspended_s.get(which, 0.0))
    assert timedelta() <= clock.now() - datetime(2026, 1, 1, 1, tzinfo=UTC) < timedelta(seconds=1)
