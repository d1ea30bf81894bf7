"""The two systems that are measured, each started from nothing and stopped again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hasty.errors import CannotStart
from hasty.local.head import Head, HeadPlan, make_run_dir, remove_run_dir
from hasty.local.operator import Operator
from hasty.settings import Settings

_POLL_S = 0.05
_UP_WITHIN_S = 60.0


@contextmanager
def bare_echo() -> Iterator[int]:
    """Run a bare Serve application on a Ray of its own; yield its port."""
    folder = _folder()
    settings = Settings.load({}, {"http_port": _free_port(), "data_dir": folder})
    run_dir = make_run_dir()
    head = Head.launch(HeadPlan(uuid.uuid4().hex, run_dir, folder / "token", folder / "ray.log"))
    environment = {**os.environ, **head.environment, **settings.to_environment()}
    operator = Operator(environment, folder / "operator.log", "hasty.cluster.echo")
    try:
        head.wait_until_up()
        if not operator.deploy():
            raise CannotStart(f"the echo could not be deployed: see {folder / 'operator.log'}")
        _wait_until_answered(settings.http_port)
        yield settings.http_port
    finally:
        operator.stop()
        head.stop()
        remove_run_dir(run_dir)
        shutil.rmtree(folder)


@contextmanager
def whole_hasty() -> Iterator[tuple[int, Path]]:
    """Run `hasty up` with a handler that does nothing; yield its port and data folder."""
    folder, port = _folder(), _free_port()
    others = {name: value for name, value in os.environ.items() if not name.startswith("HASTY_")}
    options = [f"--data-dir={folder}", f"--http-port={port}", "--sleep-min-s=0", "--sleep-max-s=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hasty", "up", *options], stdout=subprocess.PIPE, text=True, env=others
    )
    try:
        assert process.stdout is not None
        if not any("is ready on" in line for line in process.stdout):
            raise CannotStart("hasty did not start")
        yield port, folder
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
        shutil.rmtree(folder)


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="hasty-bench-"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_answered(port: int) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=b"x", timeout=2):
                return
        except OSError:
            time.sleep(_POLL_S)
    raise CannotStart("the echo does not answer")
