"""The files that operators deploy with: Ray's own validators take them, and they say what the code says."""

import importlib
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from hasty.cluster.environment import WANTED_OPEN_FILES, node_environment
from hasty.errors import CannotStart, Unreachable
from hasty.messages import Pools, PoolState
from hasty.pools import Plan, PoolPlan
from hasty.settings import Settings

ROOT = Path(__file__).parents[2]
URI = "mongodb://user:secret@db.example/?replicaSet=rs0&tls=true"

#: Beside what `node_environment` returns.
WHERE_THE_TOKEN_IS = "RAY_AUTH_TOKEN_PATH"

#: Stands for the programs that a node's commands call: it notes who called it with what, and goes.
STAND_IN = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["NOTES"], "a") as notes:
    called = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
    notes.write(json.dumps({{"called": called, "environment": dict(os.environ)}}) + "\\n")
"""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def ray() -> Iterator[SimpleNamespace]:
    """The parts of Ray that look at files. Nothing of Ray is started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield SimpleNamespace(
            commands=importlib.import_module("ray.autoscaler._private.commands"),
            schema=importlib.import_module("ray.serve.schema"),
            api=importlib.import_module("ray.serve._private.api"),
            ingress=importlib.import_module("hasty.cluster.ingress"),
            system=importlib.import_module("hasty.cluster.system"),
            names=importlib.import_module("hasty.cluster.names"),
            workers=importlib.import_module("hasty.cluster.workers"),
        )


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture
def production() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deployments" / "production.yaml").read_text())


# cluster.yaml ---------------------------------------------------------------------------------


class Cloud:
    """A provider that asks nobody: what `ray up` does with a file before it speaks to AWS."""

    @staticmethod
    def fillout_available_node_types_resources(config: dict[str, Any]) -> dict[str, Any]:
        return config

    @staticmethod
    def bootstrap_config(config: dict[str, Any]) -> dict[str, Any]:
        return config


@pytest.fixture
def prepared(ray, cluster, monkeypatch) -> dict[str, Any]:
    """The file as `ray up` takes it, with Ray's defaults filled in."""
    monkeypatch.setitem(ray.commands._NODE_PROVIDERS, "aws", lambda _config: Cloud)
    return ray.commands._bootstrap_config(cluster, no_config_cache=True)


def test_ray_up_takes_the_cluster(prepared):
    assert prepared["provider"]["type"] == "aws"
    assert sum(kind["min_workers"] for kind in prepared["available_node_types"].values()) >= 2


def test_nothing_is_left_to_the_defaults_of_ray_that_would_do_harm(cluster):
    """They install a nightly wheel, run on spot machines and show the dashboard to the world."""
    assert cluster.keys() >= {
        "setup_commands",
        "head_setup_commands",
        "worker_setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
        "available_node_types",
        "head_node_type",
        "max_workers",
    }
    assert not any("InstanceMarketOptions" in kind["node_config"] for kind in node_types(cluster))
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])


def test_what_is_installed_is_pinned_and_from_no_named_address(cluster):
    installing = [line for line in every_command(cluster) if "pip install" in line]
    assert any('"ray[default,serve]==2.60.0"' in line for line in installing)
    for line in installing:
        assert "://" not in line
        assert ".whl" not in line
        assert "constraints.txt" in line


def test_everything_that_is_copied_to_the_nodes_is_there_to_copy(cluster):
    for remote, local in cluster["file_mounts"].items():
        assert remote.startswith("~/hasty/")
        assert local.startswith("~/.config/hasty/") or (ROOT / local).exists()


def test_every_command_is_a_shell_command(cluster):
    for line in every_command(cluster):
        subprocess.run(["bash", "-n", "-c", line], check=True)


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_ray_starts_with_the_environment_that_hasty_environment_prints(cluster, tmp_path, kind):
    ray_start = run_on_a_node(cluster[f"{kind}_start_ray_commands"], tmp_path)["ray start"]
    environment = dict(ray_start["environment"])
    assert environment.pop(WHERE_THE_TOKEN_IS) == str(tmp_path / "hasty/ray.token")
    assert "~/hasty/ray.token" in cluster["file_mounts"]
    environment.pop("RAY_HEAD_IP")
    found = {name: value for name, value in environment.items() if name.startswith("RAY_")}
    assert found == node_environment()
    # For `serve deploy`, which builds the application on a node.
    assert environment["HASTY_API_MONGO_URI"] == URI


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_a_node_may_open_the_files_that_the_environment_counts_on(cluster, tmp_path, kind):
    calls = list(run_on_a_node(cluster[f"{kind}_start_ray_commands"], tmp_path))
    assert calls.index(f"ulimit -n {WANTED_OPEN_FILES}") < calls.index("ray start")


