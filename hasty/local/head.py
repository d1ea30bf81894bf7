"""Start the Ray head node of one local instance, and stop exactly it."""

import contextlib
import os
import re
import resource
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hasty.cluster.environment import WANTED_OPEN_FILES, InstancePorts, instance_environment
from hasty.errors import CannotStart
from hasty.local.ports import HOST, ClaimedPorts
from hasty.local.processes import COOKIE, stop_processes_of

#: A Unix socket's path ends at 107 characters; Ray and HAProxy add up to 75 to the folder.
_LONGEST_RUN_DIR = 32
_PREFIX = "hasty-ray-"

_POLL_S = 0.05
_LOG_LINES = 15
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class HeadPlan:
    """What a head node is started with.

    `instance` is the id in the cookie; Ray's processes carry it as "id/ray". `run_dir` comes from
    `make_run_dir`. Whoever wants to clean up after a crash remembers both. `environment` is what
    Ray's processes inherit. `options` are further ones of `ray start`.
    """

    instance: str
    run_dir: Path
    token_path: Path
    log_path: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    object_store_bytes: int = 200_000_000
    options: Sequence[str] = ()

    @property
    def cookie(self) -> str:
        """What every process of this head carries."""
        return f"{self.instance}/ray"


@dataclass(frozen=True)
class Head:
    """A head node that was launched. It stops with `stop`, not with this process."""

    plan: HeadPlan
    process: subprocess.Popen[bytes]
    #: What a driver puts into `os.environ` before its first `import ray`.
    environment: Mapping[str, str]
    _claimed: ClaimedPorts

    @classmethod
    def launch(cls, plan: HeadPlan) -> Self:
        """Start a head node and return at once; use the time until `wait_until_up`.

        Raises CannotStart when there are no ports or there is no Ray.
        """
        make_token(plan.token_path)
        # One that ran here before left it behind.
        _sign_of_life(plan.run_dir).unlink(missing_ok=True)
        claimed = ClaimedPorts.claim()
        environment = instance_environment(claimed.numbers, plan.run_dir, plan.token_path, _open_files())
        try:
            process = _launch(plan, claimed.numbers, environment)
        except CannotStart:
            claimed.release()
            raise
        _allow_open_files(process.pid)
        return cls(plan, process, environment, claimed)

    @property
    def ports(self) -> InstancePorts:
        """The ports that were chosen for it."""
        return self._claimed.numbers

    @property
    def address(self) -> str:
        """What a driver passes to `ray.init(address=…)`."""
        return f"{HOST}:{self.ports.gcs}"

    @property
    def dashboard_url(self) -> str:
        """Where Ray's dashboard answers; it asks for the token in `plan.token_path`."""
        return f"http://{HOST}:{self.ports.dashboard}"

    def alive(self) -> bool:
        """Tell whether the node still runs; it ends itself when one of Ray's processes dies."""
        return self.process.poll() is None

    def wait_until_up(self, timeout_s: float = 60.0) -> None:
        """Return when drivers can connect.

        Raises CannotStart when that does not happen within `timeout_s`; then nothing is left.
        """
        try:
            self._wait_until_up(timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, grace_s: float = 10.0) -> None:
        """End every process of Ray of this instance, in whatever state; may be called again.

        Ray has `grace_s` to stop by itself, then its processes are killed. Serve should be shut
        down before. The run directory stays: see `remove_run_dir`.
        """
        self.process.terminate()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        stop_processes_of(self.plan.cookie, grace_s=1.0)
        self.process.wait()
        self._claimed.release()

    def _wait_until_up(self, timeout_s: float) -> None:
        up = _sign_of_life(self.plan.run_dir)
        deadline = time.monotonic() + timeout_s
        while not up.exists():
            if not self.alive():
                raise CannotStart(f"Ray ended while it started. {_last_words(self.plan.log_path)}")
            if time.monotonic() > deadline:
                late = f"Ray did not come up within {timeout_s:g} s."
                raise CannotStart(f"{late} {_last_words(self.plan.log_path)}")
            time.sleep(_POLL_S)


