"""What the guide to `/v1` shows is what happens."""

import asyncio
import json
import re
import shlex
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from hasty.api.listing_schemas import ListQuery
from hasty.api.schemas import NewJob
from hasty.handlers.decorator import declaration_of
from hasty.job import Cause
from hasty.messages import OnConflict
from tests.unit.examples import virtually
from tests.unit.system import running

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "api.md").read_text()

#: The handler that the examples use stands in the README.
(SHOP,) = (
    block
    for block in re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    if "@hasty.handler" in block
)

#: A job id, as the guide makes them up.
MADE_UP = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")

#: What is different each time.
PASSING = {"node", "pid", "worker", "retry_after"}


class Example(NamedTuple):
    command: str
    answer: Any


def examples() -> list[Example]:
    """Each command of the guide, and the answer that is shown under it."""
    blocks = re.findall(r"^```sh\n(.*?)^```\n(?:```json\n(.*?)^```)?", GUIDE, re.MULTILINE | re.DOTALL)
    found = []
    for commands, answer in blocks:
        *others, last = commands.splitlines()
        found += [Example(command, None) for command in others]
        found.append(Example(last, json.loads(answer) if answer else None))
    return found


def invoice():
    """The README's handler, as `--handlers shop` registers it."""
    module: dict[str, Any] = {"__name__": "shop"}
    exec(SHOP, module)
    return declaration_of(module["invoice"]).handler(timeout_s=46.0, rerun_window_s=300.0)


async def curl(client, command, known):
    """Send what curl would, with real ids in place of those that are made up."""
    words = shlex.split(MADE_UP.sub(lambda made_up: known[made_up[0]], command))
    assert words.pop(0) == "curl"
    method, body, url = None, None, None
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-d":
                body = words.pop(0)
            case "-N":
                pass
            case url:
                assert url.startswith("localhost:8000/"), url
    path = url.removeprefix("localhost:8000")
    return await client.request(method or ("GET" if body is None else "POST"), path, content=body)


def check(shown, answered, known, name=""):
    """See that all that is shown was answered. A new id is the real one's name from now on."""
    if isinstance(shown, dict):
        for key, value in shown.items():
            assert key in answered, key
            check(value, answered[key], known, key)
    elif isinstance(shown, list):
        assert len(shown) == len(answered), name
        for one, other in zip(shown, answered, strict=True):
            check(one, other, known, name)
    elif isinstance(shown, str) and MADE_UP.search(shown):
        for made_up in MADE_UP.findall(shown):
            known.setdefault(made_up, answered)
        assert MADE_UP.sub(lambda made_up: known[made_up[0]], shown) == answered
    elif name.endswith("_at") and shown is not None:
        assert datetime.fromisoformat(shown).tzinfo is not None
        assert datetime.fromisoformat(answered).tzinfo is not None
    elif name in PASSING:
        assert type(shown) is type(answered), name
    else:
        assert shown == answered, name


@virtually
async def test_each_example_of_the_guide_is_answered_as_it_says():
    told = examples()
    assert len(told) > 12
    known: dict[str, str] = {}
    async with running(more=[invoice()]) as (_, client):
        for command, shown in told:
            response = await curl(client, command, known)
            assert response.status_code < 300 or "code" in (shown or {}), (command, response.text)
            if shown is not None:
                check(shown, response.json(), known)
    assert len(set(known.values())) == len(known) == len(set(MADE_UP.findall(GUIDE)))


@virtually
async def test_what_the_guide_says_of_events_is_what_is_streamed():
    async with running(more=[invoice()]) as (_, client):
        body = {"object_id": "a", "handler": "invoice", "payload": {"items": []}}
        job = (await client.post("/v1/jobs", json=body)).json()
        await asyncio.sleep(5)
        stream = (await client.get(f"{job['links']['self']}/events")).text
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    assert events[0]["type"] == "job.queued"
    assert events[-1]["type"] == "job.finished"
    section = GUIDE.partition("## Events")[2].partition("## Lists")[0]
    assert all(f"`{name}`" in section for event in events for name in (event["type"], *event))


@virtually
async def test_the_guide_names_every_request_and_no_other():
    async with running() as (_, client):
        paths = (await client.get("/openapi.json")).json()["paths"]
    served = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/v1/") and not path.startswith("/v1/schedules")
    }
    table = GUIDE.partition("| Request |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`((?:GET|POST|PATCH|DELETE) [^`]+)`", table))
    # Served where there is an outbox.
    assert served | {"GET /v1/jobs/{job_id}/deliveries"} == named


def column(heading: str) -> list[str]:
    """The names in the first column of the table with this heading."""
    table = re.search(rf"^\| {re.escape(heading)} \|[^\n]*\n\| ---(.*?)\n\n", GUIDE, re.MULTILINE | re.DOTALL)
    assert table is not None
    rows = table[1].splitlines()[1:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_the_tables_of_the_guide_are_those_of_the_code():
    assert column("Field") == list(NewJob.model_fields)
    assert column("Parameter") == list(ListQuery.model_fields)
    assert column("`on_conflict`") == list(OnConflict)
    assert column("`cause`") == list(Cause)
    outcomes = ["running", "finished", "failed", "cancelled", "retried", "lost"]
    assert column("`outcome`") == outcomes
