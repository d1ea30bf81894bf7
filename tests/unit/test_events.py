"""Events and long polls over HTTP."""

import asyncio
import functools
import json

import pytest

from hasty.api import stream
from hasty.api.hub import Hub
from hasty.handlers import Handler
from hasty.job import Window
from hasty.messages import EventType
from hasty.testing import run_virtually
from tests.unit.streaming import Stream, following
from tests.unit.system import running

SLEEP_S = 20.0


def virtually(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        return run_virtually(test(*args, **kwargs))

    return run


async def submitted(client, object_id, **said):
    answer = await client.post("/v1/jobs", json={"object_id": object_id, **said})
    assert answer.status_code == 201
    return answer.json()["id"]


def told(sent):
    return [(each.event, each.data["job_id"]) for each in sent]


def whole_life(job_id):
    return [(f"job.{status}", job_id) for status in ("queued", "running", "finished")]


def with_hub(system, hub):
    system.hub = lambda: hub
    return system.app()


def now():
    return asyncio.get_running_loop().time()


# Streams -------------------------------------------------------------------------------------


@virtually
async def test_what_happens_is_sent_as_it_happens():
    async with running(sleep_s=SLEEP_S) as (system, client), following(system.app()) as stream_:
        assert stream_.status == 200
        assert stream_.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream_.headers["cache-control"] == "no-store"
        began = now()
        job_id = await submitted(client, "video-1")
        queued, started, finished = await stream_.some(3)
        assert now() - began == pytest.approx(SLEEP_S, abs=0.3)
        job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert queued.data == {
        "id": "1",
        "type": "job.queued",
        "at": queued.data["at"],
        "job_id": job_id,
        "object_id": "video-1",
        "handler": "sleep",
        "status": "queued",
        "attempt": 0,
        "progress": None,
        "error": None,
    }
    assert [each.event for each in (queued, started, finished)] == [
        "job.queued",
        "job.running",
        "job.finished",
    ]
    assert [each.last_event_id for each in (queued, started, finished)] == ["1", "2", "3"]
    assert finished.data | {"id": "1"} == queued.data | {
        "at": job["ended_at"],
        "type": "job.finished",
        "status": "finished",
        "attempt": 1,
    }


@virtually
async def test_progress_and_errors_are_sent_with_what_they_say():
    async def work(job, payload):
        job.progress(0.5, "half")
        await asyncio.sleep(5)
        raise ValueError("no")

    handler = Handler(name="work", function=work, timeout_s=46.0, window=Window(0.0))
    async with running(more=[handler]) as (system, client), following(system.app()) as stream_:
        await submitted(client, "video-1", handler="work")
        *_, progress, failed = await stream_.some(4)
    assert (progress.event, progress.data["status"], progress.data["attempt"]) == (
        "job.progress",
        "running",
        1,
    )
    assert progress.data["progress"] | {"at": ""} == {"at": "", "fraction": 0.5, "message": "half"}
    assert (failed.event, failed.data["error"]) == ("job.failed", {"type": "ValueError", "message": "no"})


@virtually
async def test_an_event_takes_one_line_whatever_is_in_it():
    async with running() as (system, client), following(system.app()) as stream_:
        await submitted(client, "a\nb\r\n: c\u2028\ndata: d")
        (queued,) = await stream_.some(1)
        assert queued.data["object_id"] == "a\nb\r\n: c\u2028\ndata: d"


@virtually
async def test_while_nothing_happens_there_are_heartbeats():
    async with running() as (system, _client), following(system.app()) as stream_:
        assert stream_.received == b"retry: 1000\nid: 0\n\n"
        await asyncio.sleep(65)
        assert stream_.received.removeprefix(b"retry: 1000\nid: 0\n\n") == b": \nid: 0\n\n" * 6
        assert stream_.taken() == []


@virtually
async def test_a_heartbeat_says_how_far_the_stream_is_where_nothing_is_wanted():
    async with running(sleep_s=1) as (system, client):
        async with following(system.app(), query="object_id=nobody") as stream_:
            await submitted(client, "video-1")
            await asyncio.sleep(12)
            assert stream_.taken() == []
            assert stream_.last_event_id == "3"
        async with following(system.app(), last_event_id="3") as stream_:
            job_id = await submitted(client, "video-2")
            assert told(await stream_.some(3)) == whole_life(job_id)


@virtually
async def test_without_an_id_events_come_from_now_on_and_with_one_from_there():
    async with running(sleep_s=1) as (system, client):
        app = system.app()
        first = await submitted(client, "video-1")
        await asyncio.sleep(5)
        async with following(app) as from_now, following(app, last_event_id="1") as from_one:
            second = await submitted(client, "video-2")
            assert told(await from_now.some(3)) == whole_life(second)
            assert told(await from_one.some(5)) == whole_life(first)[1:] + whole_life(second)
        async with following(app, query="last_event_id=4") as by_query:
            assert told(await by_query.some(2)) == whole_life(second)[1:]
        # Where an EventSource comes back, its address still says where it began.
        async with following(app, query="last_event_id=1", last_event_id="5") as again:
            assert told(await again.some(1)) == whole_life(second)[2:]


@virtually
async def test_one_that_was_cut_off_before_it_heard_anything_knows_where_it_was():
    async with running(sleep_s=1) as (system, client):
        async with following(system.app()) as stream_:
            place = stream_.last_event_id
        job_id = await submitted(client, "video-1")
        await asyncio.sleep(5)
        async with following(system.app(), last_event_id=place) as stream_:
            assert told(await stream_.some(3)) == whole_life(job_id)


@virtually
async def test_only_what_is_asked_for_is_sent():
    other = Handler(name="other", function=_nothing, timeout_s=46.0, window=Window(0.0))
    async with running(sleep_s=1, more=[other]) as (system, client):
        app = system.app()
        one = await submitted(client, "video/1")
        two = await submitted(client, "video-2", handler="other")
        three = await submitted(client, "video/1", handler="other", on_conflict="after")
        await asyncio.sleep(5)
        for query, expected in (
            ("object_id=video/1", [one, three]),
            ("handler=other", [two, three]),
            (f"job_id={two}", [two]),
            ("object_id=video/1&handler=other", [three]),
            (f"object_id=video-2&job_id={one}", []),
        ):
            async with following(app, query=query, last_event_id="0") as stream_:
                await asyncio.sleep(1)
                assert {each.data["job_id"] for each in stream_.taken()} == set(expected)


async def _nothing(_job, _payload):
    return None


@virtually
async def test_what_is_no_longer_kept_is_told_as_a_gap():
    async with running(sleep_s=SLEEP_S) as (system, client):
        await submitted(client, "video-1")
        await asyncio.sleep(SLEEP_S + 1)
        job_id = await submitted(client, "video-2")
        await asyncio.sleep(SLEEP_S + 1)
        for seq in (1, 2, 3):
            del system.events.events[seq]
        hub = Hub(system._clock, system.herald, system.events)
        app = with_hub(system, hub)
        async with following(app) as _somebody:
            hub.tail.begin(6)
            async with following(app, last_event_id="1") as stream_:
                gap, *rest = await stream_.some(4)
    assert (gap.event, gap.last_event_id) == ("gap", "3")
    assert gap.data == {
        "id": "3",
        "type": "gap",
        "at": gap.data["at"],
        "job_id": None,
        "object_id": None,
        "handler": None,
        "status": None,
        "attempt": 0,
        "progress": None,
        "error": None,
    }
    assert told(rest) == whole_life(job_id)


@pytest.mark.parametrize("given", ["x", "-1", "1.0", "+1", " 1", "\uff11", "1" * 19, "0x1", "1 2"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/jobs/job-1/events"])
@virtually
async def test_an_id_that_is_none_is_refused(path, given):
    async with running() as (_system, client):
        await submitted(client, "video-1")
        answer = await client.get(path, params={"last_event_id": given})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "last_event_id", "message": "must be the id of an event"}
        ]
        if given.isascii():
            header = await client.get(path, headers={"Last-Event-ID": given.strip() + "x"})
            assert header.status_code == 422


@virtually
async def test_an_empty_id_is_none():
    async with running() as (system, _client), following(system.app(), last_event_id="") as stream_:
        assert stream_.status == 200


@pytest.mark.parametrize("query", ["object_id=", "handler=a&handler=b", "job_id=" + "x" * 513])
@virtually
async def test_a_filter_that_is_none_is_refused(query):
    async with running() as (_system, client):
        answer = await client.get(f"/v1/events?{query}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


# A job's stream ------------------------------------------------------------------------------


@virtually
async def test_a_jobs_stream_has_its_whole_life_and_ends_with_it():
    async with running(sleep_s=SLEEP_S) as (system, client):
        app = system.app()
        other, job_id = await submitted(client, "video-1"), await submitted(client, "video-2")
        async with following(app, f"/v1/jobs/{job_id}/events") as early:
            assert early.received.startswith(b"retry: 1000\n\n")
            assert told(await early.rest()) == whole_life(job_id)
            assert early.closed
        async with following(app, f"/v1/jobs/{job_id}/events") as late:
            began = now()
            assert told(await late.rest()) == whole_life(job_id)
            assert now() - began < 1.0
        assert other != job_id


@virtually
async def test_a_jobs_stream_goes_on_after_an_id_and_there_is_nothing_after_its_last():
    async with running(sleep_s=1) as (system, client):
        app, job_id = system.app(), await submitted(client, "video-1")
        await asyncio.sleep(5)
        path = f"/v1/jobs/{job_id}/events"
        async with following(app, path, last_event_id="2") as stream_:
            assert told(await stream_.rest()) == whole_life(job_id)[2:]
        async with following(app, path, last_event_id="3") as stream_:
            assert stream_.status == 204
            assert await stream_.rest() == []
        other = await submitted(client, "video-2")
        async with following(app, f"/v1/jobs/{other}/events", last_event_id="3") as stream_:
            assert told(await stream_.rest()) == whole_life(other)


@virtually
async def test_of_a_job_that_ended_before_all_that_is_kept_one_is_told_of_a_gap():
    async with running(sleep_s=1) as (system, client):
        job_id = await submitted(client, "video-1")
        await asyncio.sleep(5)
        app, path = system.app(), f"/v1/jobs/{job_id}/events"
        async with following(app, path) as stream_:
            system.events.events.clear()
            began = now()
            # Its events are remembered still, by this Herald.
            assert told(await stream_.rest()) == whole_life(job_id)
            assert now() - began < 1.0
        hub = Hub(system._clock, system.herald, system.events)
        app = with_hub(system, hub)
        async with following(app) as _somebody:
            hub.tail.begin(3)
            async with following(app, path) as stream_:
                began = now()
                assert [each.event for each in await stream_.rest()] == ["gap"]
                assert 15.0 < now() - began < 25.0


@pytest.mark.parametrize("sleep_s", [9.95, 9.98, 9.99, 10.0, 10.01, 19.99, 20.0])
@virtually
async def test_a_job_that_ends_at_a_heartbeat_is_told_of_all_the_same(sleep_s):
    async with running(sleep_s=sleep_s) as (system, client):
        job_id = await submitted(client, "video-1")
        async with following(system.app(), f"/v1/jobs/{job_id}/events") as stream_:
            assert told(await stream_.rest()) == whole_life(job_id)


@virtually
async def test_a_job_whose_end_lies_in_a_gap_has_a_stream_that_ends():
    async with running(sleep_s=SLEEP_S) as (system, client):
        job_id = await submitted(client, "video-1")
        async with following(system.app(), f"/v1/jobs/{job_id}/events") as stream_:
            await stream_.some(2)
            settle = system.jobs.settle

            async def settled_unseen(*settlement):
                await settle(*settlement)
                system.jobs.log.lose()

            system.jobs.settle = settled_unseen
            rest = await stream_.rest()
            assert {each.event for each in rest} == {"gap"}
            assert stream_.closed


@virtually
async def test_a_job_that_ends_while_the_herald_is_away_is_told_of_when_it_is_back():
    async with running(sleep_s=SLEEP_S) as (system, client):
        job_id = await submitted(client, "video-1")
        async with following(system.app(), f"/v1/jobs/{job_id}/events") as stream_:
            await stream_.some(2)
            herald, system.herald = system.herald, None
            await asyncio.sleep(SLEEP_S + 120)
            assert stream_.taken() == []
            system.herald = herald
            assert told(await stream_.rest()) == whole_life(job_id)[2:]


@virtually
async def test_a_job_that_there_is_not_has_no_stream():
    async with running() as (_system, client):
        answer = await client.get("/v1/jobs/unknown/events")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")


# The end of a stream -------------------------------------------------------------------------


@virtually
async def test_when_hasty_stops_streams_end_and_a_client_that_comes_back_misses_nothing():
    async with running(sleep_s=1) as (system, client):
        app = system.app()
        async with following(app) as stream_:
            job_id = await submitted(client, "video-1")
            await stream_.some(2)
            system.herald.end()
            began = now()
            rest = await stream_.rest()
            assert stream_.closed
            assert now() - began < 0.5
            place = stream_.last_event_id
        system.herald._ending = False
        await asyncio.sleep(15)
        async with following(system.app(), last_event_id=place) as stream_:
            assert told([*rest, *await stream_.some(1)]) == whole_life(job_id)[2:]


@virtually
async def test_a_stream_ends_after_an_hour_so_that_keys_are_asked_for_again():
    async with running() as (system, _client), following(system.app()) as stream_:
        began = now()
        assert await stream_.rest(10_000) == []
        assert stream_.closed
        assert now() - began == pytest.approx(3_600, abs=11)


@virtually
async def test_a_client_that_leaves_leaves_nothing_behind():
    async with running() as (system, _client):
        hub = system.hub()
        app = with_hub(system, hub)
        async with following(app), following(app, query="object_id=a"):
            assert hub.busy
        assert not hub.busy
        # Cut off before it was let in.
        system.herald, herald = None, system.herald
        early = Stream(app, "/v1/events")
        await asyncio.sleep(0.1)
        await early.leave()
        system.herald = herald
        assert not hub.busy


@virtually
async def test_a_client_that_takes_nothing_is_given_up():
    async with running() as (system, _client):
        hub = system.hub()
        app = with_hub(system, hub)
        async with following(app) as stuck:
            stuck.takes.clear()
            await asyncio.sleep(60)
            assert hub.busy
            await asyncio.sleep(30)
            assert not hub.busy
            assert stuck._task.done()


@virtually
async def test_one_who_is_slow_gets_it_all_in_the_end():
    async with running(sleep_s=1) as (system, client):
        app = system.app()
        async with following(app) as stream_:
            stream_.takes.clear()
            ids = [await submitted(client, f"video-{n}") for n in range(400)]
            await asyncio.sleep(10)
            stream_.takes.set()
            sent = await stream_.some(1_200)
            assert [each.seq for each in sent] == list(range(1, 1_201))
            assert {each.data["job_id"] for each in sent} == set(ids)


@virtually
async def test_without_the_herald_no_stream_begins():
    async with running() as (system, client):
        system.herald = None
        answer = await client.get("/v1/events")
        assert (answer.status_code, answer.json()["code"]) == (503, "unreachable")


@virtually
async def test_where_events_are_off_there_are_no_streams():
    async with running(sleep_s=1) as (system, client):
        job_id = await submitted(client, "video-1")
        app = with_hub(system, None)
        for path in ("/v1/events", f"/v1/jobs/{job_id}/events"):
            async with following(app, path, last_event_id="3") as stream_:
                assert stream_.status == 404
                assert json.loads(stream_.received)["code"] == "events_off"


# Waiting -------------------------------------------------------------------------------------


@virtually
async def test_the_answer_waits_for_the_end():
    async with running(sleep_s=SLEEP_S) as (_system, client):
        job_id = await submitted(client, "video-1")
        began = now()
        job = (await client.get(f"/v1/jobs/{job_id}?wait=60")).json()
        assert (job["status"], job["result"]) == ("finished", {"sleep_time_used": SLEEP_S})
        assert now() - began == pytest.approx(SLEEP_S, abs=0.2)
        began = now()
        assert (await client.get(f"/v1/jobs/{job_id}?wait=60")).json() == job
        assert now() == began


@virtually
async def test_the_answer_waits_no_longer_than_it_was_asked_to():
    async with running(sleep_s=SLEEP_S) as (_system, client):
        job_id = await submitted(client, "video-1")
        for wait in ("0", "0.5", "5", "005", "5.25"):
            began = now()
            job = (await client.get(f"/v1/jobs/{job_id}?wait={wait}")).json()
            assert now() - began == pytest.approx(float(wait), abs=0.02)
            assert job["status"] == "running" or wait == "0"


@virtually
async def test_an_end_while_the_job_is_being_looked_at_is_not_missed():
    async with running(sleep_s=SLEEP_S) as (system, client):
        job_id = await submitted(client, "video-1")
        await asyncio.sleep(SLEEP_S - 1)
        get = system.jobs.get

        async def slow(job_ids):
            found = await get(job_ids)
            await asyncio.sleep(2)
            return found

        system.jobs.get = slow
        hub = system.hub()
        system.hub = lambda: hub
        async with system.client() as other:
            began = now()
            assert (await other.get(f"/v1/jobs/{job_id}?wait=60")).json()["status"] == "finished"
            assert now() - began < 5
        assert not hub.busy


@virtually
async def test_a_cancel_ends_the_waiting():
    async with running(sleep_s=SLEEP_S) as (_system, client):
        job_id = await submitted(client, "video-1")
        waiting = asyncio.ensure_future(client.get(f"/v1/jobs/{job_id}?wait=60"))
        await asyncio.sleep(5)
        await client.post(f"/v1/jobs/{job_id}/cancel", json={})
        began = now()
        assert (await waiting).json()["status"] == "cancelled"
        assert now() - began < 0.2


@virtually
async def test_a_thousand_wait_at_once_and_each_is_told_at_once():
    async with running(sleep_s=SLEEP_S) as (system, client):
        ids = [await submitted(client, f"video-{n}") for n in range(100)]
        reads = []
        get = system.jobs.get

        async def counted(job_ids):
            reads.append(len(job_ids))
            return await get(job_ids)

        system.jobs.get = counted
        waiting = [client.get(f"/v1/jobs/{ids[n % 100]}?wait=60") for n in range(1_000)]
        began = now()
        answers = await asyncio.gather(*waiting)
        assert {answer.json()["status"] for answer in answers} == {"finished"}
        assert now() - began == pytest.approx(SLEEP_S, abs=0.3)
        # Nobody looks again and again, and those who look at once look together.
        assert len(reads) < 120


@pytest.mark.parametrize("away", ["dead", "silent", "off"])
@virtually
async def test_without_the_herald_the_job_is_looked_at_now_and_then(away):
    async with running(sleep_s=SLEEP_S) as (system, client):
        job_id = await submitted(client, "video-1")
        if away == "off":
            system.hub = lambda: None
        system.herald = {"dead": None, "silent": _Silent(), "off": None}[away]
        reads = []
        get = system.jobs.get

        async def counted(job_ids):
            reads.append(now())
            return await get(job_ids)

        system.jobs.get = counted
        began = now()
        async with system.client() as without:
            assert (await without.get(f"/v1/jobs/{job_id}?wait=60")).json()["status"] == "finished"
        assert now() - began < SLEEP_S + 3
        assert len(reads) < 16


class _Silent:
    async def since(self, _message):
        await asyncio.Event().wait()


@virtually
async def test_a_herald_that_dies_while_somebody_waits_costs_them_little():
    async with running(sleep_s=SLEEP_S) as (system, client):
        job_id = await submitted(client, "video-1")
        waiting = asyncio.ensure_future(client.get(f"/v1/jobs/{job_id}?wait=60"))
        await asyncio.sleep(12)
        system.herald = None
        assert (await waiting).json()["status"] == "finished"
        assert now() < SLEEP_S + 4


@virtually
async def test_when_hasty_stops_whoever_waits_is_answered():
    async with running(sleep_s=SLEEP_S) as (system, client):
        job_id = await submitted(client, "video-1")
        waiting = asyncio.ensure_future(client.get(f"/v1/jobs/{job_id}?wait=60"))
        await asyncio.sleep(5)
        system.herald.end()
        began = now()
        assert (await waiting).json()["status"] == "running"
        assert now() - began < 0.2


@pytest.mark.parametrize(
    "wait", ["", "x", "-1", "61", "60.5", "1e1", "nan", "inf", "0x1", "\uff11", "1&wait=2"]
)
@virtually
async def test_a_wait_that_is_none_is_refused(wait):
    async with running() as (_system, client):
        answer = await client.get(f"/v1/jobs/unknown?wait={wait}")
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "wait", "message": "must be a number of seconds from 0 to 60"}
        ]


