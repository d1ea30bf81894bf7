"""Events are followed over any number of connections: each comes once, and none is left out."""

import json
import random

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasty.errors import InvalidRequest, NotHasty, Unauthorized, UnknownJob, Unreachable
from tests.unit.client_double import (
    AsyncFakeClock,
    Awaiting,
    Blocking,
    Pieces,
    answer,
    both,
    event,
    job,
    problem,
    stream,
)
from tests.unit.examples import repeatable

BROKEN = httpx.ReadError("broken")


def ids(events):
    return [each.id for each in events]


def asked_after(client):
    return [request.headers.get("Last-Event-ID") for request in client.hasty.requests]


def no_more(retries=5):
    return [httpx.ConnectError] * (retries + 1)


@both
def test_events_are_told_as_they_are(kind):
    progress = {"at": "2026-01-02T03:04:05Z", "fraction": 0.5, "message": "half"}
    client = kind([stream(event(17, "job.progress", status="running", progress=progress))], {})
    (told,) = client.take("events", most=1)
    assert (told.id, told.type, told.job_id, told.object_id) == ("17", "job.progress", "job-1", "video-1")
    assert (told.status, told.attempt, told.progress.fraction, told.final) == ("running", 1, 0.5, False)


@both
def test_those_of_all_jobs_of_an_object_and_of_a_handler_are_asked_for_from_now_on(kind):
    client = kind([stream(event(1)), stream(event(1))], {})
    client.take("events", most=1)
    request = client.hasty.last
    assert (request.method, str(request.url)) == ("GET", "http://127.0.0.1:8000/v1/events")
    assert request.headers["Accept"] == "text/event-stream"
    assert "Last-Event-ID" not in request.headers
    client.take("events", object_id="a&b", handler="sleep", most=1)
    assert client.hasty.last.url.params.multi_items() == [("object_id", "a&b"), ("handler", "sleep")]


@both
def test_a_connection_may_be_silent_for_more_than_two_heartbeats(kind):
    client = kind([stream(event(1))], {})
    client.take("events", most=1)
    assert client.hasty.last.extensions["timeout"]["read"] == 35.0


@both
def test_it_goes_on_after_the_event_that_the_caller_names(kind):
    client = kind([stream(event(41))], {})
    assert ids(client.take("events", last_event_id="40", most=1)) == ["41"]
    assert asked_after(client) == ["40"]


@both
@pytest.mark.parametrize("end", [(), (BROKEN,), (b": \n\n", httpx.ReadTimeout(""))])
def test_after_a_break_it_goes_on_after_the_last_event(kind, end):
    client = kind([stream(event(1), event(2), *end), stream(event(3))], {})
    assert ids(client.take("events", most=3)) == ["1", "2", "3"]
    assert asked_after(client) == [None, "2"]
    assert len(client.clock.slept) == 1


@both
def test_what_is_told_twice_is_yielded_once(kind):
    client = kind([stream(event(1), event(2), event(2), event(1), BROKEN), stream(event(2), event(10))], {})
    assert ids(client.take("events", most=3)) == ["1", "2", "10"]


@both
def test_half_a_message_is_told_again_by_the_next_connection(kind):
    whole = event(2)
    client = kind([stream(event(1), whole[:-1], BROKEN), stream(whole)], {})
    assert ids(client.take("events", most=2)) == ["1", "2"]
    assert asked_after(client) == [None, "1"]


@both
def test_an_id_that_comes_without_an_event_is_where_it_goes_on(kind):
    client = kind([stream(b"id: 900\n\n: \n\n", BROKEN), stream(event(901))], {})
    assert ids(client.take("events", most=1)) == ["901"]
    assert asked_after(client) == [None, "900"]


@both
def test_what_was_not_asked_for_moves_on_and_not_back(kind):
    script = [stream(event(5), b"id: 9\n\n", b"id: 7\n\n", BROKEN), stream(event(8), event(12))]
    client = kind(script, {})
    assert ids(client.take("events", most=2)) == ["5", "12"]
    assert asked_after(client) == [None, "9"]


GAP = b'id: 50\nevent: gap\ndata: {"id": "50", "type": "gap", "at": "2026-01-02T03:04:05Z"}\n\n'