def test_the_head_deploys_hasty_once_ray_is_up(cluster, tmp_path):
    calls = run_on_a_node(cluster["head_start_ray_commands"], tmp_path)
    assert list(calls)[-2:] == ["ray start", "hasty deploy"]
    environment = calls["hasty deploy"]["environment"]
    settings = Settings.load(environment)
    assert settings.jobs_uri == URI
    # On one machine 127.0.0.1 would do; here nodes reach each other's Gateways.
    assert settings.http_host == "0.0.0.0"
    assert environment.items() >= node_environment().items()


def test_the_head_starts_nodes_and_runs_no_actors(cluster, tmp_path):
    command = run_on_a_node(cluster["head_start_ray_commands"], tmp_path)["ray start"]["called"]
    assert "--num-cpus=0" in command
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in command
    assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}


def test_a_worker_node_joins_the_head(cluster, tmp_path):
    command = run_on_a_node(cluster["worker_start_ray_commands"], tmp_path)["ray start"]["called"]
    assert "--address=10.0.0.1:6379" in command


def test_of_our_ports_only_http_is_let_in_from_outside(cluster):
    allowed = cluster["provider"]["security_group"]["IpPermissions"]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in allowed] == [(8000, 8000)]
    assert all(source["CidrIp"] != "0.0.0.0/0" for rule in allowed for source in rule["IpRanges"])


def node_types(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return list(cluster["available_node_types"].values())


def every_command(cluster: dict[str, Any]) -> list[str]:
    return [line for name, lines in cluster.items() if name.endswith("_commands") for line in lines]


def run_on_a_node(commands: list[str], home: Path) -> dict[str, Any]:
    """Run a node's commands as Ray does, a shell for each; return what they called, in order."""
    programs = home / "hasty" / "venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("ray", "hasty"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o700)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    (home / "hasty" / "cluster.env").write_text(f"HASTY_API_MONGO_URI='{URI}'\n")
    notes = home / "notes"
    # The limit of the machine that runs the tests is its own affair.
    (home / "bash_env").write_text(
        f"""ulimit() {{ echo '{{"called": ["ulimit", "-n", "'"$2"'"]}}' >> {notes}; }}\n"""
    )
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "BASH_ENV": str(home / "bash_env"),
        "NOTES": str(notes),
        "RAY_HEAD_IP": "10.0.0.1",
    }
    for command in commands:
        subprocess.run(["bash", "-c", command], env=environment, check=True, timeout=30)
    calls = [yaml.safe_load(line) for line in notes.read_text().splitlines()]
    return {" ".join(call["called"][: 3 if call["called"][0] == "ulimit" else 2]): call for call in calls}


# deployments/production.yaml ------------------------------------------------------------------


def test_serve_takes_production_and_knows_every_field_of_it(ray, production):
    ray.schema.ServeDeploySchema.model_validate(production)
    # Serve ignores what it does not know: a misspelt option would do nothing.
    assert production.keys() <= ray.schema.ServeDeploySchema.model_fields.keys()
    assert production["http_options"].keys() <= ray.schema.HTTPOptionsSchema.model_fields.keys()
    for application in production["applications"]:
        assert application.keys() <= ray.schema.ServeApplicationSchema.model_fields.keys()


def test_the_builder_that_production_names_takes_its_args(ray, production, monkeypatch):
    monkeypatch.setenv("HASTY_API_MONGO_URI", URI)
    application = build(ray, production)
    deployment = application._bound_deployment
    settings = deployment.init_args[0]
    assert deployment.name == ray.names.GATEWAY
    assert deployment.num_replicas == settings.gateways == production["applications"][0]["args"]["gateways"]
    assert settings.jobs_uri == URI


def test_production_is_refused_on_a_node_that_names_no_database(ray, production, monkeypatch):
    monkeypatch.delenv("HASTY_API_MONGO_URI", raising=False)
    with pytest.raises(CannotStart, match="HASTY_API_MONGO_URI"):
        build(ray, production)


