"""Every environment variable of Ray and Serve that hasty sets, and why.

Ray reads them where a node starts; workers, replicas and HAProxy inherit them. Setting them
only in a driver that joins a running node changes nothing on that node.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from hasty.cluster.haproxy import BINARY_VARIABLE


@dataclass(frozen=True)
class InstancePorts:
    """The ports of one local instance that must be numbers before anything starts.

    All other ports of Ray are chosen by Ray when it binds them, so nobody can take them between.
    """

    gcs: int
    dashboard: int
    dashboard_metrics: int
    haproxy_stats: int
    haproxy_metrics: int
    fallback_http: int
    fallback_grpc: int
    replicas: range


#: What a node may hold open (`ulimit -Hn`) for HAProxy to take all the connections we want.
WANTED_OPEN_FILES = 65_536


def node_environment(open_files: int = WANTED_OPEN_FILES) -> dict[str, str]:
    """Return what every node of every hasty cluster needs: no port, no path of any machine.

    `open_files` is the node's hard limit (`ulimit -Hn`): HAProxy refuses to start with more
    connections than it allows. The token of the cluster is not in it: each node must find the
    same one by `RAY_AUTH_TOKEN` or `RAY_AUTH_TOKEN_PATH`, else nothing starts.
    """
    return {**_safety(), **_serve(), **_haproxy(open_files), **_node_health()}


def instance_environment(
    ports: InstancePorts, run_dir: Path, token_path: Path, open_files: int = WANTED_OPEN_FILES
) -> dict[str, str]:
    """Return `node_environment` and what lets one machine-local instance live beside others.

    Drivers need it as well, before their first `import ray`: it decides which address is this
    machine's. `run_dir` must be short (see `hasty.local.head.make_run_dir`) and closed to others.
    """
    return {
        **node_environment(open_files),
        **_one_machine(ports, token_path),
        **_own_ports(ports),
        **_own_paths(run_dir / "haproxy"),
        **_own_haproxy(),
        **_quick_stop(),
    }


def _safety() -> dict[str, str]:
    return {
        # Ray's own default depends on how it is started and on leftovers in the home folder.
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _serve() -> dict[str, str]:
    return {
        # Only together: throughput mode alone has every request enter by one Python proxy.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Three failures in a row replace a proxy. By default that takes half a minute, in which a
        # node whose HAProxy has died serves nobody.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "3",
    }


def _haproxy(open_files: int) -> dict[str, str]:
    return {
        # The default, 4 threads, costs context switches where there are fewer cores.
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        # Each client that waits or follows a stream holds a connection.
        "RAY_SERVE_HAPROXY_MAXCONN": str(_connections(open_files)),
        # The default is for ever. Longer than a request waits for an attempt (46 s) and than
        # the pause between two heartbeats of a stream.
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "75",
        # The default, an hour, is how long an answer that its client does not read stays in memory.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "75",
    }


def _node_health() -> dict[str, str]:
    return {
        # The default lets a frozen node go unnoticed for 65 s.
        "RAY_health_check_initial_delay_ms": "2000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_health_check_failure_threshold": "5",
        # The default, 15, starves actors and HAProxy as soon as anything else is busy.
        "RAY_worker_niceness": "0",
    }


def _one_machine(ports: InstancePorts, token_path: Path) -> dict[str, str]:
    return {
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        # An inherited token would win over the file; empty counts as not set.
        "RAY_AUTH_TOKEN": "",
        # For Ray's own commands; an inherited address would lead them to another cluster.
        "RAY_ADDRESS": f"127.0.0.1:{ports.gcs}",
        # Despite its name: "0" makes 127.0.0.1 this machine's address. Without it Ray turns
        # --node-ip-address=127.0.0.1 into the LAN address and listens on all interfaces.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Under `uv run` Ray would upload the working directory and start each worker by uv.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # Ray's process titles overwrite the environment that other processes can read;
        # `hasty.local.processes` finds an instance's processes by it.
        "SPT_NOENV": "1",
    }


def _own_ports(ports: InstancePorts) -> dict[str, str]:
    return {
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas.stop - 1),
    }


def _own_paths(folder: Path) -> dict[str, str]:
    # Serve puts a node id of 56 characters before the last part, and HAProxy a suffix after it;
    # a Unix socket's path ends at 97 for HAProxy. Hence the short names.
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
    }


def _own_haproxy() -> dict[str, str]:
    # It makes HAProxy listen on this machine only and answer as hasty does. Where hasty runs
    # without having been installed there is none, and Serve takes its own.
    program = Path(sys.executable).with_name("hasty-haproxy")
    return {BINARY_VARIABLE: str(program)} if os.access(program, os.X_OK) else {}


def _quick_stop() -> dict[str, str]:
    # The long defaults protect requests on their way while a load balancer learns that a node
    # leaves. Here HAProxy learns it in milliseconds and retries refused connections itself.
    return {
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "0.5",
        # Longer than the system keeps a closed port (60 s): a replica that finds its port still
        # taken makes Serve give that port up for good, and there are 90 of them.
        "RAY_SERVE_PORT_QUARANTINE_S": "70",
    }


def _connections(open_files: int) -> int:
    # Two sockets each, and a pipe (two files) for every fourth; the rest is HAProxy's own.
    return max(100, min(20_000, (open_files - 200) * 2 // 5))
