"""A hasty under load is broken a few times, and keeps its promises."""

import re
import subprocess
import sys

import pytest

from tests.running import HASTY, ROOT

#: One of each: what admits, what decides, what works, what serves, what remembers.
FAULTS = "worker-kill,registry-kill,dispatcher-kill,gateway-kill,mongod-freeze"


@pytest.mark.timeout(240)
def test_no_promise_is_broken_whatever_is_killed():
    command = [HASTY, "chaos", "--minutes=0.3", "--seed=1", "--rate=20", f"--faults={FAULTS}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stdout.write(run.stdout)  # seen if the test fails
    assert run.returncode == 0, run.stderr
    assert "every promise was kept" in run.stdout
    assert len(re.findall("over after", run.stdout)) >= 2, "too little was broken to say anything"
    accepted = re.search(r"posts: (\d+) accepted, (\d+) refused", run.stdout)
    assert accepted and min(map(int, accepted.groups())) > 100, "windows were tried"
