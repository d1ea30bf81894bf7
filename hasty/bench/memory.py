"""`python -m hasty.bench.memory`: what each part of hasty takes of the memory as jobs go through it.

Caches fill during the first 50,000 objects; after that nothing may grow.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from hasty.bench.driving import load, wait_until_all_ended
from hasty.bench.systems import whole_hasty
from hasty.local.folder import DataFolder
from hasty.local.processes import processes_of

_CONNECTIONS = 128

#: A share of the jobs is posted within this, on any machine.
_LONGEST_S = 600

#: How an actor's process calls itself, and what else is looked at.
_ACTOR = re.compile(r"ray::(?:ServeReplica:\w+:)?(\w+)")
_OTHERS = {"mongod", "raylet", "gcs_server", "haproxy"}

_MIB = 1024 * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="hasty.bench.memory", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000, help="jobs in all (default: 200000)")
    parser.add_argument("--looks", type=int, default=8, help="how often to look (default: 8)")
    options = parser.parse_args()
    share = options.jobs // options.looks
    seen: list[Counter[str]] = []
    with whole_hasty() as (port, folder):
        for look in range(options.looks):
            load(port, _CONNECTIONS, _LONGEST_S, share)
            wait_until_all_ended(folder)
            seen.append(resident(folder))
            Console().print(f"{(look + 1) * share:,} jobs: {seen[-1].total() / _MIB:,.0f} MiB in all")
    Console().print(table(seen, share))


def resident(folder: Path) -> Counter[str]:
    """Return the bytes of memory that each kind of process has; of several, the sum."""
    taken: Counter[str] = Counter()
    for process in processes_of(DataFolder(folder).instance()):
        name = _kind(process)
        if name is not None:
            taken[name] += process.memory_info().rss
    return taken


def _kind(process: psutil.Process) -> str | None:
    name = process.name()
    if name in _OTHERS:
        return name
    actor = _ACTOR.match(" ".join(process.cmdline()))
    return actor[1] if actor is not None else None


def table(seen: list[Counter[str]], share: int) -> Table:
    """Show a line for each kind of process, a column for each look."""
    shown = Table(title="resident memory in MiB after so many jobs")
    shown.add_column("")
    for look in range(len(seen)):
        shown.add_column(f"{(look + 1) * share:,}", justify="right")
    for name in sorted(seen[0]):
        shown.add_row(name, *(f"{taken[name] / _MIB:,.0f}" for taken in seen))
    return shown


if __name__ == "__main__":
    main()
