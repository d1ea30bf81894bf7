"""`hasty deploy` and `serve deploy` put the same hasty onto a Ray cluster that runs already."""

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
    until(lambda: asked(port, "/readyz"), "hasty to be ready")
    body = json.dumps({"object_id": uuid.uuid4().hex}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=body, timeout=10) as answer:
        job_id = json.loads(answer.read())["message"]["job_id"]
    until(lambda: asked(port, f"/{job_id}")["status"] == "finished", "the job to end")


def asked(port: str, path: str):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return json.loads(answer.read())["message"]
    except OSError:
        return None


def deploy(environment):
    said = subprocess.run([HASTY, "deploy"], env=environment, capture_output=True, text=True, check=True)
    assert "hasty is deployed" in said.stdout


def v1(port: str, path: str, body: dict | None = None):
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1{path}", content, timeout=10) as answer:
        return json.loads(answer.read())


def result_of(port: str, job: dict):
    until(lambda: v1(port, f"/jobs/{job['id']}")["ended_at"], "the job to end")
    return v1(port, f"/jobs/{job['id']}")["result"]


def test_hasty_deploy_and_again(environment):
    """Handlers run where the resources of their pools are: also those that a later deployment names."""
    port = environment["HASTY_HTTP_PORT"]
    gpu = {"num_gpus": 0.5, "resources": {"licence": 0.5}, "runtime_env": {"env_vars": {"GREETING": "hello"}}}
    pools = {"gpu": gpu, "elsewhere": {"resources": {"nowhere": 1}}}
    environment |= {"HASTY_HANDLERS": "tests.operating.placed", "PYTHONPATH": str(ROOT)}
    deploy(environment | {"HASTY_POOLS": json.dumps(pools)})
    a_job_ends(port)
    seen = v1(port, "/jobs", {"object_id": "a", "handler": "looks"})
    waiting = v1(port, "/jobs", {"object_id": "b", "handler": "waits"})
    # It reaches the child as well, which runs what is not async.
    assert result_of(port, seen) == {"CUDA_VISIBLE_DEVICES": "0", "GREETING": "hello"}
    until(lambda: state_of(port, "elsewhere")["queued"] == 1, "the job to wait in its pool")
    assert state_of(port, "elsewhere")["present"] == 0
    # There is a place now; who was never placed is ordered anew.
    with following(port) as stream:
        deploy(
            environment | {"HASTY_POOLS": json.dumps(pools | {"elsewhere": {"resources": {"licence": 0.5}}})}
        )
        assert result_of(port, waiting) == "placed"
        # It ends with its Gateway, and is not cut off: that would raise.
        assert b"event: job.finished" in stream.result(60)
    assert {pool["outdated"] for pool in v1(port, "/pools")["pools"]} == {0}


@contextmanager
def following(port: str):
    """Read a stream of events to its end, in a thread."""
    with (
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/events", timeout=60) as answer,
        ThreadPoolExecutor(1) as threads,
    ):
        yield threads.submit(answer.read)


def state_of(port: str, name: str) -> dict:
    return next(pool for pool in v1(port, "/pools")["pools"] if pool["name"] == name)


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
