"""Ends streams in time when Serve stops a replica.

Serve waits for what is under way and then, after some seconds, cuts it off; it does not tell the
application. But the replica's own health page, by which HAProxy knows it, says so at once.
"""

import asyncio
import contextvars
import logging

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

    Requests name the address at which they came in. Until HAProxy knows the replica it is that of a
    proxy of Serve's, which has a page, too; so all are looked at.
    """

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        """Serve `app`; nothing is asked before the first request."""
        self._app = app
        self._hub = hub
        #: Whether the page at an address was well.
        self._well: dict[tuple[str, int], bool] = {}
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        address = scope.get("server")
        if address and len(self._well) < _ADDRESSES:
            self._well.setdefault(tuple(address), False)
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(self._look(), context=contextvars.Context())
        await self._app(scope, receive, send)

    async def _look(self) -> None:
        """Look until a page that was well is not."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for address in tuple(self._well) if self._hub.busy else ():
                well = await _is_well(*address)
                if self._well[address] and well is False:
                    _logger.info("this Gateway is being stopped: its streams end")
                    self._hub.end()
                    return
                self._well[address] = well or self._well[address]


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
