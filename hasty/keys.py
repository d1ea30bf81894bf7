"""API keys: how they are made and read, what is kept of them, and what they allow.

A key reads `hasty_<id>_<secret>`. The id is public: it finds the record, and may be told anywhere.
The secret is shown once, when it is made; what is kept of it is its SHA-256. A slow hash is for
passwords, of which some are likelier than others and can be guessed in that order. Of 190 random
bits none is likelier than another, and a slow hash would only make every request slow.

Nothing here holds a secret: it is hashed where it is read.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

#: A name of a key, as people give it.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)

#: So many secrets of one key are in force at once: the newest, and those whose overlap has not ended.
MOST_SECRETS = 8

_ID_ALPHABET = string.ascii_lowercase + string.digits
_ID_LENGTH = 10

#: 62 to the power of 32: 190 bits.
_SECRET_ALPHABET = string.ascii_letters + string.digits
_SECRET_LENGTH = 32

_KEY = re.compile(rf"hasty_([a-z0-9]{{{_ID_LENGTH}}})_([A-Za-z0-9]{{{_SECRET_LENGTH}}})", re.ASCII)

#: No text is known that hashes to this.
_NOBODYS = "0" * 64


class Scope(StrEnum):
    """What a key may do. Each includes those before it."""

    #: Whatever changes nothing.
    READ = "read"
    #: Submit, cancel, rerun and schedule.
    WRITE = "write"
    #: What operators do: resize pools.
    ADMIN = "admin"


_ORDER = tuple(Scope)


class Standing(StrEnum):
    """What is to be said of a key that somebody came with."""

    VALID = "valid"
    #: No such id, or not its secret: which of the two is not told.
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True)
class Presented:
    """A key that somebody came with. The secret is not in it."""

    id: str
    digest: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Credential:
    """One secret of a key, as it is kept, and until when it is good."""

    digest: str = field(repr=False)
    made_at: datetime
    until: datetime | None

    def lasts(self, now: datetime) -> bool:
        """Tell whether its time is not over."""
        return self.until is None or now < self.until


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """The record of a key. Its credentials are the newest first; there is always one."""

    id: str
    name: str
    scopes: frozenset[Scope]
    credentials: tuple[Credential, ...]
    created_at: datetime
    revoked_at: datetime | None = None
    #: Requests per second; None: as the settings say.
    rate: float | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When its newest secret expires, and the key with it."""
        return self.credentials[0].until

    def live(self, now: datetime) -> bool:
        """Tell whether anybody can come in with it."""
        return self.revoked_at is None and self.credentials[0].lasts(now)

    def allows(self, needed: Scope) -> bool:
        """Tell whether one of its scopes is the one needed, or includes it."""
        return any(_ORDER.index(scope) >= _ORDER.index(needed) for scope in self.scopes)

    def in_force(self, now: datetime) -> tuple[Credential, ...]:
        """Return the secrets that are good now, the newest first."""
        return tuple(credential for credential in self.credentials if credential.lasts(now))


def mint(
    name: str,
    scopes: Collection[Scope],
    now: datetime,
    *,
    lifetime: timedelta | None = None,
    rate: float | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; return its record, and the text that is shown once."""
    key_id = _draw(_ID_ALPHABET, _ID_LENGTH)
    credential, text = _mint_secret(key_id, now, lifetime)
    key = ApiKey(
        id=key_id,
        name=name,
        scopes=frozenset(scopes),
        credentials=(credential,),
        created_at=now,
        rate=rate,
    )
    return key, text


def rotate(
    key: ApiKey, now: datetime, *, overlap: timedelta, lifetime: timedelta | None = None
) -> tuple[ApiKey, str]:
    """Give a key a new secret; return its record, and the text that is shown once.

    Its older secrets are good until the overlap ends, their own time is over, or the key's is. The
    new one lasts for `lifetime`, and the key with it; without that for as long as the newest was made
    to last. The id stays, and so does everything that is known by it. The key must be live, with room
    for another secret.
    """
    newest = key.credentials[0]
    if lifetime is None and newest.until is not None:
        lifetime = newest.until - newest.made_at
    credential, text = _mint_secret(key.id, now, lifetime)
    end = now + overlap if credential.until is None else min(now + overlap, credential.until)
    ending = (_ended_by(older, end) for older in key.in_force(now))
    older = tuple(each for each in ending if each.lasts(now))
    return replace(key, credentials=(credential, *older)), text


def parse(text: str) -> Presented | None:
    """Read a key; None for what is none. Never raises."""
    found = _KEY.fullmatch(text)
    return Presented(id=found[1], digest=_digest(found[2])) if found else None


def parse_authorization(values: Sequence[str]) -> Presented | None:
    """Read the key from the `Authorization` headers of a request; None for anything but one key."""
    if len(values) != 1:
        return None
    scheme, _, text = values[0].partition(" ")
    return parse(text.strip(" ")) if scheme.lower() == "bearer" else None


def judge(presented: Presented, key: ApiKey | None, now: datetime) -> Standing:
    """Say how a key stands with which somebody came; `key` is the record of its id.

    The same work whether or not there is a record, how many secrets it has, and which of them it
    is. Only who has the secret is told that a key was revoked or has expired.
    """
    kept = key.credentials if key is not None else ()
    digests = [credential.digest for credential in kept]
    digests += [_NOBODYS] * (MOST_SECRETS - len(digests))
    same = [hmac.compare_digest(presented.digest, digest) for digest in digests]
    if key is None or True not in same:
        return Standing.UNKNOWN
    if key.revoked_at is not None:
        return Standing.REVOKED
    return Standing.VALID if kept[same.index(True)].lasts(now) else Standing.EXPIRED


def _mint_secret(key_id: str, now: datetime, lifetime: timedelta | None) -> tuple[Credential, str]:
    secret = _draw(_SECRET_ALPHABET, _SECRET_LENGTH)
    until = None if lifetime is None else now + lifetime
    return Credential(digest=_digest(secret), made_at=now, until=until), f"hasty_{key_id}_{secret}"


def _ended_by(credential: Credential, end: datetime) -> Credential:
    return replace(credential, until=end if credential.until is None else min(credential.until, end))


def _draw(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
