"""Looks at a MongoDB server before hasty relies on it, and prepares the one hasty starts itself."""

import re
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

from hasty.clock import SystemClock
from hasty.errors import CannotStart

#: The replica set of the server that hasty starts itself.
SET_NAME = "hasty"
#: The oldest MongoDB that hasty is tested with.
OLDEST_VERSION = (6, 0)

_DEFAULT_PORT = 27017
_POLL_S = 0.01
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23

_NEEDS_A_REPLICA_SET = (
    "is a standalone server, and hasty needs a replica set (one member is enough): "
    "start it as `mongod --replSet rs0` and run `rs.initiate()` once in mongosh"
)
_NEVER_INITIATED = "has --replSet but no replica set yet: run `rs.initiate()` once in mongosh"
_NO_PRIMARY = "has no primary: most of the replica set's members must be up and reach each other"
_NOT_THE_PRIMARY = "is not the primary: leave directConnection out of the URI or name the primary"

_Client = MongoClient[dict[str, Any]]


def socket_uri(socket: Path) -> str:
    """Name the server that listens on a Unix socket.

    The connection is direct: the driver lowercases the member names that a server reports, which
    breaks a path with capitals in it.
    """
    return f"mongodb://{quote(str(socket), safe='')}/?directConnection=true"


def check_replica_set(uri: str, *, timeout_s: float = 5) -> None:
    """Return if hasty can run on this MongoDB: a replica set with a primary that lets us in.

    Otherwise raises CannotStart with one line that names the server but no user or password.
    Blocks for about `timeout_s` seconds at most for each of three short questions. What the user
    may do in hasty's own databases is not looked at.
    """
    where = _address(uri)
    with _open(uri, timeout_s) as client:
        hello = _ask(client, where, {"hello": 1})
        _require(where, _complaint(hello, _named_set(uri)))
        # Every user may list the databases that are theirs; nobody may without logging in.
        _ask(client, where, {"listDatabases": 1, "nameOnly": True, "authorizedDatabases": True})
        build = _ask(client, where, {"buildInfo": 1})
        _require(where, _too_old(build))


def initiate_single_member(socket: Path, member: str, *, timeout_s: float) -> None:
    """Make the server at `socket` the only member of its replica set and wait until it takes writes.

    `member` is how the server finds itself; it must stay the same for as long as the data lives.
    A server that was initiated before is only waited for. Raises CannotStart after `timeout_s`.
    """
    clock = SystemClock()
    deadline = clock.monotonic() + timeout_s
    where = str(socket)
    with _open(socket_uri(socket), timeout_s) as client:
        _initiate(client, where, member)
        while not _ask(client, where, {"hello": 1}).get("isWritablePrimary"):
            if clock.monotonic() > deadline:
                raise CannotStart(f"MongoDB at {where} did not become a primary within {timeout_s:g} s")
            time.sleep(_POLL_S)


def _initiate(client: _Client, where: str, member: str) -> None:
    members = [{"_id": 0, "host": member}]
    try:
        client.admin.command("replSetInitiate", {"_id": SET_NAME, "members": members})
    except PyMongoError as error:
        if getattr(error, "code", None) != _ALREADY_INITIALIZED:
            raise CannotStart(_explain(client, where, error)) from None


def _open(uri: str, timeout_s: float) -> _Client:
    """Prepare a client; nothing is sent yet. The set's name is left for us to compare."""
    limit_ms = round(timeout_s * 1000)
    try:
        return MongoClient(
            uri,
            replicaSet=None,
            serverSelectionTimeoutMS=limit_ms,
            connectTimeoutMS=limit_ms,
            socketTimeoutMS=limit_ms,
        )
    except (PyMongoError, ValueError, TypeError) as error:
        raise CannotStart(f"the MongoDB URI is not valid{_reason_without_secrets(uri, error)}") from None


def _ask(client: _Client, where: str, command: MutableMapping[str, Any]) -> dict[str, Any]:
    try:
        return client.admin.command(command)
    except PyMongoError as error:
        raise CannotStart(_explain(client, where, error)) from None


def _require(where: str, complaint: str | None) -> None:
    if complaint:
        raise CannotStart(f"MongoDB at {where} {complaint}")


def _complaint(hello: Mapping[str, Any], wanted_set: str | None) -> str | None:
    """Say what is wrong with a server that answered hello; None if nothing is."""
    if hello.get("msg") == "isdbgrid":  # mongos: a sharded cluster is made of replica sets
        return None
    if hello.get("isreplicaset"):
        return _NEVER_INITIATED
    actual = hello.get("setName")
    if actual is None:
        return _NEEDS_A_REPLICA_SET
    if wanted_set not in (None, actual):
        return f"is in replica set {actual!r}, and the URI says replicaSet={wanted_set}"
    return None if hello.get("isWritablePrimary") else _NOT_THE_PRIMARY


def _too_old(build: Mapping[str, Any]) -> str | None:
    if tuple(build["versionArray"][:2]) >= OLDEST_VERSION:
        return None
    oldest = ".".join(str(part) for part in OLDEST_VERSION)
    return f"is version {build['version']}, and hasty needs {oldest} or newer"


def _explain(client: _Client, where: str, error: PyMongoError) -> str:
    """Turn the driver's error into one line that says what to do."""
    if isinstance(error, ServerSelectionTimeoutError):
        return f"MongoDB at {where} {_why_no_server(client)}"
    code = error.code if isinstance(error, OperationFailure) else None
    if code == _AUTHENTICATION_FAILED:
        return f"MongoDB at {where} refuses the user name or password in the URI"
    if code == _UNAUTHORIZED:
        return f"MongoDB at {where} needs a user name and password, or more rights for the user"
    return f"MongoDB at {where} cannot be used: {_first_words(error)}"


def _why_no_server(client: _Client) -> str:
    servers = client.topology_description.server_descriptions().values()
    kinds = {server.server_type_name for server in servers}
    if "RSGhost" in kinds:
        return _NEVER_INITIATED
    if kinds & {"RSSecondary", "RSOther"}:
        return _NO_PRIMARY
    reasons = sorted({_first_words(server.error) for server in servers if server.error})
    return f"cannot be reached ({'; '.join(reasons) or 'no answer in time'})"


def _first_words(error: Exception) -> str:
    """The driver's sentence without the timeouts and server dumps that follow it."""
    return re.split(r" \(configured timeouts|, full error|, Timeout: |\n", str(error))[0]


def _reason_without_secrets(uri: str, error: Exception) -> str:
    """Quote the driver's reason unless any part of the user name or password is in it."""
    userinfo = uri.rpartition("@")[0].split("://")[-1]
    pieces = [piece for piece in re.split(r"\W+", userinfo) if piece]
    reason = _first_words(error)
    if any(piece in reason for piece in pieces):
        return " (in a user name or password, :/?#[]@% must be percent-encoded)"
    return f": {reason}"


def _address(uri: str) -> str:
    """Name the servers in the URI as host:port, without user, password and options."""
    rest = uri.split("://", 1)[-1]
    hosts = re.split(r"[/?]", rest)[0].rpartition("@")[2].split(",")
    if uri.startswith("mongodb+srv:"):
        return ",".join(hosts)
    return ",".join(_with_port(unquote(host)) for host in hosts)


def _with_port(host: str) -> str:
    has_port = re.search(r":\d+$", host) or host.endswith(".sock")
    return host if has_port else f"{host}:{_DEFAULT_PORT}"


def _named_set(uri: str) -> str | None:
    found = re.search(r"[?&]replicaSet=([^&]+)", uri, re.IGNORECASE)
    return unquote(found[1]) if found else None
