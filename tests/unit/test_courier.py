"""The Courier on virtual time: every end is told, once if nobody dies, whatever else goes wrong."""

import asyncio
import itertools
import json
from collections import Counter
from datetime import timedelta

import pytest

from hasty.actors.courier import AT_ONCE, AT_ONCE_TO_A_HOST, Courier
from hasty.actors.notice import notice
from hasty.errors import StoreUnavailable
from hasty.job import Outcome, Status
from hasty.outgoing.sender import Reply
from hasty.outgoing.tries import WAITS_S, asked_wait_s, next_try_s
from hasty.store.base import DeliveryState
from hasty.store.memory import MemoryOutbox
from tests.unit.examples import VIRTUAL_BEGINNING, a_job, virtually
from tests.unit.telling import OK, World

MINUTE_S, DAY_S = 60.0, 86_400.0


# What is told ----------------------------------------------------------------------------------


@virtually
async def test_an_end_is_told_at_once_and_once():
    world = World()
    world.start()
    await asyncio.sleep(1)
    await world.end()
    await asyncio.sleep(0.6)
    assert world.receiver.heard == {"job-0": 1}
    await asyncio.sleep(3_600)
    assert world.receiver.heard == {"job-0": 1}
    assert await world.state() is DeliveryState.DELIVERED
    (delivery,) = await world.deliveries()
    assert (delivery.attempt, delivery.status_code, delivery.error) == (1, 200, None)
    assert delivery.duration_s == pytest.approx(0.05)


@virtually
async def test_what_is_told_is_how_the_job_ended():
    world = World()
    started = VIRTUAL_BEGINNING + timedelta(seconds=1, milliseconds=250)
    outcome = Outcome(
        Status.FAILED, started + timedelta(seconds=2), None, {"type": "E", "message": "m"}, 3, started, "w"
    )
    await world.end(outcome=outcome, labels=(("team", "mail"),), payload={"secret": "of the client"})
    world.start()
    await asyncio.sleep(5)
    (body,) = world.receiver.bodies.values()
    assert json.loads(body) == {
        "type": "job.failed",
        "timestamp": "2026-01-01T00:00:03.250000Z",
        "data": {
            "job_id": "job-0",
            "object_id": "job-0",
            "handler": "sleep",
            "run": 1,
            "status": "failed",
            "attempt": 3,
            "result": None,
            "error": {"type": "E", "message": "m"},
            "labels": {"team": "mail"},
            "accepted_at": "2026-01-01T00:00:00Z",
            "started_at": "2026-01-01T00:00:01.250000Z",
            "ended_at": "2026-01-01T00:00:03.250000Z",
        },
    }


@virtually
async def test_a_job_that_never_started_is_told_as_well():
    world = World()
    await world.end(outcome=Outcome(Status.CANCELLED, world.clock.now()))
    world.start()
    await asyncio.sleep(5)
    told = json.loads(*world.receiver.bodies.values())
    assert (told["type"], told["data"]["started_at"], told["data"]["attempt"]) == ("job.cancelled", None, 0)


def test_a_result_that_no_encoding_can_hold_is_told():
    told = json.loads(notice(a_job(status=Status.FINISHED, result="\ud800 ü", ended_at=VIRTUAL_BEGINNING)))
    assert told["data"]["result"] == "\ud800 ü"


def test_a_secret_that_is_none_is_refused_at_once():
    with pytest.raises(ValueError, match="must be whsec_"):
        Courier(None, None, None, secret="hunter2", timeout_s=1)


# Again -----------------------------------------------------------------------------------------


@virtually
async def test_a_receiver_that_is_down_for_a_minute_gets_each_call_once_it_is_back():
    world = World()
    down = Reply(error="no connection")
    world.receiver.answer = lambda now, _url: down if now < 60 else OK
    world.start()
    names = []
    for _ in range(60):
        names += await world.end(3)
        await asyncio.sleep(1)
    await asyncio.sleep(80)
    back = Counter(job_id for when, job_id in world.receiver.calls if when >= 60)
    assert back == dict.fromkeys(names, 1)
    assert {await world.state(name) for name in names} == {DeliveryState.DELIVERED}


@virtually
async def test_it_is_tried_for_three_days_ever_more_seldom_and_then_given_up():
    world = World()
    world.receiver.answer = lambda _now, _url: Reply(503)
    await world.end()
    world.start(look_every_s=MINUTE_S)
    await asyncio.sleep(4 * DAY_S)
    times = world.receiver.times()
    assert len(times) == 1 + len(WAITS_S)
    for (before, after), wait_s in zip(itertools.pairwise(times), WAITS_S, strict=True):
        assert after - before == pytest.approx(wait_s, abs=MINUTE_S + 0.1)
    assert 2.5 * DAY_S < times[-1] - times[0] < 3 * DAY_S
    assert await world.state() is DeliveryState.GIVEN_UP
    deliveries = await world.deliveries()
    assert [delivery.attempt for delivery in deliveries] == list(range(1, 12))
    assert {delivery.status_code for delivery in deliveries} == {503}


