"""`hasty up` beside a running one: what is refused before anything is touched. The rest is shown on Ray."""

import pytest

from hasty.errors import CannotStart
from hasty.local import roll as rolling
from hasty.local.folder import DataFolder
from hasty.local.roll import roll
from hasty.settings import Settings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a hasty that is said to run; nothing may be deployed onto it."""

    def nobody(*_about):
        raise AssertionError("an operator was started")

    monkeypatch.setattr(rolling, "Operator", nobody)
    folder = DataFolder(tmp_path)
    folder.hold()
    yield folder
    folder.release()


def ready(folder, **changed):
    record = {
        "instance": "one",
        "run_dir": "nowhere",
        "driver": {"RAY_ADDRESS": "127.0.0.1:1"},
        "embedded": True,
        "import_path": "",
        "fixed": {"http_host": "127.0.0.1", "http_port": 8000},
    }
    folder.write_record(**record | changed)


def refusal(folder, **settings) -> str:
    said = []
    with pytest.raises(CannotStart) as refused:
        roll(Settings.load({}, settings), folder, said.append)
    return str(refused.value)


def test_one_that_is_still_starting_is_left_alone(folder):
    folder.write_record(instance="one", run_dir="nowhere")
    assert "not ready yet" in refusal(folder)


def test_one_that_others_can_reach_is_not_rolled_without_a_key(folder, monkeypatch):
    """Whatever address is said this time: it listens where it listens."""
    asked = []
    monkeypatch.setattr("hasty.local.keys.ask", lambda uri, _question: asked.append(uri))
    ready(folder, fixed={"http_host": "0.0.0.0", "http_port": 8000})
    assert "`hasty keys add NAME`" in refusal(folder)
    assert len(asked) == 1 and str(folder.path).replace("/", "%2F") in asked[0]
    assert not (folder.path / "deployed.json").exists()
    with pytest.raises(AssertionError, match="an operator was started"):
        roll(Settings.load({}, {"auth": False}), folder, print)


@pytest.mark.parametrize(("name", "value"), [("http_port", 8001), ("http_host", "0.0.0.0")])
def test_what_its_processes_were_started_with_cannot_change(folder, name, value):
    ready(folder)
    assert f"HASTY_{name.upper()} is " in refusal(folder, **{name: value})


def test_what_is_said_again_and_is_the_same_is_no_change(folder):
    ready(folder)
    with pytest.raises(AssertionError, match="an operator was started"):
        roll(Settings.load({}, {"http_port": 8000, "workers": 3}), folder, print)
    # Whoever brings it back deploys that.
    assert folder.deployed()["HASTY_WORKERS"] == "3"


def test_handlers_that_cannot_be_loaded_are_told_of_before_anything_is_written(folder):
    ready(folder)
    assert "there is no module shop_nowhere" in refusal(folder, handlers="shop_nowhere")
    assert not (folder.path / "deployed.json").exists()


def test_modules_are_looked_for_where_the_running_one_finds_them(folder, tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "shelf.py").write_text(
        "import hasty\n@hasty.handler\nasync def tidies() -> None: ...\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    ready(folder)
    assert "there is no module shelf" in refusal(folder, handlers="shelf")


def test_one_that_is_on_a_mongodb_of_its_own_wants_to_be_told_which(folder):
    ready(folder, embedded=False)
    assert "HASTY_API_MONGO_URI is not set" in refusal(folder)
