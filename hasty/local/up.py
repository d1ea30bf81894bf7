"""`hasty up`: everything on this machine, started in order, looked after, stopped in order."""

import http.client
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from hasty.errors import CannotStart
from hasty.local.folder import DataFolder
from hasty.local.handlers import check, with_working_directory
from hasty.local.head import Head, HeadPlan, make_run_dir, remove_run_dir
from hasty.local.keys import require_a_key
from hasty.local.mongod import Mongod, find_mongod
from hasty.local.operator import Operator
from hasty.local.processes import COOKIE, stop_processes_of
from hasty.local.signals import stop_as_by_ctrl_c, surely
from hasty.settings import Settings
from hasty.store.mongo.server import check_replica_set

Say = Callable[[str], None]

#: From the deployed application to the first served request: actors start, HAProxy learns of them.
_READY_WITHIN_S = 60.0

_POLL_S = 0.05
_LOOK_AFTER_S = 0.5

#: A part that died so often within the time below is not brought back.
_RESTARTS = 5
_RESTARTS_WITHIN_S = 300.0


class Up:
    """One hasty on one machine. `run` returns when it was told to stop and all is gone."""

    def __init__(self, settings: Settings, drain_s: float, say: Say) -> None:
        """Take the settings; nothing is started. `say` gets one line at a time."""
        self._settings = settings
        self._drain_s = drain_s
        self._say = say
        self._folder = DataFolder(settings.data_dir)
        self._instance = ""
        self._run_dir: Path | None = None
        self._mongod: Mongod | None = None
        self._head: Head | None = None
        self._operator: Operator | None = None
        self._port_claim: socket.socket | None = None
        self._serving = False
        self._restarts: list[float] = []
        # Only who names modules wants them found: what lies in a folder can hide what is installed.
        self._environment = with_working_directory(os.environ) if settings.handlers else dict(os.environ)

    @property
    def url(self) -> str:
        """Where it listens, as a client on this machine writes it."""
        return f"http://127.0.0.1:{self._settings.http_port}"

    def run(self) -> None:
        """Start, say so, look after what runs until SIGINT or SIGTERM, drain, stop.

        Raises CannotStart with one line; then nothing is left running.
        """
        stop_as_by_ctrl_c()
        self._folder.hold()
        try:
            self._start()
            self._say(f"hasty is ready on {self.url}")
            self._look_after()
        except KeyboardInterrupt:
            self._drain()
        finally:
            surely(self._stop)

    # Start ------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._instance = self._folder.instance()
        self._check_handlers()
        wanted = self._settings.model_copy(update={"instance": self._instance})
        self._folder.write_deployed(wanted.without_secrets().to_environment())
        self._clean_up_after_predecessor()
        self._port_claim = _claim_port(self._settings.http_host, self._settings.http_port)
        self._find_database()
        self._run_dir = make_run_dir()
        self._folder.write_record(instance=self._instance, run_dir=str(self._run_dir))
        if self._settings.needs_keys:
            self._start_database()
            require_a_key(self._settings, self._jobs_uri())
        # Ray takes longest; what else takes time happens meanwhile.
        self._launch_head()
        self._start_database()
        self._deploy()

    def _check_handlers(self) -> None:
        if self._settings.handlers:
            for line in check(self._settings, self._environment):
                self._say(line)

    def _clean_up_after_predecessor(self) -> None:
        """End what a killed `hasty up` left behind: its processes are known by their cookie."""
        left = self._folder.record().get("run_dir")
        stop_processes_of(self._instance)
        if left is not None:
            remove_run_dir(Path(left), logs_to=self._folder.logs / "ray.killed")

    def _find_database(self) -> None:
        """Look at the MongoDB we were given, or find one to start; starts nothing."""
        if self._settings.api_mongo_uri is None:
            environment = {**os.environ, COOKIE: self._instance}
            self._mongod = Mongod(find_mongod(os.environ), self._folder.path, environment)
        else:
            check_replica_set(self._settings.jobs_uri)
        if self._settings.worker_mongo_uri is not None:
            check_replica_set(self._settings.ledger_uri)

    def _start_database(self) -> None:
        if self._mongod is not None and self._mongod.pid is None:
            self._say("starting MongoDB")
            self._mongod.start()

    def _jobs_uri(self) -> str:
        return self._mongod.uri if self._mongod is not None else self._settings.jobs_uri

    def _launch_head(self) -> None:
        assert self._run_dir is not None
        self._say("starting Ray")
        plan = HeadPlan(
            instance=self._instance,
            run_dir=self._run_dir,
            token_path=self._folder.path / "ray.token",
            log_path=self._folder.logs / "ray.log",
            environment=self._environment,
        )
        self._head = Head.launch(plan)

    def _deploy(self) -> None:
        """Have an operator, and hasty on Ray unless an earlier operator put it there.

        Deploying again would replace the Gateways, also with the same settings.
        """
        assert self._head is not None
        operator = self._replace_operator()
        self._head.wait_until_up()
        if not self._serving:
            self._say(f"starting the actors; Ray's dashboard: {self._head.dashboard_url}")
        while not (operator.join() if self._serving else operator.deploy()):
            # Nothing is wrong with Ray. If it died as well, the next one says so.
            self._count_restart("the process that deploys died")
            operator = self._replace_operator()
        self._wait_until_served()
        self._serving = True
        self._say_how_it_is_reached()

    def _say_how_it_is_reached(self) -> None:
        """Write down what a later `hasty up` with this data folder needs to deploy onto this one."""
        assert self._head is not None
        self._folder.write_record(
            instance=self._instance,
            run_dir=str(self._run_dir),
            driver=dict(self._head.environment),
            embedded=self._mongod is not None,
            import_path=self._environment.get("PYTHONPATH", ""),
            fixed={"http_host": self._settings.http_host, "http_port": self._settings.http_port},
        )

    def _replace_operator(self) -> Operator:
        if self._operator is not None:
            self._operator.stop()
        self._operator = Operator(self._driver_environment(), self._folder.logs / "operator.log")
        return self._operator

    def _driver_environment(self) -> dict[str, str]:
        assert self._head is not None
        secrets = {
            "api_mongo_uri": self._jobs_uri(),
            "worker_mongo_uri": self._settings.worker_mongo_uri,
            "webhook_secret": self._settings.webhook_secret or self._folder.webhook_secret(),
        }
        settings = Settings.load(self._folder.deployed(), secrets)
        return {**self._environment, **self._head.environment, **settings.to_environment()}

    def _wait_until_served(self) -> None:
        """Wait until a request would really be served: all the way through HAProxy to the workers."""
        deadline = time.monotonic() + _READY_WITHIN_S
        problem = _problem(f"{self.url}/readyz")
        while problem is not None:
            if time.monotonic() > deadline:
                raise CannotStart(f"hasty did not become ready within {_READY_WITHIN_S:g} s: {problem}")
            time.sleep(_POLL_S)
            problem = _problem(f"{self.url}/readyz")

    # Run --------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        """Bring back what dies, for ever. Raises CannotStart when that fails again and again."""
        while True:
            time.sleep(_LOOK_AFTER_S)
            try:
                self._mend_database()
                self._mend_cluster()
            except CannotStart as error:
                self._count_restart(str(error))
                # Whatever state it is in, the next look finds no Ray and starts one.
                self._stop_cluster()

    def _mend_database(self) -> None:
        if self._mongod is None:
            return
        self._mongod.trim_log()
        if self._mongod.pid is None:
            self._count_restart("MongoDB died")
            self._mongod.start()

    def _mend_cluster(self) -> None:
        if self._head is not None and self._head.alive() and self._deployed():
            return
        if self._head is not None and not self._head.alive():
            self._count_restart("Ray died")
            self._stop_cluster()
        if self._head is None:
            self._launch_head()
        self._deploy()
        self._say(f"hasty is ready again on {self.url}")

    def _deployed(self) -> bool:
        return self._operator is not None and self._operator.alive()

    def _count_restart(self, what: str) -> None:
        self._say(f"{what}; starting it again")
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < _RESTARTS_WITHIN_S] + [now]
        if len(self._restarts) > _RESTARTS:
            raise CannotStart(f"{what}, again and again: see {self._folder.logs}")

    # Stop -------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Let running jobs end. A second Ctrl-C cuts it short: what runs starts again next time."""
        if self._operator is None or not self._serving:
            return
        self._say("stopping: no new jobs; Ctrl-C again to stop at once")
        try:
            left = self._operator.drain(self._drain_s, self._tell_running)
        except KeyboardInterrupt:
            self._say("stopping at once")
        else:
            if left:
                self._say(f"{left} jobs still ran; they start again with the next `hasty up`")

    def _tell_running(self, running: int) -> None:
        if running:
            self._say(f"waiting for {running} running jobs")

    def _stop(self) -> None:
        self._stop_cluster()
        if self._mongod is not None:
            self._mongod.stop()
        if self._instance:
            stop_processes_of(self._instance)
        if self._run_dir is not None:
            remove_run_dir(self._run_dir, logs_to=self._folder.logs / "ray")
        if self._port_claim is not None:
            self._port_claim.close()
        self._folder.remove_record()
        self._folder.release()

    def _stop_cluster(self) -> None:
        self._serving = False
        if self._operator is not None:
            self._operator.stop()
            self._operator = None
        if self._head is not None:
            self._head.stop()
            self._head = None


