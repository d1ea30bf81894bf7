"""`hasty keys` on a real mongod: one that is named, that of a hasty that runs, and one of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hasty.local.keys
from hasty.cli import app
from hasty.errors import CannotStart, StoreUnavailable
from hasty.keys import MOST_SECRETS
from hasty.local.folder import DataFolder
from hasty.local.keys import ask, require_a_key
from hasty.local.mongod import Mongod, find_mongod
from hasty.local.processes import processes_of
from hasty.local.up import down
from hasty.settings import Settings
from hasty.store.mongo import MongoKeys

#: Nothing here takes longer on busy cores.
PATIENCE_S = 60.0

KEY = re.compile(r"hasty_[a-z0-9]{10}_[A-Za-z0-9]{32}")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in list(os.environ):
        if name.startswith("HASTY_") and name != "HASTY_MONGOD":
            monkeypatch.delenv(name)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def named(mongo_uri, monkeypatch):
    """The MongoDB is named by a variable; afterwards it knows no key."""
    monkeypatch.setenv("HASTY_API_MONGO_URI", mongo_uri)
    yield mongo_uri

    async def forget(keys, _now):
        await keys._keys.drop()

    ask(mongo_uri, forget)


@pytest.fixture
def folder(monkeypatch):
    """A data folder for itself, with nothing in it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="hasty-", dir=memory))
    monkeypatch.setenv("HASTY_DATA_DIR", str(path))
    yield DataFolder(path)
    assert down(path, PATIENCE_S, print)
    assert processes_of(DataFolder(path).instance()) == []
    shutil.rmtree(path)


def run(*arguments: str, code: int = 0):
    result = CliRunner().invoke(app, ["keys", *arguments])
    assert result.exit_code == code, result.output
    return result


def add(*arguments: str) -> str:
    """Add a key; return what is on standard output."""
    (line,) = run("add", *arguments).stdout.splitlines()
    assert KEY.fullmatch(line)
    return line


def listed(*arguments: str) -> list[dict]:
    return [json.loads(line) for line in run("list", "--json", *arguments).stdout.splitlines()]


