"""Requests and answers that nobody sends on purpose."""

import asyncio
import logging

import pytest

from hasty.api.app import build_app
from hasty.api.seed import span
from hasty.errors import Unreachable
from tests.unit.examples import virtually
from tests.unit.system import Failing, Silent, System, running
from tests.unit.test_api import answer, shown


@virtually
async def test_a_declared_length_of_five_thousand_digits_is_too_large():
    async with running() as (_, client):
        headers = {"content-length": "9" * 5_000}
        response = await client.post("/", content=b'{"object_id": "x"}', headers=headers)
        assert response.status_code == 413


@virtually
async def test_a_slash_at_the_end_is_answered_in_json():
    async with running() as (_, client):
        response = await client.get("/job-1/")
        assert response.headers["content-type"] == "application/json"


@virtually
async def test_a_part_that_fails_in_an_unforeseen_way_is_named():
    system = System()
    await system.serve()
    system.registry = Failing(ZeroDivisionError("oops"))
    async with system.client() as client:
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert b"registry: " in response.content


@virtually
async def test_a_client_that_hangs_up_is_no_error_inside_hasty(caplog):
    app = build_app(System().gateway(), 300.0)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
    }
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(_message):
        pass

    with caplog.at_level(logging.ERROR):
        await app(scope, receive, send)
    assert caplog.records == []


@virtually
async def test_a_boolean_is_no_number_of_seconds():
    async def other(_context, _payload):
        return {"sleep_time_used": True}

    async with running(function=other) as (_, client):
        await client.post("/", json={"object_id": "x"})
        await asyncio.sleep(1)
        assert answer(await client.get("/job-1")) == (200, shown("finished", 0), None)


@virtually
async def test_everybody_gets_a_503_after_ten_seconds(loop_time):
    system = System()
    system.registry = Silent()
    gateway = system.gateway()
    first = asyncio.ensure_future(gateway.submit("x"))
    await asyncio.sleep(1)
    began_at = loop_time()
    with pytest.raises(Unreachable):
        await gateway.submit("y")
    assert loop_time() - began_at <= 10.0
    assert isinstance(first.exception(), Unreachable)


@pytest.mark.parametrize(("window_s", "told"), [(60.0, "1 minute"), (61.0, "61 seconds"), (1.0, "1 second")])
def test_a_span_reads_well(window_s, told):
    assert span(window_s) == told
