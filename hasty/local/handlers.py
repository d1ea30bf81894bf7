"""Users' handlers on this machine: where they are found, and a look at them before anything starts."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hasty.errors import CannotStart
from hasty.settings import Settings


def with_working_directory(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python finds the modules of the working directory."""
    parts = (str(Path.cwd()), environment.get("PYTHONPATH"))
    return {**environment, "PYTHONPATH": os.pathsep.join(part for part in parts if part)}


def check(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Import the handlers in a process of this environment; return what it says of them.

    Raises CannotStart with what is wrong with them, in one line.
    """
    result = subprocess.run(
        # -P: what is found is found by the environment, as it will be in the actors.
        [sys.executable, "-P", "-m", "hasty.handlers"],
        env={**environment, **settings.to_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return result.stdout.splitlines()
    last = result.stderr.strip().rpartition("\n")[2]
    raise CannotStart(last or f"importing the handlers ended Python with code {result.returncode}")