@both
def test_a_gap_is_yielded_and_gone_on_from(kind):
    client = kind([stream(GAP, event(51), BROKEN), stream(event(52))], {})
    told = client.take("events", last_event_id="3", most=3)
    assert [(each.type, each.id, each.job_id) for each in told[:1]] == [("gap", "50", None)]
    assert ids(told) == ["50", "51", "52"]
    assert asked_after(client) == ["3", "51"]


@both
def test_a_gap_that_is_told_again_is_yielded_once(kind):
    client = kind([stream(GAP, BROKEN), stream(GAP, event(51))], {})
    assert ids(client.take("events", most=2)) == ["50", "51"]


@both
def test_a_gap_where_the_stream_stands_already_is_yielded(kind):
    client = kind([stream(b"id: 50\n\n: \n\n", GAP, event(51), BROKEN), stream(event(52))], {})
    assert ids(client.take("events", last_event_id="3", most=3)) == ["50", "51", "52"]
    client = kind([stream(event(50), GAP, BROKEN), stream(GAP, event(51))], {})
    told = client.take("events", most=3)
    assert [(each.id, each.type) for each in told] == [
        ("50", "job.running"),
        ("50", "gap"),
        ("51", "job.running"),
    ]


@both
def test_the_same_gap_is_another_one_where_something_came_between(kind):
    client = kind([stream(GAP, event(60), BROKEN), stream(GAP, event(51))], {})
    assert ids(client.take("events", most=4)) == ["50", "60", "50", "51"]


@both
def test_a_gap_may_lead_back_where_the_numbers_begin_anew(kind):
    client = kind([stream(GAP, event(51))], {})
    assert ids(client.take("events", last_event_id="9000", most=2)) == ["50", "51"]


@both
def test_ids_that_are_no_numbers_will_do(kind):
    client = kind([stream(event("b"), event("a"), event("a"), BROKEN), stream(event("c"))], {})
    assert ids(client.take("events", most=3)) == ["b", "a", "c"]


@both
def test_an_event_without_an_id_is_known_by_that_of_its_message(kind):
    client = kind([stream(b'id: 7\ndata: {"type": "job.queued"}\n\n', BROKEN), stream(event(8))], {})
    assert ids(client.take("events", most=2)) == ["7", "8"]


@both
def test_unknown_types_and_fields_are_passed_on(kind):
    client = kind([stream(event(1, "job.dreaming", brand_new=3))], {})
    (told,) = client.take("events", most=1)
    assert (told.type, told.model_dump()["brand_new"]) == ("job.dreaming", 3)


# One job -----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("end", ["job.finished", "job.failed", "job.cancelled"])
def test_those_of_one_job_end_with_its_last(kind, end):
    script = [stream(event(1, "job.queued"), BROKEN), stream(event(2), event(3, end), event(4, "job.queued"))]
    client = kind(script, {})
    assert ids(client.take("events", "job-1")) == ["1", "2", "3"]
    assert {request.url.path for request in client.hasty.requests} == {"/v1/jobs/job-1/events"}


@both
def test_those_of_all_jobs_go_on_after_the_end_of_one(kind):
    client = kind([stream(event(1, "job.finished"), event(2, job_id="job-2"))], {})
    assert ids(client.take("events", most=2)) == ["1", "2"]


@both
def test_a_job_whose_last_event_is_no_longer_kept_is_not_followed_for_ever(kind):
    client = kind([stream(event(1), GAP), answer(job("finished"))], {})
    assert [each.type for each in client.take("events", "job-1")] == ["job.running", "gap"]
    assert client.hasty.last.url.path == "/v1/jobs/job-1"


@both
def test_the_gap_of_a_job_that_ended_long_ago_is_where_the_last_heartbeat_was(kind):
    """As `JobStream` tells it: at a heartbeat the place, at the next one that there is no more."""
    told = stream(b"retry: 1000\n\n", b": \nid: 50\n\n", GAP)
    client = kind([told, answer(job("finished"))], {})
    assert [(each.id, each.type) for each in client.take("events", "job-1")] == [("50", "gap")]
    assert client.clock.slept == []


@both
def test_a_gap_that_is_told_again_still_ends_the_stream_of_a_job_that_has_ended(kind):
    client = kind([stream(GAP, BROKEN), stream(GAP), answer(job("finished"))], {})
    assert ids(client.take("events", "job-1")) == ["50"]


