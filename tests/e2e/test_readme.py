"""What the README shows is what happens."""

import json
import re
import subprocess

import hasty as hasty_package
from tests.e2e.readme import CLIENT, GET, GET_V1, POST, POST_V1, README, RUN, SUBMIT, TEST
from tests.running import HASTY, until

#: A job's id, as the README makes one up.
JOB_ID = re.compile(r"(?<=/)[0-9a-f-]{36}$")


def test_its_commands_do_what_it_says(hasty):
    """`make run` started this very instance; `make test` runs this very test."""
    assert (RUN, TEST) == (["make", "run"], ["make", "test"])
    answer = curl(POST, hasty.port)
    assert list(answer["message"]) == ["job_id"]
    assert curl(naming(GET, answer["message"]["job_id"]), hasty.port)["message"]["status"] == "processing"
    assert curl(POST, hasty.port)["message"] in README


def test_its_handler_gets_typed_jobs_over_http(shop):
    assert any(line.startswith("handler invoice: timeout 30 s") for line in shop.output)
    job = curl(POST_V1, shop.port)
    shown = until(lambda: ended(curl(naming(GET_V1, job["id"]), shop.port)), "the job to end")
    assert (shown["status"], shown["attempt"], shown["error"]) == ("finished", 1, None)
    assert f"`{json.dumps(shown['result'])}`" in README
    body = {"object_id": "order-2", "handler": "invoice", "payload": {"items": "tea"}}
    status, problem, _ = shop.ask("POST", "/v1/jobs", json.dumps(body).encode())
    assert (status, problem["code"]) == (422, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == ["payload.items"]
    assert curl(POST_V1, shop.port)["job_id"] == job["id"]


def test_its_client_and_its_command_do_the_same(shop, capsys, monkeypatch):
    monkeypatch.setenv("HASTY_URL", f"http://127.0.0.1:{shop.port}")
    exec(CLIENT, {"hasty": hasty_package})
    assert capsys.readouterr().out == "{'lines': 1}\n"
    assert SUBMIT[0] == "hasty"
    done = subprocess.run([HASTY, *SUBMIT[1:]], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def ended(job: dict) -> dict | None:
    return job if job["ended_at"] else None


def naming(command: list[str], job_id: str) -> list[str]:
    """The command with a real id in place of the one that is made up."""
    assert JOB_ID.search(command[-1])
    return [*command[:-1], JOB_ID.sub(job_id, command[-1])]


def curl(command: list[str], port: int):
    local = [word.replace("localhost:8000", f"localhost:{port}") for word in command]
    assert local[0] == "curl"
    result = subprocess.run([*local, "--silent"], capture_output=True, check=True)
    return json.loads(result.stdout)