def _sign_of_life(run_dir: Path) -> Path:
    """Return the file that Ray writes when everything else is done."""
    return run_dir / "ray" / "ray_current_cluster"


def make_run_dir() -> Path:
    """Make a folder for sockets and sessions that only this user can enter, with a short path.

    Raises CannotStart where no temporary folder can be written.
    """
    parent = tempfile.gettempdir()
    if len(parent) + len(f"/{_PREFIX}12345678") > _LONGEST_RUN_DIR:
        parent = "/tmp"  # noqa: S108  mkdtemp makes a folder of our own in it
    try:
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        raise CannotStart(f"hasty needs a temporary folder it can write to: {error}") from error


def remove_run_dir(run_dir: Path, *, logs_to: Path | None = None) -> None:
    """Remove what `make_run_dir` made; Ray's logs replace the folder `logs_to` if it is given."""
    logs = run_dir / "ray" / "session_latest" / "logs"
    if logs_to and logs.is_dir():
        shutil.rmtree(logs_to, ignore_errors=True)
        # A full disk must not stand in the way of a clean-up.
        with contextlib.suppress(OSError):
            shutil.copytree(logs, logs_to, symlinks=True, ignore_dangling_symlinks=True)
    shutil.rmtree(run_dir, ignore_errors=True)


def make_token(path: Path) -> None:
    """Make sure that `path` holds the secret of the cluster, readable by this user only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))


def without_client_server(params: Any, _is_head: bool) -> None:
    """Leave out the Ray Client server; Ray calls this inside `ray start`.

    Nobody here uses it, it is one more port that runs code, and no option turns it off.
    """
    params.ray_client_server_port = None


def _launch(plan: HeadPlan, ports: InstancePorts, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    inherited = {**plan.environment, **environment, COOKIE: plan.cookie}
    inherited["PYTHONPATH"] = _python_path(plan.environment.get("PYTHONPATH"))
    inherited["RAY_START_HOOK"] = f"{__name__}.{without_client_server.__name__}"
    try:
        plan.log_path.parent.mkdir(parents=True, exist_ok=True)
        with plan.log_path.open("wb") as log:
            return subprocess.Popen(
                _command(plan, ports),
                env=inherited,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the supervisor; it stops Ray in its own order.
                start_new_session=True,
            )
    except OSError as error:
        raise CannotStart(f"cannot run `ray start`; is hasty fully installed? {error}") from error


def _command(plan: HeadPlan, ports: InstancePorts) -> list[str]:
    return [
        str(Path(sys.executable).with_name("ray")),
        *("start", "--head", "--block", "--log-color=false"),
        f"--temp-dir={plan.run_dir / 'ray'}",
        f"--node-ip-address={HOST}",
        f"--port={ports.gcs}",
        f"--dashboard-host={HOST}",
        f"--dashboard-port={ports.dashboard}",
        # 0: Ray binds first and tells the number later. The default ranges are shared by all
        # Ray instances of a machine, which then take each other's ports.
        *("--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"),
        f"--object-store-memory={plan.object_store_bytes}",
        # The autoscaler has nothing to scale here; drivers do not print the workers' output.
        *("--no-monitor", "--include-log-monitor=false"),
        *plan.options,
    ]


def _python_path(inherited: str | None) -> str:
    """Let every process below import the same hasty as this one, also from a source folder."""
    root = str(Path(__file__).resolve().parents[2])
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return os.pathsep.join(part for part in ("" if root in installed else root, inherited) if part)


def _open_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else hard


def _allow_open_files(pid: int) -> None:
    """Raise the limit of a process and of all it starts later.

    A replica holds one file for each connection, a login shell allows 1024, and Ray raises the
    limit only for drivers.
    """
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    if soft not in {hard, resource.RLIM_INFINITY}:
        wanted = max(soft, min(WANTED_OPEN_FILES, _open_files()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, hard))


def _last_words(log_path: Path) -> str:
    text = _COLOUR.sub("", log_path.read_text(errors="replace"))
    lines = [line for line in text.splitlines() if line.strip()][-_LOG_LINES:]
    return "\n".join([f"The end of {log_path}:", *lines])
