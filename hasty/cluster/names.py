"""The names under which the parts of hasty are found on a Ray cluster and on a machine."""

import hashlib
import os
from pathlib import Path

from hasty.settings import Settings

#: Ray's namespace of all actors.
NAMESPACE = "hasty"

#: The Serve application, and its ingress deployment.
APPLICATION = "hasty"
GATEWAY = "Gateway"

REGISTRY = "hasty-registry"
DISPATCHER = "hasty-dispatcher"
CLERK = "hasty-clerk"


def machine_folder(settings: Settings) -> Path:
    """Name the folder that a hasty's actors on one machine share, and nobody else.

    It is apart for each user, each hasty, and each network that a machine plays host to: nodes in
    network namespaces of one machine are as far from each other as machines.
    """
    whose = f"{settings.instance} {settings.ledger_uri} {Path('/proc/self/ns/net').stat().st_ino}"
    digest = hashlib.sha256(whose.encode()).hexdigest()[:16]
    # Not `tempfile`: it tries out where it can write, so that two processes may find two places.
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"hasty-{os.getuid()}" / digest  # noqa: S108