@virtually
async def test_of_a_job_that_there_is_not_nobody_waits_for_the_end():
    async with running() as (_system, client):
        began = now()
        answer = await client.get("/v1/jobs/unknown?wait=60")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")
        assert now() == began


@virtually
async def test_while_mongodb_is_away_whoever_waits_is_told_to_come_back():
    async with running() as (system, client):
        job_id = await submitted(client, "video-1")
        system.jobs.away = True
        answer = await client.get(f"/v1/jobs/{job_id}?wait=60")
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        system.jobs.away = False


# Tags ----------------------------------------------------------------------------------------


@virtually
async def test_an_answer_has_a_tag_by_which_it_is_known_again():
    async with running(sleep_s=SLEEP_S) as (_system, client):
        job_id = await submitted(client, "video-1")
        await asyncio.sleep(1)
        path = f"/v1/jobs/{job_id}"
        first = await client.get(path)
        tag = first.headers["etag"]
        assert tag[0] == tag[-1] == '"'
        assert (await client.get(path)).headers["etag"] == tag
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*", f'"a",W/{tag} ,"b"'):
            again = await client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        for unknown in ('"other"', tag.strip('"'), "", "W/", tag[:-2] + '"'):
            again = await client.get(path, headers={"If-None-Match": unknown})
            assert (again.status_code, again.json()) == (200, first.json())
        await asyncio.sleep(SLEEP_S)
        changed = await client.get(path, headers={"If-None-Match": tag})
        assert (changed.status_code, changed.json()["status"]) == (200, "finished")
        assert changed.headers["etag"] != tag


