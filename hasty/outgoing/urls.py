"""URLs that clients name: what of them can be told without asking anybody."""

import ipaddress
import re

import httpx

#: Longest URL that is taken, in characters.
LONGEST_URL = 2_048

_SCHEMES = frozenset({"http", "https"})

_PORTS = range(1, 65_536)

#: Longest name that can be looked up, in characters, and what each part of it is made of.
_LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def check_url(url: str) -> str:
    """Return a URL that may be called one day. Raises ValueError, which says what is wrong with it.

    Which address its host has is asked when it is called, each time anew.
    """
    parsed = _parsed(url) if len(url) <= LONGEST_URL else None
    wrong = f"must be a URL of at most {LONGEST_URL} characters" if parsed is None else _wrong_with(parsed)
    # An empty fragment does not show in what was parsed.
    if wrong is None and "#" in url:
        wrong = "must not have a fragment"
    if wrong is not None:
        raise ValueError(wrong)
    return url


def _wrong_with(url: httpx.URL) -> str | None:
    if url.scheme not in _SCHEMES or not url.raw_host:
        return "must be the whole URL of an http or https server"
    if url.userinfo:
        return "must not hold a user name or a password"
    if url.port is not None and url.port not in _PORTS:
        return "must have a port from 1 to 65535"
    return None if _is_host(host_in(url)) else "must name its host as it is looked up"


def _parsed(url: str) -> httpx.URL | None:
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return None


def _is_host(host: str) -> bool:
    """Tell whether this can be looked up. A zone, as in `fe80::1%eth0`, says where something is locally."""
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host).scope_id is None
        except ValueError:
            return False
    return len(host) <= _LONGEST_NAME and all(_LABEL.fullmatch(label) for label in host.split("."))


def host_of(url: str) -> str:
    """Return the host that a URL names, as it is looked up; empty where there is none."""
    parsed = _parsed(url)
    return host_in(parsed) if parsed is not None else ""


def host_in(url: httpx.URL) -> str:
    """Return the host of a parsed URL: lower case, ASCII, without a dot at its end."""
    return url.raw_host.decode("ascii").lower().removesuffix(".")