def test_production_carries_no_secret(production):
    (application,) = production["applications"]
    assert not [name for name in application["args"] if name.endswith("_uri")]
    assert "mongodb://" not in yaml.safe_dump(production)


@pytest.fixture
def deploying(ray, monkeypatch) -> SimpleNamespace:
    """What `hasty deploy` does to a cluster, in order, and what it tells Serve; nothing of it is done."""
    seen = SimpleNamespace(steps=[], told={}, runs_already=False, outdated=[], listens_on=None)
    noted: dict[str, Any] = {
        "start_registry": lambda _settings: seen.steps.append("registry"),
        "start_dispatcher": lambda _settings: seen.steps.append("dispatcher"),
        "start_clerk": lambda _settings: seen.steps.append("clerk"),
        "_replace_clerk": lambda _settings: seen.steps.append("another clerk"),
        "start_worker": lambda name, _settings, generation: seen.steps.append(f"{name} of {generation}"),
        "_exists": lambda _name: seen.runs_already,
    }

    async def write_plan(settings: Settings) -> Plan:
        seen.steps.append("plan")
        return Plan(2 if seen.runs_already else 1, ray.workers.plan_of(settings))

    def serve(what: str, options: dict[str, Any]) -> None:
        seen.steps.append(what)
        seen.told.update(options)

    def client(*, raise_if_no_controller_running: bool) -> SimpleNamespace | None:
        assert not raise_if_no_controller_running
        http = SimpleNamespace(host=seen.listens_on)
        return SimpleNamespace(http_config=http) if seen.listens_on else None

    monkeypatch.setattr(ray.system, "get_serve_client", client)
    for name, stand_in in noted.items():
        monkeypatch.setattr(ray.system, name, stand_in)
    monkeypatch.setattr(ray.system, "_write_plan", write_plan)
    monkeypatch.setattr(ray.system, "_LOOK_S", 0)
    monkeypatch.setattr(ray.system, "RayRef", lambda _find: Dispatcher(seen))
    monkeypatch.setattr(ray.system.serve, "start", lambda **options: serve("serve", options))
    monkeypatch.setattr(
        ray.system.serve, "run", lambda app, **options: serve("gateways", {"app": app, **options})
    )
    monkeypatch.delenv("HASTY_API_MONGO_URI", raising=False)
    return seen


class Dispatcher:
    """Follows a plan after it was asked twice, and replaces a worker between two questions."""

    def __init__(self, seen: SimpleNamespace) -> None:
        self.seen = seen

    async def follow(self) -> None:
        self.seen.steps.append("follow")
        if self.seen.steps.count("follow") == 1:
            raise Unreachable

    async def pools(self) -> Pools:
        left = self.seen.outdated.pop(0) if self.seen.outdated else 0
        state = PoolState("default", 3, 3, 3, False, 3, left, 0, 0, 0.0)
        self.seen.steps.append(f"{left} left")
        return Pools(2, (state, state._replace(name="gpu", outdated=0)))


def test_production_deploys_what_hasty_deploy_deploys(ray, production, deploying):
    """The same application, on the same HTTP options: whoever goes from one to the other changes nothing."""
    ray.system.deploy(Settings(http_host="0.0.0.0", api_mongo_uri=URI), print)
    told = deploying.told
    (application,) = production["applications"]
    assert told["http_options"] == production["http_options"]
    assert told["proxy_location"] == production["proxy_location"]
    assert told["logging_config"].items() <= production["logging_config"].items()
    assert told["name"] == application["name"] == ray.names.APPLICATION
    assert told["route_prefix"] == application["route_prefix"]


POOLS = {"gpu": {"min_workers": 1, "max_workers": 9}}


def test_a_first_deployment_starts_the_workers_of_all_pools_beside_serve(ray, deploying):
    ray.system.deploy(Settings(api_mongo_uri=URI, workers=2, pools=POOLS), print)
    assert deploying.steps == [
        "plan",
        "registry",
        "dispatcher",
        "clerk",
        "hasty-worker-default-0 of 1",
        "hasty-worker-default-1 of 1",
        "hasty-worker-gpu-0 of 1",
        "serve",
        "gateways",
    ]


