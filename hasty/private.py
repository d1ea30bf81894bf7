"""Folders that one user has for itself, in places where everybody may make some."""

import os
import stat
from pathlib import Path


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

    Raises OSError where that cannot be: somebody else made one of them first, or what it would be in
    does not exist.
    """
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
        if each.lstat().st_uid == os.geteuid() and not each.is_symlink():
            each.chmod(0o700)
    check_private(folder)