def complaint(*arguments: str) -> str:
    """Run what is refused; return the one line that says why."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


# What is said ---------------------------------------------------------------------------------


def test_a_key_alone_is_on_standard_output_and_only_once(named):
    text = add("ci")
    shown = run("list").output + run("list", "--json").output + run("list", "--all").output
    assert "ci" in shown and text.split("_")[1] in shown
    assert text.rpartition("_")[2] not in shown


def test_what_a_key_may_and_until_when_is_as_it_was_said(named):
    add("plain")
    add("full", "--scope", "admin", "--scope", "read,write", "--expires", "90d", "--rate", "0.5")
    full, plain = listed()
    assert (plain["scopes"], plain["expires_at"], plain["rate"]) == (["read", "write"], None, None)
    assert (full["name"], full["scopes"], full["rate"]) == ("full", ["admin", "read", "write"], 0.5)
    created, expires = (datetime.fromisoformat(full[name]) for name in ("created_at", "expires_at"))
    assert expires - created == timedelta(days=90)
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    for line in run("list").stdout.splitlines()[1:]:
        assert line.split()[0] in {"full", "plain"}


def test_for_programs_all_of_it_is_one_line_of_json(named):
    added = json.loads(run("add", "ci", "--json").stdout)
    assert KEY.fullmatch(added["key"]) and added["key"].split("_")[1] == added["id"]
    rotated = json.loads(run("rotate", "ci", "--json").stdout)
    assert (rotated["id"], rotated["secrets"]) == (added["id"], 2) and rotated["key"] != added["key"]
    assert "key" not in json.loads(run("revoke", "ci", "--json").stdout)
    assert listed() == [] and listed("--all")[0]["state"] == "revoked"


def test_a_name_can_be_had_again_once_its_key_is_revoked(named):
    first = add("ci")
    assert complaint("add", "ci") == "hasty: there is a key ci already: rotate it, or revoke it first"
    run("revoke", "ci")
    assert complaint("revoke", "ci").startswith("hasty: there is no key ci, or it has ended")
    assert add("ci") != first
    assert [key["state"] for key in listed("--all")] == ["live", "revoked"]


def test_a_key_is_rotated_and_the_old_secret_is_good_meanwhile(named):
    old = add("ci")
    new = run("rotate", "ci").stdout.strip()
    assert KEY.fullmatch(new) and new.split("_")[1] == old.split("_")[1] and new != old
    assert listed()[0]["secrets"] == 2
    run("rotate", "ci", "--overlap", "0")
    assert listed()[0]["secrets"] == 1
    assert complaint("rotate", "nobody").startswith("hasty: there is no key nobody")


def test_a_key_has_so_many_secrets_and_no_more(named):
    add("ci")
    for _ in range(MOST_SECRETS - 1):
        run("rotate", "ci")
    assert listed()[0]["secrets"] == MOST_SECRETS
    assert "--overlap 0" in complaint("rotate", "ci")
    assert listed()[0]["secrets"] == MOST_SECRETS


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "two words"),
        ("add", ""),
        ("add", "ci", "--scope", "everything"),
        ("add", "ci", "--scope", ""),
        ("add", "ci", "--expires", "soon"),
        ("add", "ci", "--expires", "999999999999d"),
        ("rotate", "ci", "--overlap", "-1"),
    ],
)
def test_what_cannot_be_is_told_before_any_database_is_asked(arguments, monkeypatch):
    monkeypatch.setenv("HASTY_API_MONGO_URI", "mongodb://127.0.0.1:1/")
    assert "MongoDB" not in complaint(*arguments)


def test_where_it_is_not_known_whether_a_key_was_kept_none_is_shown(named, monkeypatch):
    class Unclear(MongoKeys):
        async def add(self, key, now):
            await super().add(key, now)
            raise StoreUnavailable

    monkeypatch.setattr(hasty.local.keys, "MongoKeys", Unclear)
    result = run("add", "ci", code=5)
    assert not KEY.search(result.output)


# Without a hasty that runs --------------------------------------------------------------------


def test_where_none_runs_mongodb_runs_meanwhile(folder):
    add("ci", "--data-dir", str(folder.path))
    assert processes_of(folder.instance()) == []
    assert folder.record() == {}
    assert folder.try_hold()
    folder.release()
    assert [key["name"] for key in listed()] == ["ci"]


def test_where_nothing_is_nothing_is_made_but_by_adding(folder):
    for arguments in (["list"], ["revoke", "ci"], ["rotate", "ci"]):
        assert f"no hasty has been in the data folder {folder.path}" in complaint(*arguments)
    assert list(folder.path.iterdir()) == []


#: Begins as the command does, and then waits for a signal in the middle of it.
WAITING = """
import signal
import hasty.local.keys
from hasty.cli import app

def wait(uri, question):
    print("asking", flush=True)
    signal.pause()

hasty.local.keys.ask = wait
app(["keys", "add", "ci"])
"""


@pytest.fixture
def waiting(folder):
    with begun([sys.executable, "-c", WAITING], text=True) as process:
        assert process.stdout.readline() == "asking\n"
        assert mongod_of(folder).serves
        yield process


@contextmanager
def begun(command, **options):
    """Run it; whatever becomes of the test, it ends."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def mongod_of(folder: DataFolder) -> Mongod:
    return Mongod(find_mongod(os.environ), folder.path, os.environ)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_asks_it_to_stop_mongodb_is_stopped_with_it(waiting, folder, number):
    waiting.send_signal(number)
    assert waiting.wait(PATIENCE_S) == 130
    assert not mongod_of(folder).serves and processes_of(folder.instance()) == []
    assert '"exitCode":0' in (folder.logs / "mongod.log").read_text(), "it was stopped, and not killed"
    assert folder.record() == {}


def test_down_stops_it_as_well(waiting, folder):
    assert down(folder.path, PATIENCE_S, print)
    assert waiting.wait(PATIENCE_S) == 130
    assert processes_of(folder.instance()) == []