def test_where_it_runs_already_all_workers_are_replaced_before_the_gateways(ray, deploying):
    """What a new Gateway admits, every worker knows. Nobody but the Dispatcher starts workers then."""
    deploying.runs_already, deploying.outdated = True, [3, 3, 1]
    told: list[str] = []
    ray.system.deploy(Settings(api_mongo_uri=URI, workers=3, pools=POOLS), told.append)
    rolled = ["follow", "follow", "3 left", "3 left", "1 left", "0 left"]
    assert deploying.steps == [
        *("plan", "registry", "dispatcher", "serve"),
        *rolled,
        *("another clerk", "gateways"),
    ]
    assert told == [
        "replacing workers one by one, left in default: 3 of 3 workers",
        "replacing workers one by one, left in default: 1 of 3 workers",
    ]


def test_another_address_than_the_one_serve_listens_on_is_refused_before_anything_is_done(ray, deploying):
    """Else who forgets to say 0.0.0.0 the second time would open it to everybody who can reach it."""
    deploying.runs_already, deploying.listens_on = True, "0.0.0.0"
    with pytest.raises(CannotStart, match=r"Serve listens on 0\.0\.0\.0 .* HASTY_HTTP_HOST is 127\.0\.0\.1"):
        ray.system.deploy(Settings(api_mongo_uri=URI), print)
    assert deploying.steps == []
    deploying.outdated = []
    ray.system.deploy(Settings(api_mongo_uri=URI, http_host="0.0.0.0"), print)
    assert deploying.steps[-1] == "gateways"


def settings_of(application: Any) -> Settings:
    return application._bound_deployment.init_args[0]


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        ({}, False),
        ({"http_host": "0.0.0.0"}, True),
        ({"http_host": "0.0.0.0", "auth": False}, False),
        ({"auth": True}, True),
    ],
)
def test_whether_keys_are_needed_depends_on_the_address_that_hasty_deploy_listens_on(
    ray, deploying, said, needed
):
    ray.system.deploy(Settings(api_mongo_uri=URI, **said), print)
    assert settings_of(deploying.told["app"]).needs_keys == needed


@pytest.mark.parametrize(
    ("said", "needed"),
    [({}, True), ({"auth": False}, False), ({"auth": True}, True), ({"http_host": "127.0.0.1"}, False)],
)
def test_where_only_serve_knows_the_address_keys_are_needed(ray, monkeypatch, said, needed):
    for name in ("HASTY_HTTP_HOST", "HASTY_AUTH"):
        monkeypatch.delenv(name, raising=False)
    application = ray.ingress.application(Settings(api_mongo_uri=URI, **said))
    assert settings_of(application).needs_keys == needed


def test_production_needs_keys(ray, production, monkeypatch):
    monkeypatch.setenv("HASTY_API_MONGO_URI", URI)
    assert settings_of(build(ray, production)).needs_keys


def test_a_plan_keeps_all_settings_but_where_the_databases_are(ray):
    own = Settings(api_mongo_uri=URI, worker_mongo_uri=URI)
    wanted = Settings(api_mongo_uri="mongodb://other.example/", workers=7, pools=POOLS, timeout_s=9)
    kept = ray.workers.described(wanted)
    assert "mongodb://" not in kept
    found = ray.workers.undescribed(kept, own)
    secrets = {"api_mongo_uri": own.api_mongo_uri, "worker_mongo_uri": own.worker_mongo_uri}
    assert found == wanted.model_copy(update=secrets)
    assert ray.workers.plan_of(found) == {
        "default": PoolPlan(7, 7, 4_000),
        "gpu": PoolPlan(1, 9, 4_000),
    }


def build(ray: SimpleNamespace, production: dict[str, Any]) -> Any:
    """Build the application as Serve does on a node."""
    (application,) = production["applications"]
    module, _, name = application["import_path"].partition(":")
    builder = getattr(importlib.import_module(module), name)
    return ray.api.call_user_app_builder_with_args_if_necessary(builder, application["args"])


def test_the_documented_ports_are_those_of_the_files(cluster, production):
    table = (ROOT / "docs" / "operations.md").read_text()
    started = " ".join(every_command(cluster))
    ports = {str(production["http_options"]["port"]), *re.findall(r"(?:-port=|:)(\d{4,5})\b", started)}
    assert ports == {port for port in ports if f"| {port} |" in table}
