"""`hasty doctor`: what it finds on a machine and in a hasty that runs, and what it says to do."""

import resource
import socket
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from hasty.cli import machine
from hasty.cli.findings import Level, ok
from hasty.cli.running import look_at_running
from hasty.local.mongod import MAX_SOCKET_BYTES
from hasty.settings import Settings
from tests.running import free_port
from tests.unit.fake_api import FakeApi, a_pool
from tests.unit.typing_commands import hasty, send_by

GIB = 1 << 30


# This machine -----------------------------------------------------------------------------------


def test_the_server_is_what_its_extra_lists():
    extra = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    listed = [Requirement(line).name for line in extra["optional-dependencies"]["server"]]
    assert sorted(machine.SERVER) == sorted(listed)


def test_one_core_is_few():
    assert machine.cores(1).level is Level.WARN
    assert machine.cores(2).level is Level.OK


@pytest.mark.parametrize(
    ("available", "level"),
    [(GIB // 2, Level.FAIL), (GIB, Level.WARN), (2 * GIB, Level.OK), (None, Level.OK)],
)
def test_little_memory_is_told(available, level):
    assert machine.memory(available).level is level


def test_of_the_machine_and_its_container_the_smaller_memory_counts(tmp_path):
    assert machine.available_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert machine.available_memory(tmp_path) == 4_000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    assert machine.available_memory(tmp_path) == 4_000 * 1024
    (group / "memory.max").write_text("3000\n")
    assert machine.available_memory(tmp_path) == 2_000


def test_few_open_files_are_told_with_the_command_that_shows_them():
    found = machine.open_files(1_024)
    assert found.level is Level.WARN
    assert "ulimit -Hn" in found.advice
    assert machine.open_files(65_536).level is Level.OK
    assert machine.open_files(resource.RLIM_INFINITY).level is Level.OK


def test_a_server_that_is_installed_by_half_is_broken_and_the_client_alone_is_not():
    assert machine.server_extra(()).level is Level.OK
    half = machine.server_extra(("ray", "pymongo"))
    assert (half.level, half.found) == (Level.FAIL, "not installed: ray, pymongo")
    assert "hasty[server]" in half.advice
    alone = machine.server_extra(machine.SERVER)
    assert alone.level is Level.WARN
    assert "hasty[server]" in alone.advice


def test_a_distribution_is_missing_or_not():
    assert machine.missing_of(("typer", "no-such-thing", "pydantic")) == ("no-such-thing",)


def test_a_taken_port_is_told_unless_hasty_has_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = machine.http_port("127.0.0.1", port, serves=False)
        assert found.level is Level.FAIL
        assert "HASTY_HTTP_PORT" in found.advice
        assert machine.http_port("127.0.0.1", port, serves=True).level is Level.OK
    assert machine.http_port("127.0.0.1", port, serves=False).level is Level.OK


def test_ports_for_the_parts_are_found_and_let_go_of():
    first, second = machine.block_of_ports(), machine.block_of_ports()
    assert (first.level, first) == (Level.OK, second)


def test_where_there_are_no_ports_it_is_told(monkeypatch):
    monkeypatch.setattr("hasty.local.ports.FIRST_PORT", 32_700)
    assert machine.block_of_ports().level is Level.FAIL


def test_a_data_folder_that_is_not_made_yet_is_looked_for_where_it_would_be(tmp_path):
    folder, disk = machine.data_dir(tmp_path / "a" / "b")
    assert (folder.level, folder.found) == (Level.OK, f"{tmp_path}/a/b, not made yet")
    assert disk.about == "disk"
    assert next(machine.data_dir(tmp_path)).found == str(tmp_path)


def test_a_data_folder_that_is_a_file_or_shut_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert next(machine.data_dir(tmp_path / "file")).level is Level.FAIL
    monkeypatch.setattr("os.access", lambda path, _mode: path != tmp_path)
    found = next(machine.data_dir(tmp_path / "new"))
    assert (found.level, found.found) == (Level.FAIL, f"{tmp_path} cannot be written to")
    assert "HASTY_DATA_DIR" in found.advice


def test_a_data_folder_that_cannot_be_looked_into_is_told_by_what_is_shut(tmp_path, monkeypatch):
    real = Path.exists

    def exists(path):
        if tmp_path in path.parents:
            raise PermissionError
        return real(path)

    monkeypatch.setattr(Path, "exists", exists)
    monkeypatch.setattr("os.access", lambda path, _mode: path != tmp_path)
    folder, disk = machine.data_dir(tmp_path / "shut" / "data")
    assert (folder.level, folder.found) == (Level.FAIL, f"{tmp_path} cannot be written to")
    assert disk.about == "disk"


def test_a_data_folder_whose_socket_would_have_too_long_a_path_is_told():
    longest = MAX_SOCKET_BYTES - len("/mongod/mongod.sock")
    assert next(machine.data_dir(Path("/" + "x" * (longest - 1)))).level is Level.OK
    found = next(machine.data_dir(Path("/" + "x" * longest)))
    assert found.level is Level.FAIL
    assert "1 bytes too long" in found.found


@pytest.mark.parametrize(("free", "level"), [(GIB - 1, Level.FAIL), (GIB, Level.WARN), (5 * GIB, Level.OK)])
def test_a_full_disk_is_told(free, level):
    assert machine.disk(free).level is level


def a_program(folder, script):
    program = folder / "mongod"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.parametrize(
    ("script", "level", "told"),
    [
        ("echo 'db version v6.0.5'; echo 'Build Info: {'", Level.OK, "mongod 6.0.5"),
        ("echo 'db version v10.1.0'", Level.OK, "mongod 10.1.0"),
        ("echo 'db version v5.0.31'", Level.FAIL, "is 5.0.31"),
        ("echo 'something else'", Level.FAIL, "of no known version"),
        (
            "echo 'error while loading shared libraries: libcurl.so.4' >&2; exit 127",
            Level.FAIL,
            "libcurl.so.4",
        ),
    ],
)
def test_a_mongod_is_run_once_to_see_whether_it_would(tmp_path, script, level, told):
    found = machine.mongod(a_program(tmp_path, script))
    assert found.level is level
    assert told in found.found


def test_missing_libraries_are_told_with_the_packages_to_install(tmp_path):
    script = "echo 'error while loading shared libraries: libcurl.so.4' >&2; exit 127"
    assert "apt-get install libcurl4 libssl3" in machine.mongod(a_program(tmp_path, script)).advice


def test_a_mongod_that_is_no_program_is_told(tmp_path):
    program = tmp_path / "mongod"
    program.write_bytes(b"\x7fELF?")
    program.chmod(0o700)
    assert "HASTY_MONGOD" in machine.mongod(program).advice


def test_where_no_mongod_is_found_it_is_told_how_to_get_one(monkeypatch):
    monkeypatch.setenv("HASTY_MONGOD", "/nowhere/mongod")
    found = machine.mongodb(Settings())
    assert found.level is Level.FAIL
    assert "/nowhere/mongod" in found.advice


def test_a_mongodb_that_is_named_is_looked_at_in_the_place_of_a_program(monkeypatch):
    looked_at = []
    monkeypatch.setattr("hasty.store.mongo.server.check_replica_set", looked_at.append)
    uri = "mongodb://somewhere/?replicaSet=rs0"
    assert machine.mongodb(Settings(api_mongo_uri=uri)).level is Level.OK
    assert looked_at == [uri]


# The command ------------------------------------------------------------------------------------


@pytest.fixture
def found(monkeypatch, tmp_path):
    """Run `hasty doctor --json` in a folder of its own; return its exit code and what it found."""
    api = FakeApi()
    api.pools = {"default": a_pool("default")}
    send_by(monkeypatch, api.transport())
    # What this machine is like is no matter here.
    monkeypatch.setattr(machine, "memory", lambda _available: ok("memory", "enough"))
    monkeypatch.setattr(machine, "disk", lambda _free: ok("disk", "enough"))

    def found(*words, **environment):
        said = hasty("doctor", "--json", *words, **{"HASTY_DATA_DIR": str(tmp_path), **environment})
        assert said.err == ""
        return said.code, {each["about"]: each for each in said.records}

    found.api = api
    return found


def test_all_that_is_found_is_told_and_a_fault_is_exit_code_1(found):
    port = {"HASTY_HTTP_PORT": str(free_port())}
    code, told = found(**port)
    assert code == 0
    assert {"Python", "server", "HTTP port", "MongoDB", "hasty", "pool default"} <= {*told}
    found.api.pools["default"]["present"] = 0
    assert found(**port)[0] == 1
    said = hasty("doctor")
    assert said.code == 1
    assert "fail  pool default  0 of 2 workers take jobs" in said.out
    assert "-> look at Ray's dashboard" in said.out


def test_a_hasty_at_the_port_of_its_scheme_is_the_one_that_has_the_port(found, monkeypatch):
    looked = []
    monkeypatch.setattr(
        machine,
        "http_port",
        lambda _host, port, *, serves: looked.append((port, serves)) or ok("HTTP port", "whatever"),
    )
    for url, port in (("", 80), ("http://127.0.0.1:80", 80), ("https://127.0.0.1", 443)):
        found(HASTY_URL=url, HASTY_HTTP_PORT=str(port))
        assert looked.pop() == (port, True)
    found(HASTY_URL="http://127.0.0.1:80", HASTY_HTTP_PORT="81")
    assert looked.pop() == (81, False)


def test_a_setting_that_will_not_do_is_a_fault_among_others(found):
    code, told = found(HASTY_TIMEOUT_S="soon")
    assert code == 1
    assert "HASTY_TIMEOUT_S" in told["settings"]["found"]
    assert told["hasty"]["level"] == "ok"


def test_the_port_of_the_hasty_that_answers_on_this_machine_is_not_taken(found):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        for where in ({"HASTY_URL": ""}, {"HASTY_URL": f"http://localhost:{port}"}):
            assert found(HASTY_HTTP_PORT=port, **where)[1]["HTTP port"]["level"] == "ok"
        for where in ({"HASTY_URL": f"http://hasty.test:{port}"}, {"HASTY_URL": "http://127.0.0.1:9"}):
            assert found(HASTY_HTTP_PORT=port, **where)[1]["HTTP port"]["level"] == "fail"
        found.api.first = [httpx.ConnectError("Connection refused")]
        code, told = found(HASTY_HTTP_PORT=port, HASTY_URL="")
        assert (code, told["HTTP port"]["level"], told["hasty"]["level"]) == (1, "fail", "warn")


# A hasty that runs ------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self, now=NOW):
        self.time = now

    def now(self):
        return self.time


@pytest.fixture
def api():
    api = FakeApi()
    api.pools = {"default": a_pool("default")}
    return api


def look(api, *, key=None, wanted=True, now=NOW):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(transport=api.transport(), base_url="http://hasty:8000", headers=headers) as http:
        found = look_at_running(http, Clock(now), wanted=wanted)
    return {each.about: each for each in found}


def test_one_that_is_well_has_nothing_to_be_done(api):
    found = look(api)
    assert list(found) == ["hasty", "ready", "version", "clock", "access", "pool default"]
    assert {each.level for each in found.values()} == {Level.OK}
    assert {each.advice for each in found.values()} == {None}


def test_that_nothing_runs_is_a_fault_only_where_somebody_said_that_it_does(api):
    api.first = [httpx.ConnectError("Connection refused")] * 2
    assert [(each.about, each.level) for each in look(api).values()] == [("hasty", Level.FAIL)]
    found = look(api, wanted=False)["hasty"]
    assert found.level is Level.WARN
    assert "http://hasty:8000: Connection refused" in found.found
    assert "hasty up" in found.advice


def test_a_proxy_without_a_hasty_behind_it_and_a_stranger_are_told(api):
    api.first = [httpx.Response(503, json={"message": "not now"}), httpx.Response(200, html="<html>")]
    assert "cannot be reached" in look(api)["hasty"].found
    assert list(found := look(api)) == ["hasty"]
    assert "something else" in found["hasty"].found


@pytest.mark.parametrize(
    ("told", "advice"),
    [
        ("mongodb: MongoDB gave no clear answer", "primary"),
        ("registry: this machine's clock is 3 s behind", "time service"),
        ("dispatcher: waits for its workers", "node to run on"),
        ("dispatcher: waits for its office, held by another", "second hasty"),
        ("registry: did not answer within 2 s", "logs"),
    ],
)
def test_what_is_not_ready_is_told_with_what_to_look_at(api, told, advice):
    api.first = [
        httpx.Response(200, json={"message": "ok"}),
        httpx.Response(503, json={"message": f"not ready: {told}"}),
    ]
    found = look(api)["ready"]
    assert (found.level, found.found) == (Level.FAIL, told)
    assert advice in found.advice


def answers_before(api, page, answer):
    """Have one page answered so, and those before it as they are."""
    pages = ["/healthz", "/readyz", "/openapi.json", "/v1/pools"]
    before = [api.answer(httpx.Request("GET", f"http://hasty{each}")) for each in pages[: pages.index(page)]]
    api.first = [*before, answer]


def test_another_surface_is_told(api):
    answers_before(api, "/openapi.json", httpx.Response(200, json={"info": {"version": "2"}}))
    found = look(api)["version"]
    assert (found.level, found.found) == (Level.FAIL, "it speaks /v2, and this is for /v1")
    answers_before(api, "/openapi.json", httpx.Response(401, json={"detail": "no key"}))
    assert look(api)["version"].level is Level.WARN


@pytest.mark.parametrize(
    ("behind_s", "level", "told"),
    [
        (2, Level.OK, "agrees"),
        (90, Level.WARN, "90 s behind this machine"),
        (-90, Level.WARN, "90 s ahead of this machine"),
    ],
)
def test_clocks_that_differ_are_told(api, behind_s, level, told):
    found = look(api, now=NOW + timedelta(seconds=behind_s))["clock"]
    assert found.level is level
    assert told in found.found


def test_answers_without_a_date_say_nothing_of_the_clock(api):
    api.first = [httpx.Response(200, json={"message": "ok"})]
    assert look(api)["clock"].level is Level.WARN


def test_a_key_that_is_missing_wrong_or_not_enough_is_told(api):
    api.key = "right"
    answers_before(api, "/v1/pools", httpx.Response(401, json={"detail": "no key"}))
    missing = look(api)["access"]
    assert (missing.level, missing.found) == (Level.FAIL, "an API key is needed")
    answers_before(api, "/v1/pools", httpx.Response(401, json={"detail": "no key"}))
    assert look(api, key="wrong")["access"].found == "the API key is not accepted"
    answers_before(api, "/v1/pools", httpx.Response(403, json={"detail": "not enough"}))
    assert look(api, key="small")["access"].level is Level.WARN
    api.first = []
    assert look(api, key="right")["access"].found == "the API key is accepted"


def test_a_pool_without_workers_is_told(api):
    api.pools = {"default": a_pool("default", present=1), "gpu": a_pool("gpu", present=0)}
    found = look(api)
    assert found["pool default"].level is Level.WARN
    assert found["pool gpu"].level is Level.FAIL
    assert "node to run on" in found["pool gpu"].advice