def test_what_a_killed_one_left_behind_is_used_and_then_cleaned_up(waiting, folder):
    waiting.kill()
    waiting.wait()
    (left,) = processes_of(folder.instance())
    add("ci")
    assert [key["name"] for key in listed()] == ["ci"]
    assert processes_of(folder.instance()) == [left], "who did not start it does not stop it"
    assert down(folder.path, PATIENCE_S, print)
    assert processes_of(folder.instance()) == []


def test_two_at_the_same_time_wait_for_each_other(folder):
    command = [sys.executable, "-m", "hasty", "keys", "add", "ci"]
    with begun(command, stderr=subprocess.PIPE) as one, begun(command, stderr=subprocess.PIPE) as other:
        both = one, other
        said = [process.communicate(timeout=100) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    assert sum(out != b"" for out, _ in said) == 1
    assert any(b"there is a key ci already" in told for _, told in said)


def test_of_a_hasty_that_was_killed_stays_what_is_to_be_cleaned_up(folder):
    run_dir = Path(tempfile.mkdtemp(prefix="hasty-ray-"))
    folder.path.joinpath("logs").mkdir()
    folder.write_record(instance=folder.instance(), run_dir=str(run_dir), driver={}, embedded=True)
    add("ci")
    assert folder.record() == {"instance": folder.instance(), "run_dir": str(run_dir)}
    assert down(folder.path, PATIENCE_S, print)
    assert not run_dir.exists()


# Beside a hasty that runs ---------------------------------------------------------------------


@pytest.fixture
def holder(folder):
    """A hasty is said to hold the folder."""
    folder.hold()
    (folder.path / "mongod").mkdir(mode=0o700)
    yield folder
    folder.release()
    folder.remove_record()


def test_where_one_runs_its_mongodb_is_asked_and_goes_on(holder):
    mongod = mongod_of(holder)
    mongod.start()
    try:
        holder.write_record(instance=holder.instance(), run_dir="nowhere", driver={}, embedded=True)
        pid = mongod.pid
        add("ci")
        assert [key["name"] for key in listed()] == ["ci"]
        assert mongod.pid == pid and mongod.serves
        assert holder.record()["embedded"]
    finally:
        mongod.stop()


def test_where_one_runs_on_another_mongodb_that_must_be_named(holder):
    holder.write_record(instance=holder.instance(), run_dir="nowhere", driver={}, embedded=False)
    assert "HASTY_API_MONGO_URI" in complaint("list")


def test_who_is_still_starting_is_waited_for_but_not_for_ever(holder, monkeypatch):
    monkeypatch.setattr(hasty.local.keys, "_PATIENCE_S", 0.2)
    holder.write_record(instance=holder.instance(), run_dir="nowhere")
    assert f"the data folder {holder.path} is in use" in complaint("list")


# Whether a hasty may start --------------------------------------------------------------------


def wants(uri: str, **said) -> str | None:
    """Return why a hasty with these settings may not start."""
    try:
        require_a_key(Settings.load({}, said), uri)
    except CannotStart as refused:
        return str(refused)
    return None


def test_whoever_others_can_reach_does_not_start_without_a_live_key(named):
    told = wants(named, http_host="0.0.0.0", api_mongo_uri=named)
    assert told is not None and "\n" not in told
    assert "`hasty keys add NAME`" in told and "--no-auth" in told
    add("ci")
    assert wants(named, http_host="0.0.0.0", api_mongo_uri=named) is None
    run("revoke", "ci")
    assert wants(named, http_host="0.0.0.0", api_mongo_uri=named) is not None


def test_what_is_to_be_run_names_the_data_folder_that_was_named(named):
    told = wants(named, http_host="0.0.0.0", data_dir="/a folder/of mine")
    assert told is not None and "`hasty keys add NAME --data-dir '/a folder/of mine'`" in told


def test_who_needs_no_key_starts_and_mongodb_is_not_asked():
    assert wants("mongodb://127.0.0.1:1/") is None
    assert wants("mongodb://127.0.0.1:1/", http_host="0.0.0.0", auth=False) is None


def test_who_wants_keys_on_this_machine_alone_needs_one_as_well(named):
    assert wants(named, auth=True) is not None
    add("ci")
    assert wants(named, auth=True) is None
