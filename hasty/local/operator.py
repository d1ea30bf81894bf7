"""The operator process as `hasty up` sees it. See `hasty.cluster.operator` for what is said."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hasty.errors import CannotStart


class Operator:
    """A child process that becomes a driver of Ray when it is told to deploy or to join."""

    def __init__(
        self, environment: Mapping[str, str], log_path: Path, module: str = "hasty.cluster.operator"
    ) -> None:
        """Start it. Its own output goes to `log_path`."""
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # A Ctrl-C in the terminal is for the supervisor.
                start_new_session=True,
            )

    def deploy(self, tell: Callable[[str], None] = lambda _words: None) -> bool:
        """Have hasty put onto Ray, which is up; return True when its replicas run.

        `tell` hears how far it is, where it runs already and workers are replaced.

        Returns False when this process died before it could tell: another one may do better.
        Raises CannotStart when they will not run.
        """
        return self._does("deploy", "deployed", tell)

    def join(self) -> bool:
        """Have it take the place of the one that deployed; nothing of hasty is touched.

        Returns and raises as `deploy` does.
        """
        return self._does("join", "joined")

    def drain(self, within_s: float, tell: Callable[[int], None]) -> int:
        """Have hasty drained; return how many jobs still run."""
        self._tell(f"drain {within_s:g}")
        for word, rest in self._said():
            if word == "running":
                tell(int(rest))
            elif word == "drained":
                return int(rest)
        return 0

    def alive(self) -> bool:
        """Tell whether it can still be spoken to."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _does(self, command: str, done: str, tell: Callable[[str], None] | None = None) -> bool:
        self._tell(command)
        for word, rest in self._said():
            if word == done:
                return True
            if word == "told" and tell is not None:
                tell(rest)
            if word == "failed":
                raise CannotStart(rest)
        return False

    def _tell(self, line: str) -> None:
        """Tell it something. If it is dead, what it says shows that: nothing."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(line, file=self._process.stdin, flush=True)

    def _said(self) -> Iterator[tuple[str, str]]:
        """Yield what it says, until it ends. Other lines on its output are not for us."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word in {"told", "deployed", "joined", "running", "drained", "failed"}:
                yield word, rest
