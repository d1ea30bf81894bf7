"""A hasty under load is broken a few times, and keeps its promises."""

import re
import signal
import subprocess
import sys

import pytest

from tests.running import HASTY, ROOT

#: One of each: what admits, what decides, what works, what tells, what serves, what remembers.
FAULTS = "worker-kill,registry-kill,dispatcher-kill,clerk-kill,gateway-kill,mongod-freeze"

#: Its plan has short pauses, and begins with Registry, Clerk and worker.
SEED = 1838

#: It goes on until so much has happened, however long that takes: faults over, jobs accepted, jobs refused.
OVER, ACCEPTED, REFUSED = 3, 100, 100

#: A hasty that never gets there is broken.
MINUTES = 4


@pytest.mark.timeout(600)
def test_no_promise_is_broken_whatever_is_killed():
    command = [HASTY, "chaos", f"--minutes={MINUTES}", f"--seed={SEED}", "--rate=20", f"--faults={FAULTS}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as chaos:
        told = ""
        try:
            while not enough(told) and (line := chaos.stdout.readline()):
                told += line
            chaos.send_signal(signal.SIGINT)  # no further faults; it checks as always
            told += chaos.stdout.read()
        finally:
            # Where this test is cut short, the hasty that it started must go, too.
            chaos.send_signal(signal.SIGINT)
            chaos.wait()
    sys.stdout.write(told)  # seen if the test fails
    assert chaos.returncode == 0
    assert "every promise was kept" in told
    assert enough(told), "too little was broken to say anything, or no windows were tried"


def enough(told):
    """Whether enough was broken, and enough asked, by what it has said so far."""
    counts = re.findall(r"(\d+) accepted, (\d+) refused", told)
    accepted, refused = map(int, counts[-1]) if counts else (0, 0)
    return told.count(": over after") >= OVER and accepted >= ACCEPTED and refused >= REFUSED