@both
def test_nor_is_one_whose_stream_says_nothing_twice(kind):
    client = kind(
        [stream(b": \n\n"), answer(job("finished")), stream(b": \n\n"), answer(job("finished"))], {}
    )
    assert client.take("events", "job-1") == []


@both
def test_after_a_gap_a_job_that_goes_on_is_followed(kind):
    script = [stream(GAP), answer(job("running")), stream(event(60, "job.finished"))]
    assert ids(kind(script, {}).take("events", "job-1")) == ["50", "60"]


@both
def test_where_there_is_nothing_to_come_back_for_it_is_over(kind):
    assert kind([httpx.Response(204)], {}).take("events", "job-1", last_event_id="3") == []


@both
def test_hasty_says_when_to_come_back_after_a_break(kind):
    client = kind(
        [stream(b"retry: 1000\n\n", event(1), BROKEN), stream(b"retry: 3000\n\n"), stream(event(2))], {}
    )
    assert ids(client.take("events", most=2)) == ["1", "2"]
    first, second = client.clock.slept
    assert 1 <= first <= 1.5
    assert 3 <= second <= 3.5


@both
def test_the_last_event_is_waited_for_though_the_job_has_ended_and_its_stream_was_cut(kind):
    script = [stream(b": \n\n"), answer(job("finished")), stream(b": \n\n", event(3, "job.finished"))]
    assert ids(kind(script, {}).take("events", "job-1")) == ["3"]


@both
def test_a_job_that_goes_on_is_followed_though_its_stream_ends_without_a_word(kind):
    script = [stream(b": \n\n"), answer(job("running")), stream(b": \n\n"), answer(job("running"))]
    script += [stream(event(3, "job.finished"))]
    assert ids(kind(script, {}).take("events", "job-1")) == ["3"]


@both
def test_a_stream_that_broke_off_says_nothing_about_its_job(kind):
    script = [stream(BROKEN), stream(GAP, BROKEN), stream(event(60, "job.finished"))]
    assert ids(kind(script, {}).take("events", "job-1")) == ["50", "60"]


@both
def test_a_job_that_is_not_there_has_no_events(kind):
    body = Pieces(b'{"code": "unknown', b'_job", "detail": "None."}')
    with pytest.raises(UnknownJob, match="None"):
        kind([httpx.Response(404, stream=body, extensions={"pieces": body})], {}).take("events", "job-1")
    assert body.closed


@both
def test_a_problem_that_is_broken_off_is_asked_for_again(kind):
    body = Pieces(b'{"code": "unkn', BROKEN)
    script = [httpx.Response(404, stream=body, extensions={"pieces": body}), stream(event(1))]
    assert ids(kind(script, {}).take("events", most=1)) == ["1"]


# Failures ----------------------------------------------------------------------------------------


@both
def test_a_hasty_that_comes_back_is_followed_on(kind):
    away = [httpx.ConnectError, problem(503, "draining"), httpx.Response(500)]
    script = [*away, stream(event(1), BROKEN), *away, stream(event(2), BROKEN), *away, stream(event(3))]
    client = kind(script, {"retries": 4, "timeout": 1_000})
    assert ids(client.take("events", most=3)) == ["1", "2", "3"]


@both
def test_one_that_stays_away_is_unreachable(kind):
    client = kind([stream(event(1)), *no_more()], {"timeout": 1_000})
    with pytest.raises(Unreachable):
        client.take("events")
    assert len(client.clock.slept) == 5


@both
def test_one_that_answers_and_says_nothing_is_not_asked_all_the_time(kind):
    client = kind([stream() for _ in range(6)], {"timeout": 1_000})
    with pytest.raises(Unreachable, match="the stream of events ended"):
        client.take("events")
    assert len(client.clock.slept) == 5


@both
def test_a_key_that_is_not_valid_any_more_ends_it(kind):
    client = kind([stream(event(1)), problem(401, "unauthorized")], {})
    with pytest.raises(Unauthorized, match="It is unauthorized"):
        client.take("events")


