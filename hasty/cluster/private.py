"""The folder that a hasty's actors on one machine share, and nobody else."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from hasty.settings import Settings


def machine_folder(settings: Settings) -> Path:
    """Return where it is: apart for each user, each hasty, and each network that a machine plays host to.

    Whoever finds it there is this close: two nodes in network namespaces of one machine are not.
    """
    whose = f"{settings.instance} {settings.ledger_uri} {Path('/proc/self/ns/net').stat().st_ino}"
    digest = hashlib.sha256(whose.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"hasty-{os.getuid()}" / digest


def check_private(folder: Path) -> None:
    """Raise PermissionError unless this user alone can enter a folder, or change what it is in.

    Anybody can make a folder in a temporary one, under a name that is to be ours.
    """
    for each in (folder, folder.parent):
        found = each.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(f"{each} is not a folder that only this user can enter")


def make_private(folder: Path) -> None:
    """Make a folder, and the one it is in, for this user alone; close what was left open.

    Raises OSError where that cannot be: somebody else made one of them first.
    """
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
        if each.lstat().st_uid == os.geteuid() and not each.is_symlink():
            each.chmod(0o700)
    check_private(folder)
