"""Both surfaces answer as they say they do, whatever they are asked."""

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

#: What must hold of each answer.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

#: Requests of each operation.
EXAMPLES = 15

#: So long may a request be held.
HELD_S = 0.5


def tamed(case):
    """Ask for nothing that takes long by itself: thousands of workers, a minute's wait."""
    if case.method == "PATCH" and isinstance(case.body, dict) and isinstance(case.body.get("workers"), int):
        case.body["workers"] = min(case.body["workers"], 2)
    query = case.query or {}
    if "wait" in query and str(query["wait"]).replace(".", "", 1).isdigit():
        query["wait"] = min(float(query["wait"]), HELD_S)
    return case


def operations(url):
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


def statuses_of(operation):
    """Ask for it in many ways, as it is described and not; return the statuses of the answers."""
    statuses = set()

    def answers_as_it_is_said(case):
        response = tamed(case).call()
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    for mode in GenerationMode:
        rules = settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        # What has no parameters cannot be asked for in a wrong way.
        with contextlib.suppress(Unsatisfiable):
            rules(given(case=operation.as_strategy(generation_mode=mode))(answers_as_it_is_said))()
    return statuses


@pytest.mark.timeout(600)
def test_no_answer_is_a_500_or_outside_the_schema(shop):
    found = operations(f"http://127.0.0.1:{shop.port}")
    # A stream has no end to wait for; others read those.
    asked = {name: statuses_of(each) for name, each in found.items() if not name.endswith("/events")}
    assert {"POST /", "GET /{job_id}", "POST /v1/jobs", "GET /v1/jobs/{job_id}"} <= set(asked)
    # It was understood often enough to mean something.
    assert {201} <= asked["POST /"] and {201, 422} <= asked["POST /v1/jobs"]