@virtually
async def test_waiting_ends_in_a_304_where_nothing_changed():
    async with running(sleep_s=SLEEP_S) as (_system, client):
        job_id = await submitted(client, "video-1")
        await asyncio.sleep(1)
        path = f"/v1/jobs/{job_id}"
        tag = (await client.get(path)).headers["etag"]
        began = now()
        answer = await client.get(f"{path}?wait=5", headers={"If-None-Match": tag})
        assert (answer.status_code, now() - began) == (304, pytest.approx(5.0))
        answer = await client.get(f"{path}?wait=60", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.json()["status"]) == (200, "finished")


# The description -----------------------------------------------------------------------------


@virtually
async def test_events_are_described():
    async with running() as (_system, client):
        described = (await client.get("/openapi.json")).json()
    of_all = described["paths"]["/v1/events"]["get"]
    assert {one["name"] for one in of_all["parameters"]} == {
        "object_id",
        "handler",
        "job_id",
        "Last-Event-ID",
        "last_event_id",
    }
    assert of_all["responses"]["200"]["content"] == {
        "text/event-stream": {"schema": {"$ref": "#/components/schemas/EventView"}}
    }
    assert described["components"]["schemas"]["EventView"]["properties"]["id"]["type"] == "string"
    kinds = described["components"]["schemas"]["EventType"]["enum"]
    assert kinds == [str(kind) for kind in EventType]
    show = described["paths"]["/v1/jobs/{job_id}"]["get"]
    assert "wait" in {one["name"] for one in show["parameters"]}
    assert {"200", "304", "404", "422", "503"} <= set(show["responses"])


def test_the_numbers_of_the_docs_are_those_of_the_code():
    assert (stream.HEARTBEAT_S, stream._RETRY_MS, stream._LONGEST_S) == (10.0, 1_000, 3_600.0)
