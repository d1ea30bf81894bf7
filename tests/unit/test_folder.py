"""Who holds a data folder, and whose processes are whose: mistakes here would hit others."""

import errno
import os
import socket
from pathlib import Path

import psutil
import pytest

from hasty.errors import CannotStart
from hasty.local.folder import DataFolder
from hasty.local.processes import processes_of
from hasty.local.up import _claim_port, down
from tests.unit.typing_commands import hasty


@pytest.fixture
def folder(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.hold()
    yield folder
    folder.release()


def test_the_holder_of_a_folder_is_known(folder):
    assert DataFolder(folder.path).holder() == psutil.Process()


def test_the_holder_is_known_also_when_the_clock_was_set_meanwhile(folder, monkeypatch):
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 0.0)
    assert DataFolder(folder.path).holder() == psutil.Process()


def test_a_second_one_is_refused(folder):
    with pytest.raises(CannotStart, match="in use"):
        DataFolder(folder.path).hold()


@pytest.mark.parametrize(
    "said", ["", "0", f"{os.getpid()}", f"{os.getpid()} 15", "1 -1", f"{2**22} 1", "not a number"]
)
def test_a_holder_that_did_not_say_who_it_is_or_is_gone_is_nobody(folder, said):
    (folder.path / "lock").write_text(said)
    assert DataFolder(folder.path).holder() is None


def test_down_signals_nobody_while_it_is_not_known_who_holds_the_folder(folder):
    (folder.path / "lock").write_text("")
    lines = []
    assert not down(folder.path, 0.2, lines.append)
    assert lines == []


def test_an_id_that_was_not_written_whole_is_written_again(folder):
    (folder.path / "instance").write_text("")
    instance = folder.instance()
    assert len(instance) == 32
    assert DataFolder(folder.path).instance() == instance


def test_nobodys_id_is_nobodys():
    with pytest.raises(ValueError, match="everybody"):
        processes_of("")


def test_a_port_is_claimed_by_one_instance_before_it_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with _claim_port("127.0.0.1", port), pytest.raises(CannotStart, match=f":{port}"):
        _claim_port("127.0.0.1", port)
    _claim_port("127.0.0.1", port).close()


# A folder that cannot be used --------------------------------------------------------------------


def shut(monkeypatch, folder, *names):
    """Let the system refuse what lies in this folder: root would not be."""
    for name in names:
        real = getattr(Path, name)

        def refusing(path, *args, real=real, **how):
            if folder in path.parents:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *args, **how)

        monkeypatch.setattr(Path, name, refusing)


def test_down_says_that_a_folder_is_shut(tmp_path, monkeypatch):
    shut(monkeypatch, tmp_path, "open", "is_dir", "stat", "exists")
    with pytest.raises(CannotStart, match=f"^cannot use the data folder {tmp_path}: Permission denied$"):
        down(tmp_path, 1, lambda _line: None)


def test_down_says_that_a_folder_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(CannotStart, match=f"^cannot use the data folder {path}: Not a directory$"):
            down(path, 1, lambda _line: None)


def test_down_says_that_what_is_written_there_cannot_be_read(tmp_path, monkeypatch):
    shut(monkeypatch, tmp_path, "read_text")
    with pytest.raises(CannotStart, match="Permission denied"):
        down(tmp_path, 1, lambda _line: None)


def test_where_nothing_is_there_is_nothing_to_stop(tmp_path):
    lines = []
    assert down(tmp_path / "new" / "data", 1, lines.append)
    assert (lines, list(tmp_path.iterdir())) == (["hasty is down"], [])


@pytest.mark.parametrize("words", [["list"], ["revoke", "ci"], ["rotate", "ci"], ["add", "ci"]])
def test_keys_are_not_looked_for_in_a_folder_that_is_shut_or_a_file(tmp_path, monkeypatch, words):
    (tmp_path / "file").touch()
    said = hasty("keys", *words, "--data-dir", str(tmp_path / "file"))
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    shut(monkeypatch, tmp_path, "is_dir", "open", "mkdir")
    said = hasty("keys", *words, "--data-dir", str(tmp_path))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("hasty: cannot ")
    assert said.err.endswith(": Permission denied\n")
