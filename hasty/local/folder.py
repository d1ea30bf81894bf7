"""The data folder of one hasty: whose it is, and what its owner left for others to read."""

import fcntl
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import psutil

from hasty.errors import AlreadyRunning, CannotStart
from hasty.pids import started
from hasty.webhooks import new_secret


class DataFolder:
    """A folder that one `hasty up` holds at a time. The kernel lets go of it when its holder dies."""

    def __init__(self, path: Path) -> None:
        """Take note of the path; nothing is touched."""
        self.path = path.expanduser().absolute()
        self._lock: TextIO | None = None

    @property
    def logs(self) -> Path:
        """Where everything started from here writes its log."""
        return self.path / "logs"

    def hold(self) -> None:
        """Become its holder, creating it for this user alone.

        Raises AlreadyRunning when somebody else is, CannotStart when it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise self._unusable(error) from error
        if not self.try_hold():
            raise AlreadyRunning(
                f"the data folder {self.path} is in use by another hasty: "
                "stop that with `hasty down`, or set HASTY_DATA_DIR"
            )

    def try_hold(self) -> bool:
        """Become its holder if nobody is; say whether that went well. Where there is none, it did.

        Raises CannotStart when it cannot be looked into or written to.
        """
        try:
            lock = (self.path / "lock").open("a+")
        except FileNotFoundError:
            return True
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        lock.truncate(0)
        lock.write(f"{os.getpid()} {started(os.getpid())}")
        lock.flush()
        self._lock = lock
        return True

    def holder(self) -> psutil.Process | None:
        """Return the process that holds it; None while it has not said who it is.

        What an earlier holder said is not believed: its number may be another process by now.
        """
        try:
            pid, since = map(int, (self.path / "lock").read_text().split())
            process = psutil.Process(pid)
            return process if started(pid) == since else None
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None

    def release(self) -> None:
        """Stop to be its holder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def instance(self) -> str:
        """Return the id of the hasty that lives here: always the same, never empty."""
        file = self.path / "instance"
        if not file.exists() or not file.read_text().strip():
            _write(file, uuid.uuid4().hex)
        return file.read_text().strip()

    def webhook_secret(self) -> str:
        """Return the secret that this hasty signs webhooks with where none is set: always the same."""
        file = self.path / "webhook.secret"
        if not file.exists() or not file.read_text().strip():
            _write(file, new_secret())
        return file.read_text().strip()

    def record(self) -> dict[str, Any]:
        """Return what its last holder wrote down; nothing where there was none.

        Raises CannotStart when it cannot be read.
        """
        try:
            found: dict[str, Any] = json.loads((self.path / "up.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        return found

    def write_record(self, **facts: Any) -> None:
        """Write down how the holder can be reached and what must be cleaned up after it."""
        _write(self.path / "up.json", json.dumps(facts))

    def remove_record(self) -> None:
        """All is cleaned up."""
        (self.path / "up.json").unlink(missing_ok=True)

    def deployed(self) -> dict[str, str]:
        """Return the settings that were deployed last, as variables; the databases are not among them."""
        found: dict[str, str] = json.loads((self.path / "deployed.json").read_text())
        return found

    def write_deployed(self, settings: Mapping[str, str]) -> None:
        """Write down what whoever brings hasty back is to deploy."""
        _write(self.path / "deployed.json", json.dumps(dict(settings)))

    def _unusable(self, error: OSError) -> CannotStart:
        return CannotStart(f"cannot use the data folder {self.path}: {error.strerror}")


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all, whenever this process dies."""
    draft = file.with_suffix(".new")
    # For this user alone from its first byte on: some hold secrets.
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as opened:
        opened.write(text)
    draft.replace(file)