@virtually
async def test_while_it_waits_for_its_next_try_the_job_is_kept():
    world = World()
    world.receiver.answer = lambda _now, _url: Reply(503)
    await world.end()
    # As if it had to be kept for a moment only.
    job = world.jobs.jobs["job-0"]
    object.__setattr__(job, "expires_at", world.clock.now())
    world.start(look_every_s=MINUTE_S)
    for _ in range(200):
        await asyncio.sleep(1_800)
        if await world.state() is DeliveryState.PENDING:
            assert world.jobs.expire() == []
    assert len(world.receiver.times()) == 1 + len(WAITS_S)


@virtually
async def test_a_receiver_that_is_gone_is_left_alone():
    world = World()
    world.receiver.answer = lambda _now, _url: Reply(410)
    await world.end()
    world.start()
    await asyncio.sleep(3_600)
    assert world.receiver.heard == {"job-0": 1}
    assert await world.state() is DeliveryState.GIVEN_UP


@pytest.mark.parametrize(
    ("code", "taken"), [(199, False), (200, True), (204, True), (299, True), (300, False), (400, False)]
)
def test_two_hundreds_alone_say_that_it_was_taken(code, taken):
    @virtually
    async def scenario():
        world = World()
        world.receiver.answer = lambda _now, _url: Reply(code)
        await world.end()
        world.start()
        await asyncio.sleep(2)
        assert (await world.state() is DeliveryState.DELIVERED) is taken

    scenario()


@virtually
async def test_a_receiver_that_asks_for_time_is_given_it():
    world = World()
    world.receiver.answer = lambda now, _url: Reply(429, retry_after="120") if now < 60 else OK
    await world.end()
    world.start()
    await asyncio.sleep(3_600)
    first, second = world.receiver.times()
    assert second - first == pytest.approx(120, abs=1.2)


def test_what_failed_together_comes_back_apart():
    assert [next_try_s(1, chance=lambda share=share: share) for share in (0.0, 0.5, 1.0)] == [5, 5.5, 6]
    waits = {next_try_s(3) for _ in range(50)}
    assert len(waits) > 40 and min(waits) >= 60 and max(waits) <= 72


def test_how_long_a_receiver_can_ask_for_has_a_bound():
    assert next_try_s(1, 3_600, lambda: 0) == 3_600
    assert next_try_s(1, 10**9, lambda: 0) == 6 * 3_600
    # And it is no reason to go on for ever.
    assert next_try_s(1 + len(WAITS_S), 60) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("120", 120),
        ("0", 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("9" * 5_000, 999_999_999),
        ("١٢", 0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120),
        ("Thu, 01 Jan 2026 00:02:00", 120),
        ("Wed, 31 Dec 2025 00:02:00 GMT", 0),
        ("Thu, 01 Jan 999999 00:02:00 GMT", 0),
        ("Thu, 99 Jan 2026 00:02:00 +9999", 0),
    ],
)
def test_a_receiver_says_how_long_in_seconds_or_as_a_date(header, seconds):
    assert asked_wait_s(header, VIRTUAL_BEGINNING) == seconds


# Side by side ----------------------------------------------------------------------------------


@virtually
async def test_what_is_under_way_is_bounded_to_each_host_and_in_all():
    world = World(takes_s=1.0)
    for host in range(150):
        await world.end(20 if host < 20 else 1, f"http://h{host}.example/")
    world.start()
    await asyncio.sleep(60)
    assert len(world.receiver.heard) == 530
    most = world.receiver.most_at_once
    assert AT_ONCE / 2 <= most.pop("all") <= AT_ONCE
    assert max(most.values()) <= AT_ONCE_TO_A_HOST


@virtually
async def test_one_host_alone_has_as_much_as_a_host_may_have():
    world = World(takes_s=1.0)
    await world.end(40)
    world.start()
    await asyncio.sleep(5.9)
    assert world.receiver.most_at_once["all"] == AT_ONCE_TO_A_HOST
    assert len(world.receiver.heard) == 40


