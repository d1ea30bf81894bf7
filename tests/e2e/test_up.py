"""What stands in the way of `hasty up` is told in one line, and nothing is left running."""

import os
import shutil
import socket
import subprocess

import pytest

from hasty.local.folder import DataFolder
from hasty.local.mongod import find_mongod
from tests.running import HASTY, Running, free_port, leftovers, short_folder, until


@pytest.fixture
def folder():
    path = short_folder()
    yield path
    shutil.rmtree(path)


def refused(running: Running, *options: str) -> str:
    """Run `hasty up`, which must refuse; return its complaint."""
    result = subprocess.run(
        [HASTY, "up", *options],
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2, result
    (complaint,) = result.stderr.strip().splitlines()
    assert complaint.startswith("hasty: ")
    assert leftovers(DataFolder(running.data_dir).instance(), running.port) == []
    return complaint


def test_a_taken_port(folder):
    running = Running(folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", running.port))
        taken.listen()
        result = subprocess.run(
            [HASTY, "up"], env=running.environment, capture_output=True, text=True, check=False
        )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert leftovers(DataFolder(folder).instance(), running.port) == []
    assert f"127.0.0.1:{running.port}" in result.stderr
    assert "HASTY_HTTP_PORT" in result.stderr


def test_a_data_folder_in_use(folder):
    holder = DataFolder(folder)
    holder.hold()
    complaint = refused(Running(folder))
    holder.release()
    assert str(folder) in complaint
    assert "in use" in complaint


def test_no_mongod(folder):
    complaint = refused(Running(folder, mongod="/nowhere/mongod"))
    assert "/nowhere/mongod" in complaint


def test_an_unreachable_uri_is_named_without_its_password(folder):
    uri = f"mongodb://joe:secret@127.0.0.1:{free_port()}/?replicaSet=rs0"
    complaint = refused(Running(folder, api_mongo_uri=uri))
    assert "127.0.0.1" in complaint
    assert "secret" not in complaint


def test_a_standalone_mongodb(folder):
    port = free_port()
    mongod = subprocess.Popen(
        [find_mongod(os.environ), f"--dbpath={folder}", f"--port={port}", "--bind_ip=127.0.0.1"],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: listens(port), "mongod to listen")
        complaint = refused(Running(api_mongo_uri=f"mongodb://127.0.0.1:{port}"))
    finally:
        mongod.terminate()
        mongod.wait()
    assert "replica set" in complaint


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_no_key_where_others_could_reach_it(folder):
    complaint = refused(Running(folder, http_host="0.0.0.0"))
    assert f"`hasty keys add NAME --data-dir {folder}`" in complaint
    assert "--no-auth" in complaint


def test_a_wrong_setting_is_named(folder):
    complaint = refused(Running(folder, timeout_s="soon"))
    assert "HASTY_TIMEOUT_S" in complaint


def test_down_with_nothing_up(folder):
    result = subprocess.run(
        [HASTY, "down"], env=Running(folder).environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "hasty is down"


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("shop_nowhere", "there is no module shop_nowhere"),
        ("json.decoder", "json.decoder has no handler"),
        ("antigravity:fly", "HASTY_HANDLERS: "),
    ],
)
def test_handlers_that_cannot_be_used(folder, module, told):
    assert told in refused(Running(folder), f"--handlers={module}")
