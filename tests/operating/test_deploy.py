"""`hasty deploy` and `serve deploy` put the same hasty onto a Ray cluster that runs already."""

import http.client
import json
import os
import subprocess
import sys
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from hasty.local.head import Head, HeadPlan, make_run_dir, remove_run_dir
from tests.running import HASTY, ROOT, free_port, until

#: A deployment is as quick as the machine.
PATIENCE_S = 180.0

SERVE = str(Path(sys.executable).with_name("serve"))


@pytest.fixture
def cluster(tmp_path):
    run_dir = make_run_dir()
    # It believes in a GPU, and hands that out like any other.
    has = ("--num-gpus=1", '--resources={"licence": 1}')
    plan = HeadPlan(uuid.uuid4().hex, run_dir, tmp_path / "token", tmp_path / "ray.log", options=has)
    head = Head.launch(plan)
    try:
        head.wait_until_up()
        yield head
    finally:
        head.stop()
        remove_run_dir(run_dir)


@pytest.fixture
def environment(cluster, mongo_uri):
    """What an operator of that cluster has in the shell."""
    return {
        **os.environ,
        **cluster.environment,
        "HASTY_API_MONGO_URI": mongo_uri,
        "HASTY_HTTP_PORT": str(free_port()),
        "HASTY_SLEEP_MIN_S": "0",
        "HASTY_SLEEP_MAX_S": "0",
    }


def a_job_ends(port: str) -> None:
    seen(port, "/readyz")
    body = json.dumps({"object_id": uuid.uuid4().hex}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=body, timeout=30) as answer:
        job_id = json.loads(answer.read())["message"]["job_id"]
    until(lambda: seen(port, f"/{job_id}")["message"]["status"] == "finished", "the job to end", PATIENCE_S)


def seen(port: str, path: str):
    """Return the body of the first good answer."""
    return until(lambda: asked(port, path), f"a good answer to GET {path}", PATIENCE_S)


def asked(port: str, path: str):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return json.loads(answer.read())
    except (OSError, http.client.HTTPException):
        return None


def deploy(environment):
    said = subprocess.run([HASTY, "deploy"], env=environment, capture_output=True, text=True, check=True)
    assert "hasty is deployed" in said.stdout


def submit(port: str, object_id: str, handler: str) -> str:
    body = json.dumps({"object_id": object_id, "handler": handler}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/jobs", body, timeout=30) as answer:
        return json.loads(answer.read())["id"]


def result_of(port: str, job_id: str):
    until(lambda: seen(port, f"/v1/jobs/{job_id}")["ended_at"], "the job to end", PATIENCE_S)
    return seen(port, f"/v1/jobs/{job_id}")["result"]


@pytest.mark.timeout(600)
def test_hasty_deploy_and_again(environment):
    """Handlers run where the resources of their pools are: also those that a later deployment names."""
    port = environment["HASTY_HTTP_PORT"]
    gpu = {"num_gpus": 0.5, "resources": {"licence": 0.5}, "runtime_env": {"env_vars": {"GREETING": "hello"}}}
    pools = {"gpu": gpu, "elsewhere": {"resources": {"nowhere": 1}}}
    environment |= {"HASTY_HANDLERS": "tests.operating.placed", "PYTHONPATH": str(ROOT)}
    deploy(environment | {"HASTY_POOLS": json.dumps(pools)})
    a_job_ends(port)
    looks, waits = submit(port, "a", "looks"), submit(port, "b", "waits")
    # It reaches the child as well, which runs what is not async.
    assert result_of(port, looks) == {"CUDA_VISIBLE_DEVICES": "0", "GREETING": "hello"}
    until(lambda: state_of(port, "elsewhere")["queued"] == 1, "the job to wait in its pool")
    assert state_of(port, "elsewhere")["present"] == 0
    # There is a place now; who was never placed is ordered anew.
    with following(port) as stream:
        result_of(port, submit(port, "c", "looks"))
        deploy(
            environment | {"HASTY_POOLS": json.dumps(pools | {"elsewhere": {"resources": {"licence": 0.5}}})}
        )
        assert result_of(port, waits) == "placed"
        # It ends with its Gateway, and is not cut off: that would raise.
        assert b"event: job.finished" in stream.result(PATIENCE_S)
    assert {pool["outdated"] for pool in seen(port, "/v1/pools")["pools"]} == {0}


@contextmanager
def following(port: str):
    """Read a stream of events to its end, in a thread."""
    with (
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/events", timeout=PATIENCE_S) as answer,
        ThreadPoolExecutor(1) as threads,
    ):
        yield threads.submit(answer.read)


def state_of(port: str, name: str) -> dict:
    return next(pool for pool in seen(port, "/v1/pools")["pools"] if pool["name"] == name)


def test_hasty_deploy_without_a_cluster_says_so_in_one_line(mongo_uri):
    said = subprocess.run(
        [HASTY, "deploy", f"--address=127.0.0.1:{free_port()}"],
        env={**os.environ, "HASTY_API_MONGO_URI": mongo_uri, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert said.stderr.strip().splitlines()[-1].startswith("hasty: cannot join a Ray cluster")


@pytest.mark.timeout(600)
def test_serve_deploy_takes_the_production_file(environment, cluster, tmp_path):
    config = yaml.safe_load((ROOT / "deployments" / "production.yaml").read_text())
    config["http_options"] |= {"host": "127.0.0.1", "port": int(environment["HASTY_HTTP_PORT"])}
    config["applications"][0]["args"] |= {
        # On a real cluster the nodes have it in their environment.
        "api_mongo_uri": environment["HASTY_API_MONGO_URI"],
        "auth": False,
        "sleep_min_s": 0,
        "sleep_max_s": 0,
    }
    file = tmp_path / "production.yaml"
    file.write_text(yaml.safe_dump(config))
    subprocess.run(
        [SERVE, "deploy", str(file), "--address", cluster.dashboard_url],
        env=environment,
        check=True,
        capture_output=True,
    )
    a_job_ends(environment["HASTY_HTTP_PORT"])
