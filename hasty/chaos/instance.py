"""The hasty that is to be broken: a running one, or one of our own in a temporary folder."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from hasty.errors import CannotStart
from hasty.local.folder import DataFolder
from hasty.local.processes import processes_of
from hasty.local.up import down
from hasty.settings import PREFIX, Settings

#: Short jobs and windows: in ten minutes each object's window opens many times.
_HURRIED: Mapping[str, float] = {"rerun_window_s": 10, "sleep_min_s": 1, "sleep_max_s": 5, "timeout_s": 20}

_UP_WITHIN_S = 120.0
_DOWN_WITHIN_S = 60.0
_POLL_S = 0.1

_READY = "is ready on"
_OPERATOR = "hasty.cluster.operator"


class Instance:
    """A hasty that runs on this machine, known by its data folder."""

    def __init__(self, data_dir: Path) -> None:
        """Take note of the folder."""
        self.data_dir = data_dir
        self._folder = DataFolder(data_dir)

    def check(self) -> None:
        """Raise CannotStart unless a `hasty up` has the folder."""
        if not self._folder.record() or self._folder.holder() is None:
            raise CannotStart(f"no `hasty up` has the data folder {self.data_dir}; see its output for why")

    def processes(self) -> list[psutil.Process]:
        """List everything that its `hasty up` started."""
        return processes_of(self._folder.instance())

    def settings(self) -> Settings:
        """Return what it runs with: all of it is in the environment of one of its processes.

        Raises CannotStart where there is none.
        """
        self.check()
        for process in self.processes():
            with suppress(psutil.Error):
                if _OPERATOR in process.cmdline():
                    return Settings.load(process.environ())
        raise CannotStart(f"the hasty with the data folder {self.data_dir} has not started yet")


class PrivateInstance(Instance):
    """A `hasty up` of our own, with short jobs and windows; it can be killed whole and started again."""

    def __init__(self) -> None:
        """Make the folder; nothing is started."""
        super().__init__(Path(tempfile.mkdtemp(prefix="hasty-chaos-")))
        self._options = {**_HURRIED, "data_dir": self.data_dir, "http_port": _free_port()}
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and return when it serves. Raises CannotStart."""
        self._starts += 1
        log = self.data_dir / f"up-{self._starts}.log"
        with log.open("wb") as output:
            self._process = self._spawn(output.fileno())
        deadline = time.monotonic() + _UP_WITHIN_S
        while _READY not in log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotStart(f"hasty did not start; {log} ends with: {log.read_text()[-500:].strip()}")
            await asyncio.sleep(_POLL_S)

    def kill(self) -> None:
        """Kill it with everything it started, the supervisor first."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        while left := self.processes():
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(_POLL_S)

    def stop(self, *, keep: bool) -> None:
        """Stop it, whatever state it is in; leave nothing but the folder, if that is to be kept."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_DOWN_WITHIN_S)
            self._process.kill()
            self._process.wait()
        down(self.data_dir, _DOWN_WITHIN_S, lambda _line: None)
        if not keep:
            shutil.rmtree(self.data_dir)

    def _spawn(self, output: int) -> subprocess.Popen[bytes]:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self._options.items()]
        # Nothing of what is set for another hasty, but where to find mongod.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(PREFIX) or name == "HASTY_MONGOD"
        }
        return subprocess.Popen(
            [sys.executable, "-m", "hasty", "up", "--drain=5", *options],
            env=inherited,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A Ctrl-C in the terminal is for the saboteur.
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