@both
@pytest.mark.parametrize("what", [answer([]), httpx.Response(200, text="<html>"), httpx.Response(202)])
def test_what_is_no_stream_is_not_of_hasty(kind, what):
    with pytest.raises(
        NotHasty, match=r"^http://127.0.0.1:8000/v1/events: the answer is no stream of events"
    ):
        kind([what], {}).take("events")


@both
@pytest.mark.parametrize("data", [b"hello", b"[]", b"{}", b'{"type": 3}'])
def test_what_is_no_event_is_not_of_hasty(kind, data):
    with pytest.raises(NotHasty, match="a message of type 'message' is no event"):
        kind([stream(b"data: " + data + b"\n\n")], {}).take("events")


@both
@pytest.mark.parametrize("given", ["grün", "a\nb", "\x00"])
def test_what_cannot_be_the_id_of_an_event_is_refused(kind, given):
    with pytest.raises(InvalidRequest, match=r"^last_event_id: must be the id of an event"):
        kind([], {}).take("events", last_event_id=given)


@both
def test_nothing_is_asked_for_before_the_first_event_is_wanted(kind):
    client = kind([], {})
    client.client.events()
    assert client.hasty.requests == []


@both
def test_a_connection_is_let_go_of_when_nobody_listens_any_more(kind):
    first, second = stream(event(1), BROKEN), stream(event(2), event(3))
    kind([first, second], {}).take("events", most=2)
    assert first.extensions["pieces"].closed
    assert second.extensions["pieces"].closed


@both
def test_a_connection_is_let_go_of_also_when_it_ends_with_an_error(kind):
    told = stream(b"data: no\n\n")
    with pytest.raises(NotHasty):
        kind([told], {}).take("events")
    assert told.extensions["pieces"].closed


# All of it ---------------------------------------------------------------------------------------


class Log:
    """A hasty that has so many events, tells them from where it is asked to, and breaks off by chance.

    It follows the promise of the API: what comes after `Last-Event-ID`, in order.
    """

    def __init__(self, count, seed, wanted):
        self.count, self.chance, self.wanted = count, random.Random(seed), wanted

    def __call__(self, request):
        after = int(request.headers.get("Last-Event-ID", 0))
        if self.chance.random() < 0.3:
            return self.chance.choice([httpx.Response(503), httpx.Response(500), problem(503, "draining")])
        return stream(*self.pieces(after))

    def pieces(self, after):
        told = b""
        for number in range(after + 1, self.count + 1):
            told += event(number) if number in self.wanted else b""
            told += self.chance.choice([b"", b": \n\n", b"id: %d\n\n" % number])
        cut = self.chance.randint(0, len(told)) if self.chance.random() < 0.8 else len(told)
        while told[:cut]:
            size = self.chance.randint(1, 200)
            yield told[: min(size, cut)]
            told, cut = told[size:], max(0, cut - size)
        if self.chance.random() < 0.5:
            yield httpx.ReadError("broken")


@repeatable
@given(st.integers(1, 30), st.integers(0, 2**32), st.sets(st.integers(1, 30), min_size=1))
def test_whatever_breaks_each_event_comes_once_and_none_is_left_out(count, seed, wanted):
    wanted = {number for number in wanted if number <= count} or {count}
    hasty = Log(count, seed, wanted)
    client = Blocking([hasty] * 1_000, {"retries": 1_000, "timeout": 1e9})
    found = client.take("events", last_event_id="0", most=len(wanted))
    assert [int(each.id) for each in found] == sorted(wanted)


@settings(repeatable, max_examples=50)
@given(st.integers(1, 20), st.integers(0, 2**32))
def test_a_client_that_is_killed_and_started_again_has_every_event_once(count, seed):
    hasty, chance = Log(count, seed, set(range(1, count + 1))), random.Random(seed)
    kept, found = "0", []
    while len(found) < count:
        client = Awaiting([hasty] * 1_000, {"retries": 1_000, "timeout": 1e9})
        for each in client.take(
            "events", last_event_id=kept, most=min(chance.randint(1, 4), count - len(found))
        ):
            found.append(int(each.id))
            kept = each.id
    assert found == list(range(1, count + 1))


def test_the_double_speaks_as_the_api_does():
    told = json.loads(event(17).split(b"data: ")[1])
    assert (told["id"], told["type"]) == ("17", "job.running")
    assert AsyncFakeClock().monotonic() == 1_000.0
