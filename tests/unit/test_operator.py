"""What `hasty up` makes of an operator process that deploys, fails, or dies."""

import functools
import os

import pytest

from hasty.errors import CannotStart
from hasty.local import up as up_module
from hasty.local.folder import DataFolder
from hasty.local.operator import Operator
from hasty.local.up import Up
from hasty.settings import Settings

URI = "mongodb://nobody.example/"

HEARS = "import sys; sys.stdin.readline()"


@pytest.fixture
def operator(tmp_path, monkeypatch):
    """Start a process that is told to deploy and then does what `code` says."""
    started = []

    def start(code: str) -> Operator:
        (tmp_path / "stand_in.py").write_text(f"{HEARS}\n{code}\n")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        started.append(Operator(environment, tmp_path / "operator.log", "stand_in"))
        return started[-1]

    yield start
    for process in started:
        process.stop()


def test_one_that_deployed_says_so(operator):
    assert operator("print('a word of Ray'); print('deployed', flush=True); sys.stdin.read()").deploy()


def test_one_that_joined_says_so(operator):
    assert operator("print('joined', flush=True); sys.stdin.read()").join()


def test_one_that_failed_gives_its_reason(operator):
    with pytest.raises(CannotStart, match="no room for the replicas"):
        operator("print('failed no room for the replicas')").deploy()


def test_one_that_replaces_workers_says_how_far_it_is(operator):
    heard = []
    says = "print('told 2 of 3 workers'); print('told'); print('deployed', flush=True); sys.stdin.read()"
    assert operator(says).deploy(heard.append)
    assert heard == ["2 of 3 workers", ""]
    # Who does not listen misses nothing else.
    assert operator(says).deploy()


@pytest.mark.parametrize("death", ["import os; os.kill(os.getpid(), 9)", "sys.exit(0)", "1 / 0"])
def test_one_that_dies_has_failed_at_nothing(operator, death):
    assert not operator(death).deploy()


def test_one_that_died_before_it_was_told(operator):
    process = operator("")
    process._process.kill()
    process._process.wait()
    assert not process.deploy()


class HeadThatRuns:
    """A Ray that is well, as far as `hasty up` can see."""

    dashboard_url = "http://127.0.0.1:8265"

    def __init__(self, folder) -> None:
        self.environment = {"PYTHONPATH": str(folder)}
        self.stopped = False

    def wait_until_up(self) -> None:
        pass

    def alive(self) -> bool:
        return not self.stopped

    def stop(self) -> None:
        self.stopped = True


#: Notes what it is told, and by which settings; dies of the first so many commands, obeys from then on.
DIES = """
import os, sys
for line in sys.stdin:
    with open({notes!r}, "a+") as notes:
        notes.write(line)
        notes.seek(0)
        told = len(notes.readlines())
    if told <= {deaths}:
        os.kill(os.getpid(), 9)
    with open({notes!r} + ".settings", "w") as settings:
        settings.write(" ".join(os.environ["HASTY_" + name] for name in ("WORKERS", "API_MONGO_URI")))
    print({{"deploy": "deployed", "join": "joined"}}[line.strip()], flush=True)
"""


@pytest.fixture
def looking_after(tmp_path, monkeypatch):
    """A `hasty up` with a Ray that is well and operators that die so many times before they obey."""
    made = []

    def make(deaths: int):
        notes = tmp_path / "notes"
        (tmp_path / "stand_in.py").write_text(DIES.format(notes=str(notes), deaths=deaths))
        monkeypatch.setattr(up_module, "Operator", functools.partial(Operator, module="stand_in"))
        monkeypatch.setattr(up_module, "_problem", lambda _url: None)
        said: list[str] = []
        up = Up(Settings(data_dir=tmp_path, api_mongo_uri=URI), 0, said.append)
        up._folder.hold()
        up._folder.write_deployed(up._settings.without_secrets().to_environment())
        up._head = HeadThatRuns(tmp_path)
        made.append(up)
        return up, said, lambda: notes.read_text().split()

    yield make
    for up in made:
        up._stop_cluster()
        up._folder.release()


def test_one_that_dies_while_it_deploys_is_replaced_and_ray_is_left_alone(looking_after):
    up, said, told = looking_after(deaths=2)
    head = up._head
    up._mend_cluster()
    assert told() == ["deploy"] * 3
    assert (up._head, head.stopped) == (head, False)
    assert sum("died" in line for line in said) == 2


def test_one_that_dies_later_is_replaced_by_one_that_only_joins(looking_after):
    up, _, told = looking_after(deaths=0)
    up._mend_cluster()
    up._operator._process.kill()
    up._operator._process.wait()
    up._mend_cluster()
    assert told() == ["deploy", "join"]
    up._mend_cluster()
    assert told() == ["deploy", "join"], "it lives"


def test_on_another_ray_it_is_deployed_again(looking_after, tmp_path):
    up, _, told = looking_after(deaths=0)
    up._mend_cluster()
    up._stop_cluster()
    up._head = HeadThatRuns(tmp_path)
    up._mend_cluster()
    assert told() == ["deploy", "deploy"]


def test_one_that_is_replaced_deploys_what_was_deployed_last(looking_after, tmp_path):
    """Somebody has rolled its workers meanwhile: see `hasty.local.roll`."""
    up, _, _ = looking_after(deaths=0)
    deployed_by = tmp_path / "notes.settings"
    up._mend_cluster()
    assert deployed_by.read_text() == f"2 {URI}"
    DataFolder(tmp_path).write_deployed(Settings(workers=7).to_environment())
    up._stop_cluster()
    up._head = HeadThatRuns(tmp_path)
    up._mend_cluster()
    # The databases are where they were: what was deployed does not name them.
    assert deployed_by.read_text() == f"7 {URI}"


def test_how_it_is_reached_is_written_down_once_it_is_served_and_names_no_secret(looking_after, tmp_path):
    up, _, _ = looking_after(deaths=0)
    assert "driver" not in DataFolder(tmp_path).record()
    up._mend_cluster()
    record = DataFolder(tmp_path).record()
    assert record["driver"] == up._head.environment
    assert (record["embedded"], record["fixed"]["http_port"]) == (False, 8000)
    assert URI not in str(record)
    assert URI not in str(DataFolder(tmp_path).deployed())


def test_one_that_dies_again_and_again_is_given_up(looking_after):
    up, _, told = looking_after(deaths=100)
    with pytest.raises(CannotStart, match="again and again"):
        up._mend_cluster()
    assert told() == ["deploy"] * 6