def down(data_dir: Path, within_s: float, say: Say) -> bool:
    """Stop the hasty that holds a data folder, and wait until all of it is gone.

    Also cleans up after one that was killed. Returns False when it is still there after `within_s`.
    Raises CannotStart when the folder cannot be used.
    """
    folder = DataFolder(data_dir)
    if not folder.try_hold():
        deadline = time.monotonic() + within_s
        told = False
        while not folder.try_hold():
            if time.monotonic() > deadline:
                return False
            holder = folder.holder()
            if holder is not None and not told:
                say(f"stopping hasty (pid {holder.pid})")
                holder.terminate()
                told = True
            time.sleep(_POLL_S)
    try:
        _clean_up_after_a_killed_one(folder, say)
    finally:
        folder.release()
    say("hasty is down")
    return True


def _clean_up_after_a_killed_one(folder: DataFolder, say: Say) -> None:
    record = folder.record()
    if not record:
        return
    say("cleaning up after a hasty that was killed")
    stop_processes_of(record["instance"])
    # `hasty keys` has none.
    if "run_dir" in record:
        remove_run_dir(Path(record["run_dir"]))
    folder.remove_record()


def _claim_port(host: str, port: int) -> socket.socket:
    """Make sure that the port is free, and keep other instances off it until HAProxy has it.

    The claim is a name in the kernel, held as long as the returned socket and this process live.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0hasty-http-{port}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        claim.close()
        raise CannotStart(
            f"cannot listen on {host}:{port} ({error.strerror}): "
            "stop what listens there, or set HASTY_HTTP_PORT"
        ) from error
    return claim


def _problem(url: str) -> str | None:
    """Return why the service is not ready, None when it is."""
    try:
        # Never by a proxy: it is this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=3):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return error.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error)


def tell(line: str) -> None:
    """Say a line to whoever started us; an unread terminal must not stop the stop."""
    try:
        print(line, flush=True)  # noqa: T201  the command line's voice
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  for the rest of the process
