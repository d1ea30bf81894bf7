"""Ports for one local instance, so that several live side by side on a machine."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from hasty.cluster.environment import InstancePorts
from hasty.errors import CannotStart

#: Everything of a local instance is reached at this address.
HOST = "127.0.0.1"

#: Where Ray's dashboard is expected; the first instance of a machine gets it.
DASHBOARD_PORT = 8265

#: Ports are taken in blocks from here, below those that the system gives to outgoing connections.
FIRST_PORT = 30_000
LAST_PORT = 32_767
_BLOCK = 100
_FIXED = 10


@dataclass(frozen=True)
class ClaimedPorts:
    """A block of ports that no other hasty of this machine takes until it is released."""

    numbers: InstancePorts
    _held: Sequence[socket.socket]

    @classmethod
    def claim(cls) -> Self:
        """Find a free block. Raises CannotStart when there is none."""
        for first in range(FIRST_PORT, LAST_PORT - _BLOCK, _BLOCK):
            # Whoever listens on the first port of a block owns it: no race between two that start.
            lock = _listen(HOST, first)
            # Replicas skip a port that is in use; the others cannot.
            if lock and all(_free(port) for port in range(first + 1, first + _FIXED)):
                return cls._share_out(first, lock)
            if lock:
                lock.close()
        raise CannotStart(f"no {_BLOCK} free ports in a row between {FIRST_PORT} and {LAST_PORT}")

    @classmethod
    def _share_out(cls, first: int, lock: socket.socket) -> Self:
        # The same for the dashboard's port, with a port that stands for it.
        known = _listen(HOST, LAST_PORT)
        numbers = InstancePorts(
            gcs=first + 1,
            dashboard=DASHBOARD_PORT if known and _free(DASHBOARD_PORT) else first + 2,
            dashboard_metrics=first + 3,
            haproxy_stats=first + 4,
            haproxy_metrics=first + 5,
            fallback_http=first + 6,
            fallback_grpc=first + 7,
            replicas=range(first + _FIXED, first + _BLOCK),
        )
        return cls(numbers, [lock, known] if known else [lock])

    def release(self) -> None:
        """Let others have the ports; may be called again."""
        for held in self._held:
            held.close()


def _free(port: int) -> bool:
    # Without `hasty-haproxy`, HAProxy binds its own ports on all interfaces.
    probe = _listen("", port)
    if probe:
        probe.close()
    return probe is not None


def _listen(host: str, port: int) -> socket.socket | None:
    attempt = socket.socket()
    attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        attempt.bind((host, port))
        attempt.listen()
    except OSError:
        attempt.close()
        return None
    return attempt