@pytest.mark.parametrize("slow_hosts", [1, 8, AT_ONCE // 2 - 1])
def test_slow_receivers_do_not_hold_up_another(slow_hosts):
    """Each has far more to be told than there is room for, and for longer than the other."""

    @virtually
    async def scenario():
        world = World(takes_s=lambda url: 9.9 if "slow" in url else 0.01)
        for host in range(slow_hosts):
            await world.end(500 // slow_hosts, f"http://slow{host}.example/")
        world.start()
        await asyncio.sleep(30)
        for _ in range(8):
            began = world.loop.time()
            (name,) = await world.end(url="http://quick.example/")
            await asyncio.sleep(3)
            (heard,) = world.receiver.times(name)
            assert heard - began < 1.1

    scenario()


@virtually
async def test_much_to_tell_one_host_leaves_room_for_it_all_in_time():
    world = World(takes_s=0.01)
    await world.end(200)
    world.start()
    await asyncio.sleep(5)
    assert len(world.receiver.heard) == 200


@virtually
async def test_it_remembers_nothing_of_what_is_done():
    world = World()
    courier = world.courier()
    serving = asyncio.ensure_future(courier.serve())
    await world.end(50)
    await asyncio.sleep(30)
    assert (courier._under_way, courier._hosts) == ({}, {})
    serving.cancel()


@virtually
async def test_who_ends_it_ends_what_is_under_way():
    world = World(takes_s=9.0)
    serving = world.start()
    await world.end(3)
    await asyncio.sleep(1)
    serving.cancel()
    await asyncio.wait([serving])
    await asyncio.sleep(0.1)
    assert world.receiver.at_once["all"] == 0
    assert await world.state() is DeliveryState.PENDING


# Trouble ---------------------------------------------------------------------------------------


@virtually
async def test_a_message_that_cannot_be_sent_is_no_trouble_for_the_others():
    async def send(url, headers, body):
        if "broken" in url:
            raise RuntimeError(url)
        return await world.receiver.post(url, headers, body)

    world = World()
    (broken,) = await world.end(url="http://broken.example/?token=hunter2")
    others = await world.end(3)
    world.start(send=send, look_every_s=MINUTE_S)
    await asyncio.sleep(4 * DAY_S)
    assert world.receiver.heard == dict.fromkeys(others, 1)
    first, *_ = await world.deliveries(broken)
    assert (first.error, first.status_code) == ("hasty could not send it", None)
    assert await world.state(broken) is DeliveryState.GIVEN_UP


@virtually
async def test_what_is_wrong_is_logged_without_the_url(caplog):
    async def send(url, _headers, _body):
        raise RuntimeError(url)

    world = World()
    await world.end(url="http://broken.example/?token=hunter2")
    world.start(send=send, look_every_s=MINUTE_S)
    await asyncio.sleep(4 * DAY_S)
    assert "CourierBroke why=RuntimeError" in caplog.messages
    assert "WebhookGivenUp job_id=job-0 tries=11 why=hasty could not send it" in caplog.messages
    assert "hunter2" not in caplog.text


class Moody(MemoryOutbox):
    """An outbox in which something is wrong for a while."""

    error = None
    #: What it fails to do then.
    fails = ("due", "record")
    claim_takes_s = 0.0

    async def due(self, *about):
        self.complain("due")
        return await super().due(*about)

    async def record(self, *about):
        self.complain("record")
        return await super().record(*about)

    async def claim(self, *about):
        claimed = await super().claim(*about)
        await asyncio.sleep(self.claim_takes_s)
        return claimed

    def complain(self, method):
        if self.error is not None and method in self.fails:
            raise self.error


@pytest.mark.parametrize("error", [StoreUnavailable, ZeroDivisionError])
def test_trouble_with_the_store_passes(error):
    @virtually
    async def scenario():
        world = World()
        world.outbox = Moody(world.jobs)
        serving = world.start()
        await asyncio.sleep(1)
        world.outbox.error = error()
        names = await world.end(5)
        await asyncio.sleep(100)
        assert world.receiver.calls == []
        world.outbox.error = None
        await asyncio.sleep(6)
        assert world.receiver.heard == dict.fromkeys(names, 1)
        assert not serving.done()

    scenario()


@pytest.mark.parametrize("fails", [("due", "record"), ("record",)])
def test_what_came_of_it_is_written_down_as_soon_as_the_store_is_back(fails):
    """Its claim is over long before, but nobody else is there."""

    @virtually
    async def scenario():
        world = World()
        world.outbox = Moody(world.jobs)
        world.outbox.fails = fails
        world.start()
        names = await world.end(3)
        while not world.receiver.calls:  # noqa: ASYNC110  time is virtual
            await asyncio.sleep(0.01)
        world.outbox.error = StoreUnavailable()
        await asyncio.sleep(300)
        told = world.receiver.heard
        assert told and set(told.values()) == {1}
        world.outbox.error = None
        await asyncio.sleep(60)
        assert world.receiver.heard == dict.fromkeys(names, 1)
        assert {await world.state(name) for name in names} == {DeliveryState.DELIVERED}

    scenario()


@virtually
async def test_who_heard_too_late_that_it_has_something_leaves_it_alone():
    """Somebody else may have it by now. Here that is itself, when the claim is over."""
    world = World()
    world.outbox = Moody(world.jobs)
    world.outbox.claim_takes_s = 5.5
    world.start()
    await world.end()
    await asyncio.sleep(25)
    assert world.receiver.calls == []
    world.outbox.claim_takes_s = 4.5
    await asyncio.sleep(15)
    assert world.receiver.heard == {"job-0": 1}


@virtually
async def test_what_could_not_be_written_down_for_good_is_told_again():
    world = World()
    world.outbox = Moody(world.jobs)
    world.start()
    await world.end()
    while not world.receiver.calls:  # noqa: ASYNC110  time is virtual
        await asyncio.sleep(0.01)
    world.outbox.error = ZeroDivisionError()
    await asyncio.sleep(1)
    world.outbox.error = None
    await asyncio.sleep(60)
    assert world.receiver.heard == {"job-0": 2}
    assert await world.state() is DeliveryState.DELIVERED
