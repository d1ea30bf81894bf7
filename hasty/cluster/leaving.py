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

#: A page that takes longer says nothing.
_ANSWER_S = 2.0

_ASKED = b"GET /-/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

_logger = logging.getLogger("hasty.api")


class Leaving:
    """An application whose hub lets everybody go when its replica is to stop."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        """Serve `app`; nothing is asked before the first request says at which address."""
        self._app = app
        self._hub = hub
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if self._looking is None and scope.get("server"):
            host, port = scope["server"]
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(self._look(host, port), context=contextvars.Context())
        await self._app(scope, receive, send)

    async def _look(self, host: str, port: int) -> None:
        """Look until the page, which was well, is not."""
        was_well = False
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self._hub.busy:
                continue
            well = await _is_well(host, port)
            if was_well and well is False:
                _logger.info("this Gateway is being stopped: its streams end")
                self._hub.end()
                return
            was_well = well or was_well


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
