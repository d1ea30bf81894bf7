"""A `hasty up` as a user runs it, and what a user and a fault injector can do to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from pymongo import MongoClient

from hasty.local.folder import DataFolder
from hasty.local.processes import processes_of

#: Nothing here takes longer on two busy cores.
PATIENCE_S = 60.0

ROOT = Path(__file__).parents[1]
HASTY = str(Path(sys.executable).with_name("hasty"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def short_folder() -> Path:
    """A data folder with a short path: a Unix socket's is limited."""
    return Path(tempfile.mkdtemp(prefix="hasty-"))


def until(happened, what: str, within_s: float = PATIENCE_S):
    """Wait for the thing itself, and return it."""
    deadline = time.monotonic() + within_s
    while not (found := happened()):
        assert time.monotonic() < deadline, f"waited {within_s} s in vain: {what}"
        time.sleep(0.05)  # between two looks; what is waited for is the thing
    return found


class Running:
    """One instance: its process, its data folder, its HTTP port. It is started in `directory`."""

    def __init__(self, data_dir: Path | None = None, directory: Path = ROOT, **settings: object) -> None:
        self.data_dir = data_dir or short_folder()
        self.directory = directory
        self.port = free_port()
        variables = {f"HASTY_{name.upper()}": str(value) for name, value in settings.items()}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HASTY_")},
            **variables,
            "HASTY_DATA_DIR": str(self.data_dir),
            "HASTY_HTTP_PORT": str(self.port),
        }
        self.output: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    # Life ------------------------------------------------------------------------------------

    def start(self, *options: str, command: Sequence[str] = (HASTY, "up")) -> "Running":
        """Start it and return at once."""
        self.process = subprocess.Popen(
            [*command, *options],
            cwd=self.directory,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def wait_until_ready(self) -> "Running":
        return self.wait_until_said("is ready on")

    def wait_until_said(self, words: str) -> "Running":
        """Wait for the next line with these words; those before it are done with."""
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.strip())
            if words in line:
                return self
        raise AssertionError(f"hasty never said {words!r}: {self.output}")

    def up(self, *options: str) -> "Running":
        return self.start(*options).wait_until_ready()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does, and return its exit code."""
        self.signal(number)
        return self.finish()

    def signal(self, number: int) -> None:
        """Signal it as a terminal does: everything in its process group."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def finish(self) -> int:
        """Wait until it is gone; return its exit code."""
        assert self.process is not None and self.process.stdout is not None
        self.output += [line.strip() for line in self.process.stdout]
        return self.process.wait()

    def kill_everything(self) -> None:
        """Kill every process at once, the supervisor first."""
        assert self.process is not None and self.process.stdout is not None
        self.process.kill()
        for process in self.processes():
            process.kill()
        self.process.wait()
        self.process.stdout.close()
        until(lambda: not self.processes(), "the processes to be gone")

    def end(self) -> None:
        """For fixtures: whatever state it is in, leave nothing."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGINT)
            self.signal(signal.SIGINT)
        if self.process is not None and self.process.stdout is not None:
            self.process.communicate()
        subprocess.run([HASTY, "down"], env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def processes(self) -> list[psutil.Process]:
        """Everything it started that lives."""
        return processes_of(DataFolder(self.data_dir).instance())

    def actor(self, title: str) -> psutil.Process:
        """The process of an actor, by the title that Ray gives it."""
        return until(lambda: self.actors(title), f"an actor {title}")[0]

    def actors(self, title: str) -> list[psutil.Process]:
        return [process for process in self.processes() if title in _title(process)]

    def databases(self) -> MongoClient[dict[str, Any]]:
        """Its embedded MongoDB, to look at what really happened; close it."""
        socket = str(self.data_dir / "mongod" / "mongod.sock").replace("/", "%2F")
        return MongoClient(f"mongodb://{socket}/?directConnection=true", tz_aware=True)

    # HTTP ------------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ):
        """Return status, decoded body, headers."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _decoded(answer), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decoded(error), error.headers

    def post(self, object_id: str):
        return self.ask("POST", "/", json.dumps({"object_id": object_id}).encode())

    def submit(self, object_id: str) -> str:
        status, body, _ = self.post(object_id)
        assert status == 201, body
        return body["message"]["job_id"]

    def job(self, job_id: str) -> dict:
        status, body, _ = self.ask("GET", f"/{job_id}")
        assert status == 200, body
        return body["message"]

    def wait_for_end(self, job_id: str, within_s: float = PATIENCE_S) -> dict:
        def ended():
            job = self.job(job_id)
            return job if job["status"] != "processing" else None

        return until(ended, f"job {job_id} to end", within_s)


def _decoded(answer):
    """hasty speaks JSON; while nothing of it is there, HAProxy speaks for itself."""
    body = answer.read()
    return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def leftovers(instance: str, http_port: int) -> list[str]:
    """What is still there of an instance: processes with its cookie, and its port."""
    left = [f"{process.pid} {_title(process)}" for process in processes_of(instance)]
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", http_port)) == 0:
            left.append(f"port {http_port}")
    return left
