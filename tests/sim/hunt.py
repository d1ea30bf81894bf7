"""Runs many schedules in two processes: `python -m tests.sim.hunt N SEED`, or `make sim N=20000`."""

import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator

from tests.sim.chaos import run

#: Schedules that a process is handed at once.
_AT_ONCE = 25

_PROCESSES = 2


def failures(first: int, count: int) -> Iterator[str]:
    """Yield, for each batch of schedules, how it failed; empty where it did not."""
    firsts = range(first, first + count, _AT_ONCE)
    batches = [(seed, min(_AT_ONCE, first + count - seed)) for seed in firsts]
    # Spawned: a fork would take along whatever threads and sockets other tests have.
    with multiprocessing.get_context("spawn").Pool(_PROCESSES, initializer=_quiet) as pool:
        yield from pool.imap_unordered(_batch, batches)


def _quiet() -> None:
    """What the actors say of all that goes wrong here is in the journal."""
    logging.disable(logging.CRITICAL)


def _batch(batch: tuple[int, int]) -> str:
    """Run some schedules up to the first that fails; tell of that one."""
    first, count = batch
    for seed in range(first, first + count):
        try:
            run(seed)
        except Exception as error:  # noqa: BLE001  the observer is told
            notes = "\n".join(getattr(error, "__notes__", ()))
            return f"seed {seed}: {type(error).__name__}: {error}\n{notes}"
    return ""


def main(count: int, first: int) -> int:
    """Hunt, and show how it goes."""
    began, done = time.monotonic(), 0
    for failure in failures(first, count):
        done = min(done + _AT_ONCE, count)
        if failure:
            sys.stdout.write(f"\n{failure}\n")
            return 1
        each_ms = 1_000 * (time.monotonic() - began) / done
        sys.stdout.write(f"\r{done:,} of {count:,} schedules, {each_ms:.0f} ms each ")
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
