"""`python -m hasty.handlers`: say which handlers the `HASTY_*` variables name, or what is wrong with them.

A process of its own, because importing a user's module may do anything to the one that does.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from hasty.errors import CannotStart
from hasty.handlers.catalogue import Handler, Handlers
from hasty.handlers.loading import load
from hasty.job import Window
from hasty.pools import DEFAULT_POOL
from hasty.settings import Settings


def main() -> int:
    """Print a line for each handler, and their version; or one line on stderr, with code 2."""
    try:
        # Not in the main thread, and without an event loop, as the Clerk loads them: what cannot be
        # imported so is better told before anything starts.
        with ThreadPoolExecutor(1) as elsewhere:
            handlers = elsewhere.submit(load, Settings.load(os.environ)).result()
    except CannotStart as error:
        print(error, file=sys.stderr)  # noqa: T201  read by whoever started us
        return 2
    for line in _lines(handlers):
        print(line)  # noqa: T201  the same
    return 0


def _lines(handlers: Handlers) -> Iterator[str]:
    for handler in handlers.values():
        yield f"handler {handler.name}: {_limits(handler)}"
    yield f"version of the handlers: {handlers.version}"


def _limits(handler: Handler) -> str:
    """Tell what is true of each handler, and of the rest what is not as usual."""
    told = [
        f"timeout {handler.timeout_s:g} s",
        f"rerun window {handler.window.seconds:g} s{_window(handler)}",
        f"given up after {handler.max_crashes} crashes",
    ]
    if handler.retry.retries:
        told.append(f"{handler.retry.retries} retries")
    if handler.pool != DEFAULT_POOL:
        told.append(f"pool {handler.pool}")
    return ", ".join(told)


def _window(handler: Handler) -> str:
    counted = " from its end" if handler.window.from_end else ""
    if len(handler.window.after) == len(Window(0).after):
        return counted
    return (
        f"{counted} after {' or '.join(handler.window.after)}" if handler.window.after else " until its end"
    )


if __name__ == "__main__":
    sys.exit(main())
