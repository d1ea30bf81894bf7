"""Where hasty is, and the key to it: checked before anything is sent."""

import ipaddress
import os
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from hasty.errors import InvalidRequest

#: Where `hasty up` listens when nothing else is said.
DEFAULT_URL = "http://127.0.0.1:8000"

URL_VARIABLE, KEY_VARIABLE = "HASTY_URL", "HASTY_API_KEY"


class Address(NamedTuple):
    """Where requests go."""

    url: str
    #: Whether that is this machine. No proxy stands between.
    here: bool


def address(url: str | None) -> Address:
    """Return where to send requests: to `url`, else as HASTY_URL says, else to this machine.

    Raises InvalidRequest, which says what is wrong with it.
    """
    given = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    wrong = _what_is_wrong(given)
    if wrong:
        raise InvalidRequest(complaints=(("url", wrong),))
    return Address(given.rstrip("/"), _is_here(httpx.URL(given).host))


def api_key(key: str | None) -> str | None:
    """Return the key to send: `key`, else as HASTY_API_KEY says, else none.

    Raises InvalidRequest, in which the key does not stand, for what cannot be one.
    """
    given = os.environ.get(KEY_VARIABLE) if key is None else key
    if given and not (given.isascii() and given.isprintable() and " " not in given):
        raise InvalidRequest(complaints=(("api_key", "must have visible ASCII characters only"),))
    return given or None


def _what_is_wrong(url: str) -> str | None:
    """Return why this is no address; what may hold a password is not repeated."""
    try:
        parts, parsed = urlsplit(url), httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        return f"is no URL: {error}"
    if parsed.userinfo:
        return "must have no user and no password; the key is given as api_key"
    demands = {
        f"must begin with http:// or https://, as {DEFAULT_URL} does": parsed.scheme in {"http", "https"},
        f"must name a host, as {DEFAULT_URL} does": bool(parsed.host) and "%" not in parsed.host,
        "must have a port from 1 to 65535": parsed.port is None or 0 < parsed.port < 1 << 16,
        "must have no ? and no #": not (parts.query or parts.fragment),
    }
    return next((f"{demand}: {url!r}" for demand, met in demands.items() if not met), None)


def _is_here(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return mapped.is_loopback or mapped.is_unspecified
