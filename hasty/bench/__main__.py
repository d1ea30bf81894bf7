"""`python -m hasty.bench`: a bare Serve echo, then hasty, and one table with ratios."""

import argparse
import json
import os
import socket
import time
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from hasty.bench.driving import LOOK_S, load, wait_until_all_ended
from hasty.bench.load import Load
from hasty.bench.systems import bare_echo, whole_hasty

#: Single jobs sent one after the other, to see how long one takes when nothing else goes on.
_IDLE_JOBS = 200


class Measured(NamedTuple):
    """What was seen of one system. Times are in seconds, rates in one second."""

    busy: Load
    alone: Load
    #: Accepted jobs over the time from the first request to the last end.
    end_to_end: float | None = None
    idle_s: tuple[float, ...] = ()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="hasty.bench", description=__doc__)
    parser.add_argument("--connections", type=int, default=128, help="clients at once (default: 128)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each load (default: 10)")
    options = parser.parse_args()
    console = Console()
    console.print(f"measuring a bare Serve echo, {options.connections} connections")
    echo = measure_echo(options.connections, options.seconds)
    console.print("measuring hasty")
    hasty = measure_hasty(options.connections, options.seconds)
    console.print(table(echo, hasty, options.connections))


def measure_echo(connections: int, seconds: float) -> Measured:
    """Measure the bare application."""
    with bare_echo() as port:
        load(port, connections, 2)
        return Measured(load(port, connections, seconds), load(port, 1, seconds / 2))


def measure_hasty(connections: int, seconds: float) -> Measured:
    """Measure hasty: how fast it accepts, how fast it finishes, how long one job takes."""
    with whole_hasty() as (port, folder):
        load(port, connections, 2)
        wait_until_all_ended(folder)
        started = time.perf_counter()
        busy = load(port, connections, seconds)
        wait_until_all_ended(folder)
        end_to_end = busy.statuses.get("201", 0) / (time.perf_counter() - started)
        idle = tuple(sorted(one_job(port, number) for number in range(_IDLE_JOBS)))
        return Measured(busy, load(port, 1, seconds / 2), end_to_end, idle)


def one_job(port: int, number: int) -> float:
    """Submit a job and watch it until it is finished; return how long that took, in seconds."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        started = time.perf_counter()
        job_id = ask(client, "POST", "/", json.dumps({"object_id": f"idle-{number}"}))["job_id"]
        while ask(client, "GET", f"/{job_id}")["status"] != "finished":
            time.sleep(LOOK_S)
        return time.perf_counter() - started


def ask(client: socket.socket, method: str, path: str, body: str = "") -> dict[str, str]:
    """Return the message of the answer. On a bare socket, because a client's own work counts too."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall((head + body).encode())
    answer = b""
    while not answer.endswith(b"}"):
        answer += client.recv(65_536)
    message: dict[str, str] = json.loads(answer.partition(b"\r\n\r\n")[2])["message"]
    return message


def table(echo: Measured, hasty: Measured, connections: int) -> Table:
    """Show both side by side, and hasty as a share of the bare application."""
    shown = Table(title=f"{os.cpu_count()} cores, {connections} connections, no-op handler")
    for name in ("", "bare echo", "hasty", "hasty / echo"):
        shown.add_column(name, justify="left" if not name else "right")

    def row(name: str, bare: float | None, ours: float, unit: str) -> None:
        ratio = f"{ours / bare:.0%}" if bare else ""
        shown.add_row(name, f"{bare:,.1f} {unit}" if bare else "", f"{ours:,.1f} {unit}", ratio)

    row("accepted (201)", echo.busy.rate, hasty.busy.statuses.get("201", 0) / hasty.busy.seconds, "/s")
    row("end to end", echo.busy.rate, hasty.end_to_end or 0, "/s")
    row("POST p50", 1e3 * echo.busy.p50_s, 1e3 * hasty.busy.p50_s, "ms")
    row("POST p99", 1e3 * echo.busy.p99_s, 1e3 * hasty.busy.p99_s, "ms")
    row("POST p50, 1 connection", 1e3 * echo.alone.p50_s, 1e3 * hasty.alone.p50_s, "ms")
    row("idle submit to finished p50", None, 1e3 * _percentile(hasty.idle_s, 50), "ms")
    row("idle submit to finished p95", None, 1e3 * _percentile(hasty.idle_s, 95), "ms")
    row("CPU of the load generator", echo.busy.cpu_s, hasty.busy.cpu_s, "s")
    return shown


def _percentile(ordered: tuple[float, ...], percent: int) -> float:
    return ordered[len(ordered) * percent // 100]


if __name__ == "__main__":
    main()
