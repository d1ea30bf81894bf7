"""The command line, as far as nothing is started."""

import os

import pytest
from typer.testing import CliRunner

import hasty.cli
from hasty.cli import app
from hasty.errors import CannotStart

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
