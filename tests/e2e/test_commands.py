"""Every command that docs/cli.md shows does what it says, typed by a user of a hasty that runs."""

import itertools
import json
import signal
import subprocess
import threading

import pytest

from tests.documented import FILES, Documented, documented
from tests.running import HASTY, Running, until


@pytest.fixture
def user(shop, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return User(shop, tmp_path)


class User:
    """Somebody who types commands into a terminal on the machine of a hasty."""

    def __init__(self, running: Running, folder):
        self.running = running
        self.folder = folder
        url = f"http://127.0.0.1:{running.port}"
        self.environment = {**running.environment, "HASTY_URL": url, "NO_COLOR": "1"}

    def types(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HASTY, *words],
            input=stdin,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def newest_of(self, object_id: str) -> str:
        _, answer, _ = self.running.ask("GET", f"/v1/jobs?object_id={object_id}&limit=1")
        return answer["jobs"][0]["id"]

    def looks_and_stops(self, *words: str) -> tuple[int, str]:
        """Type what goes on for ever; stop it by Ctrl-C once it has said something."""
        with subprocess.Popen(
            [HASTY, *words], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                self._let_it_say_something(process, words[0])
                process.send_signal(signal.SIGINT)
                _, complaint = process.communicate()
            finally:
                process.kill()
        return process.returncode, complaint

    def _let_it_say_something(self, process: subprocess.Popen[str], name: str) -> None:
        said = threading.Event()
        reader = threading.Thread(target=lambda: process.stdout.readline() and said.set(), daemon=True)
        reader.start()
        numbers = itertools.count()
        # Something happens meanwhile, again and again: it may not be listening yet.
        until(lambda: self.running.submit(f"meanwhile-{name}-{next(numbers)}") and said.wait(0.2), "a line")
        reader.join()


@pytest.mark.timeout(600)
def test_each_documented_command_does_what_it_says(user):
    for command in documented():
        check(user, command)


def check(user: User, command: Documented) -> None:
    words = command.named(user.newest_of)
    if command.endless:
        assert user.looks_and_stops(*words) == (130, ""), words
        return
    done = user.types(*words, stdin=command.stdin)
    if words[0] == "doctor" and done.returncode != command.code:
        # To it, what takes two seconds does not work; here that may be a busy moment, which passes.
        until(lambda: user.running.ask("GET", "/readyz")[0] == 200, "hasty to be ready")
        done = user.types(*words, stdin=command.stdin)
    assert done.returncode == command.code, (words, done)
    if "--json" in words:
        assert all(json.loads(line) for line in done.stdout.splitlines()), (words, done)
