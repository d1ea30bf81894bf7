"""Posts a message to a URL that a client named, and is led nowhere else by it.

Each call looks the host up, takes the addresses that may be called, and connects to one of those: no
second look-up lies between the check and the connection. No redirect is followed, no proxy is used, no
cookie kept, and of an answer only its status and a little more is read.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import httpx

from hasty.errors import Overloaded
from hasty.outgoing.addresses import Allowed
from hasty.outgoing.names import Resolver
from hasty.outgoing.urls import check_url, host_in

#: Of a host with more addresses than this the first ones are tried.
_MOST_ADDRESSES = 4

#: What a receiver says after its status is read so far, and for so long, and thrown away: hanging up
#: earlier would be an error on its side.
_READ_BYTES = 16 * 1024
_READ_WITHIN_S = 1.0

_BETWEEN = range(300, 400)

NO_ADDRESS = "the host has no address that hasty may call: only public ones, and those in HASTY_WEBHOOK_ALLOW"

#: The first that fits.
_TOLD: Mapping[type[Exception], str] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.TimeoutException: "no answer in time",
    httpx.ConnectError: "no connection",
    httpx.RemoteProtocolError: "the answer was not HTTP",
    httpx.HTTPError: "the connection broke",
}


class Reply(NamedTuple):
    """What came of a call."""

    #: None where there was no answer.
    status_code: int | None = None
    #: What went wrong, for people. It tells nothing of the receiver but what its caller knows.
    error: str | None = None
    #: The header Retry-After, as it came.
    retry_after: str | None = None


class Sender:
    """Posts messages. Keeps nothing between two calls."""

    def __init__(
        self,
        allowed: Allowed,
        *,
        timeout_s: float,
        resolver: Resolver | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """Connect nothing yet. A call takes `timeout_s` at most, until the status is there.

        `trust` is what certificates are checked with; without it SSL_CERT_FILE is, if that is set, and
        else what comes with httpx.
        """
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._resolver = resolver or Resolver()
        self._transport = transport or httpx.AsyncHTTPTransport(
            verify=trust or httpx.create_ssl_context(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Post a body; return what came of it, whatever that is.

        A reply with a status says that the receiver has the message; without one it may have it.
        """
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._post(httpx.URL(check_url(url)), headers, body)
        except TimeoutError:
            return Reply(error=f"no answer within {self._timeout_s:g} s")
        except Overloaded as error:
            return Reply(error=str(error))
        except (httpx.HTTPError, ValueError) as error:
            return Reply(error=_told(error))
        if response is None:
            return Reply(error=NO_ADDRESS)
        await _hang_up(response)
        led_away = "a redirect is not followed" if response.status_code in _BETWEEN else None
        return Reply(response.status_code, led_away, response.headers.get("retry-after"))

    async def _post(self, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> httpx.Response | None:
        """Return the answer of the first address that takes the connection; None: there is none to try."""
        host = host_in(url)
        addresses = await self._addresses(host)
        failed: httpx.TransportError | None = None
        for tried, address in enumerate(addresses):
            # One that swallows everything leaves time for the next.
            share_s = self._timeout_s / (len(addresses) - tried)
            request = self._request(url, address, headers, body, share_s)
            try:
                return await self._transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        if failed is not None:
            raise failed
        return None

    async def _addresses(self, host: str) -> Sequence[str]:
        try:
            found = await self._resolver.addresses(host)
        except (OSError, UnicodeError):
            # Not told apart: what names there are inside is nobody's business.
            return ()
        return [each for each in found if self._allowed.admits(host, each)][:_MOST_ADDRESSES]

    def _request(
        self, url: httpx.URL, address: str, headers: Mapping[str, str], body: bytes, connect_s: float
    ) -> httpx.Request:
        """Send a request to an address; it still names its host, and so must the certificate there."""
        timeout = httpx.Timeout(self._timeout_s, connect=connect_s)
        return httpx.Request(
            "POST",
            url.copy_with(host=address),
            headers={
                "Host": url.netloc.decode("ascii"),
                "User-Agent": "hasty",
                "Content-Type": "application/json",
                "Connection": "close",
                **headers,
            },
            content=body,
            extensions={"timeout": timeout.as_dict(), "sni_hostname": host_in(url)},
        )

    async def close(self) -> None:
        """Let go of what it holds."""
        self._resolver.close()
        await self._transport.aclose()


async def _hang_up(response: httpx.Response) -> None:
    """Let a receiver say a little more, and close the connection. It has answered, whatever comes now."""
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_READ_WITHIN_S):
            await _read_a_little(response)
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_READ_WITHIN_S):
            await response.aclose()


async def _read_a_little(response: httpx.Response) -> None:
    read = 0
    # As it came: what is packed small stays small.
    async for part in response.aiter_raw():
        read += len(part)
        if read > _READ_BYTES:
            return


def _told(error: Exception) -> str:
    """Say what went wrong without saying where: addresses and file names stay inside."""
    tls = _of_tls(error)
    if tls is not None:
        return f"TLS: {getattr(tls, 'verify_message', None) or tls.reason or 'failed'}"
    for kind, told in _TOLD.items():
        if isinstance(error, kind):
            return told
    return "the URL cannot be called"


def _of_tls(error: BaseException | None) -> ssl.SSLError | None:
    """Return the error of TLS that lies under this one."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error
