"""The examples of the client's page do what the page says, with a whole hasty on virtual time."""

import asyncio
import inspect
import re
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import BaseModel

import hasty
import hasty.errors
from hasty.handlers.decorator import declaration_of
from tests.unit.client_virtual import Served

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()

#: Each title, and the examples under it.
EXAMPLES = {
    title: re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}

#: What they print. Ids are left out.
PRINTED = {
    "Giving a job": [
        "ID queued",
        "{'lines': 2}",
        "scheduled {'team': 'blue'}",
        "cancelled the customer called",
    ],
    "When a job stands in the way": ["rerun_window True True", "{'lines': 1}", "True"],
    "Twice the same": ["True"],
    "Many jobs": ["1200", "payload.items: Input should be a valid array"],
    "Following": ["job.queued ", "job.running ", "job.progress 0.5", "job.progress 1.0", "job.finished "],
    "Looking": [
        "1 hasty-worker-default-0 finished",
        "1 False finished",
        "['invoice', 'sleep']",
        "[('default', 1)]",
    ],
    "Recurring jobs": ["nightly True", "[True]"],
    "Errors": [],
    "With asyncio": ["[{'lines': 1}, {'lines': 1}, {'lines': 1}]"],
    "In tests": [],
}


class Order(BaseModel):
    items: list[str]


class Receipt(BaseModel):
    lines: int


@hasty.handler(timeout=30)
async def invoice(job: hasty.JobContext, order: Order) -> Receipt:
    for done in range(len(order.items)):
        job.progress((done + 1) / len(order.items))
        await asyncio.sleep(1)
    return Receipt(lines=len(order.items))


@pytest.fixture
def served(monkeypatch):
    """Let every client speak to this one, wherever it is told to look."""
    handler = declaration_of(invoice).handler(timeout_s=46.0, rerun_window_s=300.0)
    with closing(Served(more=[handler])) as served:

        def client(url=None, transport=None, **options):
            if transport is not None:
                return hasty.client.Client(url, transport=transport, **options)
            return hasty.client.Client(url, transport=served.wire, clock=served, **options)

        def async_client(url=None, **options):
            return hasty.client.AsyncClient(
                url, transport=served.async_wire, clock=served.async_clock, **options
            )

        monkeypatch.setattr(hasty, "Client", client)
        monkeypatch.setattr(hasty, "AsyncClient", async_client)
        yield served


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_examples_print_what_they_should(served, capsys, title):
    for example in EXAMPLES[title]:
        exec(compile(example, f"docs/client.md, {title}", "exec"), {})
    printed = re.sub(r"\b(job-\d+|[0-9a-f]{8}-[0-9a-f-]{27})\b", "ID", capsys.readouterr().out).splitlines()
    assert printed == PRINTED[title]


def test_every_title_has_its_examples():
    assert [*EXAMPLES] == [*PRINTED]
    assert sum(map(len, EXAMPLES.values())) == PAGE.count("```python") == 10


def test_every_error_that_the_page_names_exists():
    table = PAGE.partition("## Errors")[2].partition("## With")[0]
    named = set(re.findall(r"`([A-Z]\w+)`", table)) - {"TimeoutError"}
    assert len(named) > 20
    assert all(issubclass(getattr(hasty.errors, name), hasty.HastyError) for name in named)


def test_every_argument_of_a_client_is_explained():
    table = PAGE.partition("| Argument |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert named == [name for name in inspect.signature(hasty.Client).parameters if name != "self"]


def test_every_call_of_a_client_is_mentioned():
    calls = [name for name in vars(hasty.client.Client) if not name.startswith("_") and name != "close"]
    assert [name for name in calls if not re.search(rf"\b{name}\b", PAGE)] == []
