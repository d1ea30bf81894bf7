"""The kinds of fault: whom they hit, what they do to them, and what shows that it is over."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import psutil

#: How long something stays frozen, in seconds: from, to. Beyond what finds a frozen actor.
_LONG = (20.0, 30.0)
#: MongoDB is not replaced; this is what a bad disk does to it.
_SHORT = (5.0, 10.0)


class Sign(Enum):
    """What tells that the system runs again."""

    #: A POST is answered with 201, and no unclear answer comes after it.
    SERVED = "served"
    #: A job accepted after the fault has started.
    STARTED = "started"
    #: Every job that lost its attempt has another one.
    MOVED = "moved"
    #: Something that happened after the fault is told of.
    TOLD = "told"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way to break something. Without `thaw_s` it kills, with it it freezes."""

    name: str
    #: Found in the command line of whom it may hit.
    victims: re.Pattern[str]
    #: Bounds of the time after which a frozen victim goes on.
    thaw_s: tuple[float, float] | None = None
    sign: Sign = Sign.SERVED
    #: It hits all of them, and the `hasty up` above them.
    all_of_them: bool = False
    #: `hasty up` itself brings the victim back, and gives up if that happens too often.
    on_the_supervisor: bool = False

    def choose_from(self, processes: Sequence[psutil.Process]) -> list[psutil.Process]:
        """Return whom it may hit, oldest first."""
        victims = [process for process in processes if self.victims.search(_command_line(process))]
        return sorted(victims, key=lambda process: (process.create_time(), process.pid))


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kind(name: str, victims: str, **more: object) -> Kind:
    return Kind(name=name, victims=re.compile(victims), **more)  # type: ignore[arg-type]  # the fields' own


_WORKER, _REGISTRY, _DISPATCHER = r"^ray::WorkerHost", r"^ray::RegistryHost", r"^ray::DispatcherHost"
_GATEWAY, _MONGOD = r"^ray::ServeReplica:hasty:Gateway", r"^\S*mongod .*--dbpath"
_CLERK = r"^ray::ClerkHost"

#: All of them, by name.
KINDS = {
    kind.name: kind
    for kind in (
        _kind("worker-kill", _WORKER, sign=Sign.MOVED),
        _kind("worker-freeze", _WORKER, sign=Sign.MOVED, thaw_s=_LONG),
        _kind("registry-kill", _REGISTRY),
        _kind("registry-freeze", _REGISTRY, thaw_s=_LONG),
        _kind("dispatcher-kill", _DISPATCHER, sign=Sign.STARTED),
        _kind("dispatcher-freeze", _DISPATCHER, sign=Sign.STARTED, thaw_s=_LONG),
        _kind("clerk-kill", _CLERK, sign=Sign.TOLD),
        _kind("clerk-freeze", _CLERK, sign=Sign.TOLD, thaw_s=_LONG),
        _kind("gateway-kill", _GATEWAY),
        _kind("gateway-freeze", _GATEWAY, thaw_s=_LONG),
        _kind("haproxy-kill", r"^\S*haproxy -"),
        _kind("haproxy-manager-kill", r"^ray::HAProxyManager"),
        _kind("proxy-kill", r"^ray::ProxyActor"),
        _kind("controller-kill", r"^ray::ServeController"),
        _kind("operator-kill", r"-m hasty\.cluster\.operator"),
        _kind("mongod-kill", _MONGOD, on_the_supervisor=True),
        _kind("mongod-freeze", _MONGOD, thaw_s=_SHORT),
        _kind("raylet-kill", r"^\S*raylet/raylet ", on_the_supervisor=True),
        _kind("gcs-kill", r"^\S*gcs/gcs_server ", on_the_supervisor=True),
        _kind("everything-kill", r"", all_of_them=True),
    )
}


@dataclass(kw_only=True)
class Fault:
    """One that happened. Times are wall time."""

    kind: Kind
    pid: int
    at: datetime
    #: When the system was seen to run again; None if it was not.
    over_at: datetime | None = None
    #: Somebody ended it early: what came after says nothing about the system.
    cut_short: bool = False
