"""Standard Webhooks: how a message is signed, and how whoever receives it knows that it is genuine.

Receivers use it as well, with nothing but `pip install hasty`. See https://www.standardwebhooks.com.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from hasty.clock import SystemClock
from hasty.errors import NotVerified

#: The three headers.
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

#: How a secret begins that is meant for this.
_PREFIX = "whsec_"

#: A key has at least, and at most, so many bytes.
_SHORTEST, _LONGEST = 24, 64
_NO_SECRET = f"must be {_PREFIX} and {_SHORTEST} to {_LONGEST} bytes in base64"

#: How a signature begins that is made with a secret both sides know.
_VERSION = "v1"

_SECONDS = re.compile(r"[0-9]{1,12}")


class Message(NamedTuple):
    """What was received: it is what a holder of the secret sent, and it is not old."""

    #: The same each time it is sent, and no other's. Whoever has seen it is to do nothing.
    id: str
    sent_at: datetime
    #: The body: JSON as Python sees it.
    content: Any


class Headers(Protocol):
    """Headers as any framework has them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return the names and the values; the case of a name says nothing."""
        ...


def new_secret() -> str:
    """Make a secret that nobody knows."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def keys_of(secret: str) -> tuple[bytes, ...]:
    """Return the key of a secret, or of several with spaces or commas between them.

    Raises ValueError where there is none, or one that is no secret; it does not show them.
    """
    keys = tuple(map(_key_of, secret.replace(",", " ").split()))
    if not keys:
        raise ValueError(_NO_SECRET)
    return keys


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(_NO_SECRET)
    return key


def sign(secret: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a message that is sent at this time; with several secrets each signs it.

    The time must be that of this send: receivers refuse what is old. Raises ValueError for a secret
    that is none.
    """
    stamp = str(int(at.timestamp()))
    signatures = (_signature(key, message_id, stamp, body) for key in keys_of(secret))
    return {ID: message_id, TIMESTAMP: stamp, SIGNATURE: " ".join(signatures)}


def verify(
    secret: str,
    headers: Headers,
    body: bytes | str,
    tolerance_s: float = 300.0,
    *,
    now: datetime | None = None,
) -> Message:
    """Return the message, if one of the secrets signed it and it was sent about now.

    `body` is what came, byte by byte: not parsed and written again. Raises NotVerified for what is
    forged, changed, or sent more than `tolerance_s` ago or ahead. Within that time the same message
    may come again, from hasty or from somebody who saw it: remember the ids of those that are done.
    Raises ValueError for a secret that is none.
    """
    keys = keys_of(secret)
    given = {name.lower(): value for name, value in headers.items()}
    message_id, stamp, offered = (_header(given, name) for name in (ID, TIMESTAMP, SIGNATURE))
    sent_at = _time_of(stamp)
    raw = body.encode() if isinstance(body, str) else body
    if not any(_among(offered, _signature(key, message_id, stamp, raw)) for key in keys):
        raise NotVerified("no signature is of this message and made with this secret")
    # The time is worth something only now that it is known whose it is.
    if abs((sent_at - (now or SystemClock().now())).total_seconds()) > tolerance_s:
        raise NotVerified("the message was not sent about now: it is old, or a clock is wrong")
    try:
        return Message(message_id, sent_at, json.loads(raw))
    except ValueError:
        raise NotVerified("the body is not JSON") from None


def _header(given: Mapping[str, str], name: str) -> str:
    if name not in given:
        raise NotVerified(f"the header {name} is missing")
    return given[name]


def _time_of(stamp: str) -> datetime:
    if not _SECONDS.fullmatch(stamp):
        raise NotVerified(f"the header {TIMESTAMP} is not a number of seconds")
    try:
        return datetime.fromtimestamp(int(stamp), UTC)
    except (ValueError, OverflowError, OSError):
        raise NotVerified(f"the header {TIMESTAMP} is not a time") from None


def _signature(key: bytes, message_id: str, stamp: str, body: bytes) -> str:
    # A header may hold what no encoding has; it then matches nothing.
    signed = f"{message_id}.{stamp}.".encode(errors="backslashreplace") + body
    return f"{_VERSION},{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def _among(offered: str, signature: str) -> bool:
    """Tell whether it is one of those offered; how long that takes says nothing of it."""
    expected = signature.encode()
    found = [hmac.compare_digest(each.encode(errors="replace"), expected) for each in offered.split()]
    return any(found)
