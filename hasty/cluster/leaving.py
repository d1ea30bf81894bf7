"""Ends streams in time when Serve stops a replica.

Serve waits for what is under way and then, after some seconds, cuts it off; it does not tell the
application. But the replica's own health page, by which HAProxy knows it, says so at once.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable

import psutil
from starlette.types import ASGIApp, Receive, Scope, Send

from hasty.api.hub import Hub

#: How often it is looked, while anybody follows or waits.
_LOOK_S = 0.5

#: So many addresses are looked at.
_ADDRESSES = 4

#: A page that takes longer says nothing.
_ANSWER_S = 2.0

_ASKED = b"GET /-/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

_logger = logging.getLogger("hasty.api")


class Leaving:
    """An application whose hub lets everybody go when its replica is to stop.

    Requests name the address at which they came in. Until HAProxy knows the replica that is a proxy of
    Serve's, which has a page, too, and may die while the replica goes on: it is not looked at.
    """

    def __init__(self, app: ASGIApp, hub: Hub, listens: Callable[[int], bool] | None = None) -> None:
        """Serve `app`; nothing is asked before the first request.

        `listens` tells whether this process listens at a port; by default the system is asked.
        """
        self._app = app
        self._hub = hub
        self._listens = listens or _this_process_listens
        #: Whether the page at an address of this process was well; None: the address is somebody else's.
        self._well: dict[tuple[str, int], bool | None] = {}
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        address = scope.get("server")
        if address and tuple(address) not in self._well and len(self._well) < _ADDRESSES:
            self._well[tuple(address)] = False if self._listens(address[1]) else None
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(self._look(), context=contextvars.Context())
        await self._app(scope, receive, send)

    async def _look(self) -> None:
        """Look until a page that was well is not."""
        while True:
            await asyncio.sleep(_LOOK_S)
            ours = [address for address, was_well in self._well.items() if was_well is not None]
            for address in ours if self._hub.busy else ():
                well = await _is_well(*address)
                if self._well[address] and well is False:
                    _logger.info("this Gateway is being stopped: its streams end")
                    self._hub.end()
                    return
                self._well[address] = well or self._well[address]


def _this_process_listens(port: int) -> bool:
    connections = psutil.Process().net_connections("tcp")
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


async def _is_well(host: str, port: int) -> bool | None:
    """Whether a replica says that it is; None: it says nothing."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_ASKED)
                status = (await reader.readline()).split()[1:2]
            finally:
                writer.close()
    except TimeoutError:
        return None
    except ConnectionRefusedError:
        # It has stopped listening.
        return False
    except OSError:
        return None
    return status == [b"200"] if status else None
