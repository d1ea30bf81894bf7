"""`GET /v1/jobs`: what it shows of which jobs, page by page, and what it refuses."""

import asyncio
import base64
import json
import string
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from hasty.api.app import build_app
from hasty.api.cursors import CURSOR_LIMIT, cursor_of, place_in
from hasty.api.listing_schemas import ListQuery
from hasty.api.problems import HANDLERS
from hasty.api.schemas import JobView
from hasty.api.v1.listing import add_listing
from hasty.clock import SystemClock
from hasty.errors import InvalidRequest, StoreUnavailable
from hasty.job import Status
from hasty.store.base import PAGE_BYTES, JobFilter
from hasty.store.memory import MemoryJobReader, MemoryJobStore
from tests.unit.examples import NOW, a_job, after, repeatable, virtually
from tests.unit.system import Failing, Silent, System, running

JOBS = "/v1/jobs"

#: Of each filter one that other jobs do not pass.
ONE_OF_EACH = {
    "status": "failed",
    "handler": "cut",
    "object_id": "a/b ü",
    "label": "env=prod",
    "accepted_after": "2026-01-02T03:04:35.678Z",
    "accepted_before": "2026-01-02T05:04:05.678+01:00",
}


async def listed(client, **params):
    response = await client.get(JOBS, params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def walked(client, **params):
    """Follow the cursors; return the ids of each page."""
    pages, page = [], await listed(client, **params)
    while True:
        pages.append([job["id"] for job in page["jobs"]])
        if page["next_cursor"] is None:
            return pages
        page = await listed(client, **params, cursor=page["next_cursor"])


async def refused(client, query):
    """Return what is wrong with a query, by parameter."""
    response = await client.get(f"{JOBS}?{query}")
    assert response.status_code == 422, response.text
    document = response.json()
    assert document["code"] == "invalid_request"
    return {error["field"]: error["message"] for error in document["errors"]}


def alone(store):
    """A client of this endpoint only: it is there at once."""
    app = FastAPI(exception_handlers=HANDLERS)
    add_listing(app, MemoryJobReader(store))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hasty")


def some_jobs(n, **about):
    return [a_job(f"job-{i:03}", object_id=f"object-{i}", **about) for i in range(n)]


@virtually
async def test_jobs_are_listed_newest_first_as_each_is_shown_alone():
    async with running() as (_, client):
        for object_id in ("a", "b", "c"):
            await client.post(JOBS, json={"object_id": object_id, "payload": {"n": 1}})
        await asyncio.sleep(1)
        page = await listed(client)
        assert [job["object_id"] for job in page["jobs"]] == ["c", "b", "a"]
        assert page["next_cursor"] is None
        assert page["jobs"] == [(await client.get(f"{JOBS}/{job['id']}")).json() for job in page["jobs"]]
        assert {job["status"] for job in page["jobs"]} == {"running"}


@virtually
async def test_there_are_fifty_in_a_page_unless_another_number_is_asked_for():
    system = System()
    await system.jobs.insert(some_jobs(230))
    async with system.client() as client:
        assert [len(page) for page in await walked(client)] == [50] * 4 + [30]
        assert [len(page) for page in await walked(client, limit=200)] == [200, 30]
        met = [job_id for page in await walked(client, limit="7") for job_id in page]
        assert met == [f"job-{i:03}" for i in reversed(range(230))]


@virtually
async def test_the_number_in_a_page_may_change_in_the_middle_of_a_walk():
    system = System()
    await system.jobs.insert(some_jobs(5))
    async with system.client() as client:
        first = await listed(client, limit=2)
        rest = await listed(client, limit=200, cursor=first["next_cursor"])
        assert [job["id"] for job in rest["jobs"]] == ["job-002", "job-001", "job-000"]


@virtually
@pytest.mark.parametrize("name", ONE_OF_EACH)
async def test_each_filter_lets_through_what_it_names(name):
    system = System()
    wanted = a_job(
        "job-1",
        status=Status.FAILED,
        handler="cut",
        object_id="a/b ü",
        labels=(("env", "prod"), ("x", "y")),
        accepted_at=after(30),
    )
    # Everything else about it is the same.
    different = {
        "status": {"status": Status.CANCELLED},
        "handler": {"handler": "cutter"},
        "object_id": {"object_id": "a/b"},
        "label": {"labels": (("env", "produce"), ("x", "y"))},
        "accepted_after": {"accepted_at": after(29.999)},
        "accepted_before": {"accepted_at": after(3_600)},
    }[name]
    other = a_job("job-2", **(vars_of(wanted) | {"run": 2} | different))
    assert len(await system.jobs.insert([wanted, other])) == 2
    async with system.client() as client:
        assert await walked(client, **ONE_OF_EACH) == [["job-1"]]
        less = {key: value for key, value in ONE_OF_EACH.items() if key != name}
        assert await walked(client, **less) == [["job-2", "job-1"]]


def vars_of(job):
    return {name: getattr(job, name) for name in ("status", "handler", "object_id", "labels", "accepted_at")}


@virtually
async def test_several_statuses_are_one_or_the_other_and_several_labels_are_all():
    system = System()
    both, one = (("a", "1"), ("b", "2=2")), (("a", "1"),)
    await system.jobs.insert(
        [
            a_job("job-1", object_id="1", status=Status.FAILED, labels=both),
            a_job("job-2", object_id="2", status=Status.FINISHED, labels=one),
            a_job("job-3", object_id="3", status=Status.QUEUED, labels=both),
        ]
    )
    async with system.client() as client:
        assert await walked(client, status=["failed", "finished", "failed"]) == [["job-2", "job-1"]]
        assert await walked(client, label=["a=1", "b=2=2", "a=1"]) == [["job-3", "job-1"]]


@virtually
async def test_the_jobs_of_one_object_come_by_their_runs():
    system = System()
    await system.jobs.insert([a_job(f"job-{9 - run}", run=run) for run in range(1, 6)])
    async with system.client() as client:
        pages = await walked(client, object_id="video-1", limit=2)
    assert pages == [["job-4", "job-5"], ["job-6", "job-7"], ["job-8"]]


@virtually
async def test_jobs_that_arrive_meanwhile_are_not_met():
    async with running() as (_, client):
        for n in range(6):
            await client.post(JOBS, json={"object_id": f"early-{n}"})
        page = await listed(client, limit=2)
        met = page["jobs"]
        while page["next_cursor"] is not None:
            await client.post(JOBS, json={"object_id": f"late-{len(met)}"})
            page = await listed(client, limit=2, cursor=page["next_cursor"])
            met += page["jobs"]
    assert [job["object_id"] for job in met] == [f"early-{n}" for n in reversed(range(6))]


@virtually
async def test_a_page_of_heavy_jobs_is_short():
    system = System()
    await system.jobs.insert(some_jobs(12, payload="x" * (PAGE_BYTES // 4)))
    async with system.client() as client:
        pages = await walked(client, limit=200)
    assert [len(page) for page in pages] == [3] * 4


# What is refused -------------------------------------------------------------------------------


@virtually
async def test_a_parameter_that_is_not_known_is_named():
    """A filter that is misspelt must not show everything."""
    async with running() as (_, client):
        told = await refused(client, "stauts=failed&x=1&x=2&limit=5")
        assert set(told) == {"stauts", "x"}
        assert "there are: status, handler, object_id, label, accepted_after" in told["stauts"]
        assert set(await refused(client, f"{'y' * 5_000}=1")) == {"y" * 64}


@virtually
@pytest.mark.parametrize("name", ["handler", "object_id", "accepted_after", "limit", "cursor"])
async def test_what_can_be_there_once_is_refused_twice(name):
    async with running() as (_, client):
        value = {"accepted_after": "2026-01-02T03:04:05Z", "limit": "5"}.get(name, "x")
        assert await refused(client, f"{name}={value}&{name}={value}") == {name: "is there more than once"}


@virtually
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("status", "done", "should be 'scheduled', 'queued', 'running', 'finished'"),
        ("status", "", "should be"),
        ("handler", "", "at least 1 character"),
        ("handler", "x" * 129, "at most 128"),
        ("object_id", "", "at least 1 character"),
        ("object_id", "x" * 513, "at most 512"),
        ("label", "env", "pattern"),
        ("label", "=prod", "pattern"),
        ("label", "-x=prod", "pattern"),
        ("label", f"{'n' * 64}=prod", "pattern"),
        ("label", f"env={'v' * 257}", "pattern"),
        ("limit", "0", "greater than or equal to 1"),
        ("limit", "201", "less than or equal to 200"),
        ("limit", "-1", "whole number from 1 to 200"),
        ("limit", "5.0", "whole number"),
        ("limit", " 5", "whole number"),
        ("limit", "٣", "whole number"),
        ("limit", "1" * 5_000, "whole number"),
        ("limit", "", "whole number"),
        ("accepted_after", "2026-01-02", "RFC 3339"),
        ("accepted_after", "1767323045", "RFC 3339"),
        ("accepted_after", "2026-01-02T03:04:05", "RFC 3339"),
        # What a plus that was not escaped becomes.
        ("accepted_before", "2026-01-02T03:04:05 00:00", "%2B"),
        ("accepted_before", "2026-13-02T03:04:05Z", "month"),
        ("accepted_before", "0001-01-01T00:00:00+14:00", "year from 1970 to 2999"),
        ("accepted_after", "9999-12-31T23:59:59.999999-14:00", "year from 1970 to 2999"),
        ("accepted_after", "2026-01-02T03:04:05+99:99", ""),
        ("cursor", "", "at least 1 character"),
        ("cursor", "x" * 513, "at most 512"),
        ("cursor", "x", "none that was given out"),
    ],
)
async def test_a_value_that_cannot_be_meant_is_told(name, value, told):
    async with running() as (_, client):
        wrong = await refused(client, httpx.QueryParams({name: value}))
        assert set(wrong) == {name}
        assert told in wrong[name]


@virtually
async def test_a_label_with_two_values_and_more_labels_than_a_job_has_are_refused():
    async with running() as (_, client):
        assert "no job has both" in (await refused(client, "label=a=1&label=a=2"))["label"]
        many = "&".join(f"label=n{n}=" for n in range(17))
        assert "16 times at most" in (await refused(client, many))["label"]
        assert (await listed(client, label=[f"n{n}=" for n in range(16)]))["jobs"] == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2026-01-02T03:04:05Z", NOW.replace(microsecond=0)),
        ("2026-01-02t03:04:05.678z", NOW),
        ("2026-01-02T05:34:05.678+02:30", NOW),
        # Acceptances are whole milliseconds: later than a part of one is from the next one on.
        ("2026-01-02T03:04:05.677001Z", NOW),
        ("2026-01-02T03:04:05.999999Z", NOW.replace(second=6, microsecond=0)),
        ("1970-01-01T00:00:00+23:59", datetime(1969, 12, 31, 0, 1, tzinfo=UTC)),
        ("2999-12-31T23:59:59.9999-23:59", datetime(3000, 1, 1, 23, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_understood_with_its_offset_to_the_millisecond(given, meant):
    query = ListQuery.model_validate({"accepted_after": given, "accepted_before": given})
    assert (query.filter.accepted_after, query.filter.accepted_before) == (meant, meant)


# Cursors ----------------------------------------------------------------------------------------


FILTERS = {
    "all": JobFilter(),
    "status": JobFilter(statuses=frozenset({Status.FAILED})),
    "statuses": JobFilter(statuses=frozenset({Status.FAILED, Status.QUEUED})),
    "handler": JobFilter(handler="cut"),
    "label": JobFilter(labels=(("a", "1"),)),
    "labels": JobFilter(labels=(("a", "1"), ("b", "2"))),
    "after": JobFilter(accepted_after=NOW),
    "before": JobFilter(accepted_before=NOW),
    "later": JobFilter(accepted_before=after(0.001)),
    "object": JobFilter(object_id="x"),
    "other object": JobFilter(object_id="y"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_cursor_is_good_for_its_own_filters_only(name):
    wanted = FILTERS[name]
    place = 7 if wanted.by_run else "job-7"
    cursor = cursor_of(wanted, place)
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")
    for other, filters in FILTERS.items():
        if other == name:
            assert place_in(cursor, filters) == place
        else:
            with pytest.raises(InvalidRequest, match="other filters"):
                place_in(cursor, filters)


@virtually
async def test_a_cursor_with_other_filters_is_a_problem():
    system = System()
    await system.jobs.insert(some_jobs(3))
    async with system.client() as client:
        cursor = (await listed(client, limit=1, status=["queued", "failed"]))["next_cursor"]
        assert await listed(client, status=["failed", "queued"], cursor=cursor)
        assert "other filters" in (await refused(client, f"status=queued&cursor={cursor}"))["cursor"]


def encoded(told):
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")


def forged(wanted, place, version=1):
    """A cursor as only somebody makes it who has read the code."""
    _, digest, _ = json.loads(base64.urlsafe_b64decode(cursor_of(wanted, 1) + "=="))
    return encoded([version, digest, place])


#: What JSON can say in place of a place.
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)

cursors = (
    st.text(max_size=300)
    | st.text(string.ascii_letters + string.digits + "-_=", max_size=CURSOR_LIMIT + 10)
    | odd.map(encoded)
    | st.lists(odd, min_size=3, max_size=3).map(encoded)
    | st.builds(forged, st.sampled_from([JobFilter(), JobFilter(object_id="x")]), odd)
    | st.builds(forged, st.just(JobFilter()), st.just("job-1"), odd)
)


@repeatable
@given(cursor=cursors, object_id=st.sampled_from([None, "x"]))
@virtually
async def test_a_cursor_that_was_made_up_is_a_place_or_is_refused(cursor, object_id):
    store = MemoryJobStore(SystemClock())
    await store.insert([a_job(f"job-{n}", object_id="x", run=n + 1) for n in range(3)])
    params = {"cursor": cursor} | ({"object_id": object_id} if object_id is not None else {})
    async with alone(store) as client:
        response = await client.get(JOBS, params=params)
    assert response.status_code in {200, 422}, response.text
    if response.status_code == 422:
        assert [error["field"] for error in response.json()["errors"]] == ["cursor"]


@pytest.mark.parametrize("place", [True, False, 0, -1, 2**53, 2**70, 1.5, None, "x", [1], "7"])
def test_only_a_run_is_a_place_among_an_objects_jobs(place):
    with pytest.raises(InvalidRequest, match="none that was given out"):
        place_in(forged(JobFilter(object_id="x"), place), JobFilter(object_id="x"))


@pytest.mark.parametrize("place", [1, True, None, "", "a b", "a\x00", "ü", "\ud800", "x" * 129, ["x"], "a\n"])
def test_only_an_id_is_a_place_among_all_jobs(place):
    with pytest.raises(InvalidRequest, match="none that was given out"):
        place_in(forged(JobFilter(), place), JobFilter())


def test_a_cursor_of_another_release_is_told_apart():
    with pytest.raises(InvalidRequest, match="another release"):
        place_in(forged(JobFilter(), "job-1", version=2), JobFilter())


@pytest.mark.parametrize("cursor", ["W" * 512, "[" * 300, base64.b64encode(b"[" * 380).decode(), "\ud800"])
def test_what_cannot_be_read_at_all_is_no_cursor(cursor):
    with pytest.raises(InvalidRequest, match="none that was given out"):
        place_in(cursor, JobFilter())


# The whole query --------------------------------------------------------------------------------

STATUSES = [str(status) for status in Status]

queries = st.fixed_dictionaries(
    {},
    optional={
        "status": st.lists(st.sampled_from(STATUSES), min_size=1, max_size=4),
        "handler": st.sampled_from(["cut", "paste"]),
        "object_id": st.sampled_from(["one", "two"]),
        "label": st.lists(st.sampled_from(["a=1", "b=", "b=x=y"]), min_size=1, max_size=3),
        "accepted_after": st.integers(0, 20).map(lambda s: after(s).isoformat()),
        "accepted_before": st.integers(0, 20).map(lambda s: after(s).isoformat()),
        "limit": st.integers(1, 5).map(str),
    },
)

job_sets = st.lists(
    st.builds(
        dict,
        status=st.sampled_from(list(Status)),
        handler=st.sampled_from(["cut", "paste"]),
        object_id=st.sampled_from(["one", "two"]),
        labels=st.sets(st.sampled_from([("a", "1"), ("b", ""), ("b", "x=y")]), max_size=2).map(
            lambda some: tuple(sorted(dict(some).items()))
        ),
        accepted_at=st.integers(0, 20).map(after),
    ),
    max_size=12,
)


def fits(job, query):
    return (
        job.status in query.get("status", STATUSES)
        and job.handler == query.get("handler", job.handler)
        and job.object_id == query.get("object_id", job.object_id)
        and {tuple(text.split("=", 1)) for text in query.get("label", ())} <= set(job.labels)
        and datetime.fromisoformat(query.get("accepted_after", NOW.isoformat())) <= job.accepted_at
        and job.accepted_at < datetime.fromisoformat(query.get("accepted_before", after(99).isoformat()))
    )


@repeatable
@given(about=job_sets, query=queries)
@virtually
async def test_a_walk_over_http_meets_all_that_fits(about, query):
    store = MemoryJobStore(SystemClock())
    jobs = [a_job(f"job-{n:02}", run=n + 1, **each) for n, each in enumerate(about)]
    await store.insert(jobs)
    contradicts = {"b=", "b=x=y"} <= set(query.get("label", ()))
    async with alone(store) as client:
        if contradicts:
            assert set(await refused(client, httpx.QueryParams(query))) == {"label"}
            return
        pages = await walked(client, **query)
    expected = [
        job.job_id for job in sorted(jobs, key=lambda job: job.job_id, reverse=True) if fits(job, query)
    ]
    assert [job_id for page in pages for job_id in page] == expected
    limit = int(query.get("limit", 50))
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@repeatable
@given(params=st.lists(st.tuples(st.sampled_from([*ListQuery.model_fields, "x"]) | words, words), max_size=5))
@virtually
async def test_whatever_is_asked_is_answered_or_refused(params):
    store = MemoryJobStore(SystemClock())
    async with alone(store) as client:
        response = await client.get(JOBS, params=params)
    assert response.status_code in {200, 422}, response.text


@virtually
@pytest.mark.parametrize(
    "query", ["%", "%ff=%fe", "status=%ff", "label=%00%3D", "object_id=%ED%A0%80", "&&=&;", "=", "cursor=%00"]
)
async def test_a_query_that_is_no_text_is_answered_or_refused(query):
    async with running() as (_, client):
        assert (await client.get(f"{JOBS}?{query}")).status_code in {200, 422}


# Trouble ------------------------------------------------------------------------------------------


def client_of(reader):
    system = System()
    app = build_app(system.gateway(), 300.0, readers=system.readers()._replace(lists=reader))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://hasty")


@virtually
async def test_a_list_that_cannot_be_had_now_says_when_to_ask_again():
    told = "MongoDB did not answer this within 3 s: ask for less, or ask again later"
    async with client_of(Failing(StoreUnavailable(told))) as client:
        response = await client.get(JOBS)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert (response.json()["code"], response.json()["detail"]) == ("store_unavailable", told)


@virtually
async def test_a_crowd_waits_outside_and_who_goes_away_makes_room():
    async with client_of(Silent()) as client:
        crowd = [asyncio.ensure_future(client.get(JOBS)) for _ in range(8 + 64)]
        await asyncio.sleep(1)
        assert not any(each.done() for each in crowd)
        response = await client.get(JOBS)
        assert (response.status_code, response.json()["code"]) == (503, "overloaded")
        crowd[0].cancel()
        crowd[-1].cancel()
        await asyncio.sleep(1)
        crowd += [asyncio.ensure_future(client.get(JOBS)) for _ in range(2)]
        await asyncio.sleep(1)
        assert not crowd[-1].done() and not crowd[-2].done()
        for each in crowd:
            each.cancel()
        await asyncio.wait(crowd)


class Counted(MemoryJobReader):
    """Takes a second for each page, and counts how many it is asked for at once."""

    now = most = 0

    async def page(self, *arguments):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(1)
        self.now -= 1
        return await super().page(*arguments)


@virtually
async def test_a_few_lists_are_read_at_once_and_all_in_the_end():
    reader = Counted(System().jobs)
    async with client_of(reader) as client:
        answers = await asyncio.gather(*(client.get(JOBS) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert reader.most == 8


# The description ----------------------------------------------------------------------------------


@virtually
async def test_the_list_describes_itself():
    async with running() as (_, client):
        operation = (await client.get("/openapi.json")).json()["paths"][JOBS]["get"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert list(parameters) == list(ListQuery.model_fields)
    assert all(each["in"] == "query" and not each["required"] for each in parameters.values())
    assert parameters["status"]["schema"] == {"type": "array", "items": {"type": "string", "enum": STATUSES}}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    assert parameters["accepted_after"]["schema"] == {"type": "string", "format": "date-time"}
    assert parameters["object_id"]["schema"]["maxLength"] == 512
    assert set(operation["responses"]) == {"200", "422", "503"}


def test_what_is_shown_of_a_job_is_all_that_the_client_needs_to_go_on():
    assert JobView.of(a_job()).links.self == "/v1/jobs/job-1"


def test_a_day_in_the_life_of_a_cursor_is_short():
    """Ids, and the filters in short: a cursor fits into any address line."""
    wanted = JobFilter(object_id="x" * 512, labels=tuple((f"n{n}", "v" * 256) for n in range(16)))
    assert len(cursor_of(wanted, 2**52)) < 100
    assert len(cursor_of(JobFilter(accepted_after=NOW - timedelta(1)), "0" * 36)) < 100
