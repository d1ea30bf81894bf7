"""The command line, as far as nothing is started."""

import os

import pytest
from typer.testing import CliRunner

import hasty.cli
from hasty.cli import app
from hasty.errors import CannotStart
from hasty.local.folder import DataFolder

MODULE = "import hasty\n\n@hasty.handler\nasync def {name}(): ...\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / f"shop_{name}.py").write_text(MODULE.format(name=name))
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("HASTY_"):
            monkeypatch.delenv(name)
    return tmp_path


def handlers(*options: str, **environment: str) -> list[str]:
    """Run `hasty handlers`; return the names it shows."""
    result = CliRunner().invoke(app, ["handlers", *options], env=environment, catch_exceptions=False)
    assert result.exit_code == 0
    *lines, version = result.stdout.splitlines()
    assert version.startswith("version of the handlers: ")
    return [line.split()[1].rstrip(":") for line in lines]


def test_handlers_are_shown_from_the_working_directory(folder):
    assert handlers() == ["sleep"]
    assert handlers("--handlers", "shop_one") == ["sleep", "one"]
    assert handlers("--handlers", "shop_two", "--handlers=shop_one") == ["sleep", "two", "one"]
    assert handlers("--handlers", "shop_one,shop_two") == ["sleep", "one", "two"]


def test_an_option_wins_over_the_variable(folder):
    assert handlers(HASTY_HANDLERS="shop_one") == ["sleep", "one"]
    assert handlers("--handlers", "shop_two", HASTY_HANDLERS="shop_one") == ["sleep", "two"]


def test_what_is_wrong_with_them_is_told_in_one_line_with_exit_code_2(folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hasty", "handlers", "--handlers", "shop_three"])
    with pytest.raises(SystemExit) as left:
        hasty.cli.main()
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hasty: there is no module shop_three: ")


def test_a_deployment_does_not_look_into_the_working_directory(folder):
    """No node has it. And nothing else is looked at: the database would be refused, too."""
    environment = {
        "HASTY_HANDLERS": "shop_one",
        "HASTY_API_MONGO_URI": "mongodb://127.0.0.1:1/?replicaSet=none",
    }
    with pytest.raises(CannotStart, match="there is no module shop_one"):
        CliRunner().invoke(app, ["deploy"], env=environment, catch_exceptions=False)


def test_where_it_runs_already_it_is_rolled_with_what_is_said_now(folder, monkeypatch):
    rolled = []
    monkeypatch.setattr(hasty.cli, "roll", lambda settings, data, _tell: rolled.append((settings, data)))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    data = DataFolder(folder / "data")
    data.hold()
    try:
        options = ["up", "--data-dir", str(data.path), "--workers", "3", "--handlers", "shop_one"]
        CliRunner().invoke(app, options, env={"HASTY_SLOTS": "70"}, catch_exceptions=False)
    finally:
        data.release()
    ((settings, found),) = rolled
    assert (settings.workers, settings.slots, settings.handlers) == (3, 70, ("shop_one",))
    assert found.path == data.path


@pytest.fixture
def resized(monkeypatch):
    """What `hasty scale` asks for, and of whom."""
    asked = []

    class Pools:
        def __init__(self, url):
            self.url = url

        def resize(self, pool, workers):
            asked.append((self.url, pool, workers))
            return f"{pool}: as you say"

    monkeypatch.setattr(hasty.cli, "Pools", Pools)
    return asked


def scale(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(app, ["scale", *arguments], env=environment, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_pools_are_resized_one_after_the_other_on_this_machine_or_at_a_url(folder, resized):
    assert scale("default=3", "gpu=auto") == "default: as you say\ngpu: as you say\n"
    scale("default=4", HASTY_HTTP_PORT="9000")
    scale("default=5", HASTY_HTTP_PORT="9000", HASTY_URL="http://other:1")
    scale("default=6", "--url", "http://another:1", HASTY_URL="http://other:1")
    assert resized == [
        ("http://127.0.0.1:8000", "default", 3),
        ("http://127.0.0.1:8000", "gpu", "auto"),
        ("http://127.0.0.1:9000", "default", 4),
        ("http://other:1", "default", 5),
        ("http://another:1", "default", 6),
    ]


def test_a_size_that_will_not_do_is_told_before_anything_is_resized(folder, resized):
    with pytest.raises(CannotStart, match="'gpu' is not POOL=N"):
        scale("default=3", "gpu")
    assert resized == []
