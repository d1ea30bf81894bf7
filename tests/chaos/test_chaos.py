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


@pytest.mark.timeout(240)
def test_no_promise_is_broken_whatever_is_killed():
    command = [HASTY, "chaos", "--minutes=0.3", f"--seed={SEED}", "--rate=20", f"--faults={FAULTS}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as chaos:
        try:
            told, complaint = chaos.communicate()
        finally:
            # Where this test is cut short, the hasty that it started must go, too.
            chaos.send_signal(signal.SIGINT)
            chaos.wait()
    sys.stdout.write(told)  # seen if the test fails
    assert chaos.returncode == 0, complaint
    assert "every promise was kept" in told
    assert len(re.findall("over after", told)) >= 2, "too little was broken to say anything"
    accepted = re.search(r"posts: (\d+) accepted, (\d+) refused", told)
    assert accepted and min(map(int, accepted.groups())) > 100, "windows were tried"
