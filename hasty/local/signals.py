"""Signals that ask this process to stop: taken for Ctrl-C, or put off until something is done."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: A closed terminal is a wish to stop, too.
_BESIDE_CTRL_C = (signal.SIGTERM, signal.SIGHUP)


def stop_as_by_ctrl_c() -> None:
    """Let whatever asks this process to stop be a KeyboardInterrupt, from now on."""
    for number in _BESIDE_CTRL_C:
        signal.signal(number, signal.default_int_handler)


def surely(stop: Callable[[], None]) -> None:
    """Stop something and let nobody interrupt that: half a stop leaves processes behind.

    `stop` is bounded, and may be called again: another Ctrl-C can fall just before they are ignored.
    """
    while True:
        try:
            with _undisturbed():
                stop()
        except KeyboardInterrupt:
            continue
        return


@contextmanager
def _undisturbed() -> Iterator[None]:
    before: dict[int, Any] = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *_BESIDE_CTRL_C)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
