"""The command line of those who run a hasty, as far as nothing is started."""

import os
from importlib import import_module

import pytest

import hasty.cli
from hasty import __version__
from hasty.bench import __main__ as bench
from hasty.bench.load import Load
from hasty.chaos.faults import KINDS
from hasty.cli.breaking import FAULTS
from hasty.cli.server import server_extra
from hasty.cluster.environment import node_environment
from hasty.errors import CannotStart
from hasty.local.folder import DataFolder
from tests.unit.typing_commands import hasty as typed

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
    said = typed("handlers", *options, **environment)
    assert said.code == 0
    *lines, version = said.lines
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


def test_programs_get_the_handlers_line_by_line(folder):
    first, second = typed("handlers", "--json").records
    assert first["line"].startswith("handler sleep: ")
    assert second["line"].startswith("version of the handlers: ")


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
    said = typed("deploy", **environment)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("hasty: there is no module shop_one")


def test_where_it_runs_already_it_is_rolled_with_what_is_said_now(folder, monkeypatch):
    rolled = []
    monkeypatch.setattr(
        "hasty.local.roll.roll", lambda settings, data, _tell: rolled.append((settings, data))
    )
    monkeypatch.setattr("signal.signal", lambda *_: None)
    data = DataFolder(folder / "data")
    data.hold()
    try:
        options = ["--data-dir", str(data.path), "--workers", "3", "--handlers", "shop_one"]
        assert typed("up", *options, HASTY_SLOTS="70").code == 0
    finally:
        data.release()
    ((settings, found),) = rolled
    assert (settings.workers, settings.slots, settings.handlers) == (3, 70, ("shop_one",))
    assert found.path == data.path


def test_what_does_not_stop_is_told(folder, monkeypatch):
    asked = []
    monkeypatch.setattr("hasty.local.up.down", lambda path, within, _tell: asked.append((path, within)))
    said = typed("down", "--data-dir", str(folder), "--within", "3")
    assert (said.code, said.err) == (2, "hasty: hasty did not stop within 3 s\n")
    assert asked == [(folder, 3)]


def test_a_setting_that_will_not_do_is_told_before_anything_starts(folder):
    said = typed("up", HASTY_TIMEOUT_S="soon")
    assert said.code == 2
    assert "HASTY_TIMEOUT_S" in said.err


def test_the_environment_of_a_node_is_printed_for_a_shell_or_a_program():
    wanted = node_environment()
    exports = [f"export {name}={value}" for name, value in sorted(wanted.items())]
    assert typed("environment").lines == exports
    assert typed("environment", "--json").records == [wanted]


def test_the_version_is_told():
    assert typed("version").out == f"{__version__}\n"
    assert typed("version", "--json").records == [{"version": __version__}]


def test_a_module_of_our_own_that_is_missing_is_no_matter_of_what_is_installed():
    with pytest.raises(ModuleNotFoundError), server_extra():
        import_module("hasty.no_such_module")
    with pytest.raises(CannotStart, match="no_such_module is not installed"), server_extra():
        import_module("no_such_module.at_all")


# Trying it hard ---------------------------------------------------------------------------------


def test_the_faults_that_the_help_lists_are_those_that_there_are():
    assert list(FAULTS) == list(KINDS)
    shown = "".join(typed("chaos", "--help", COLUMNS="200").out.split())
    assert all(fault in shown for fault in FAULTS)


def test_what_chaos_is_told_is_what_it_does(monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr("hasty.chaos.command.chaos_command", lambda **options: told.append(options))
    options = ["--minutes", "2", "--seed", "7", "--rate", "5", "--faults", "worker-kill", "--together"]
    assert typed("chaos", *options, "--data-dir", str(tmp_path)).code == 0
    assert told == [
        {
            "minutes": 2.0,
            "seed": 7,
            "rate": 5.0,
            "faults": "worker-kill",
            "together": True,
            "data_dir": tmp_path,
        }
    ]


def test_a_broken_promise_is_exit_code_1(monkeypatch):
    monkeypatch.setattr("hasty.chaos.command.chaos_command", lambda **_: exec("raise SystemExit(1)"))
    assert typed("chaos").code == 1


def test_what_the_benchmark_measures_is_shown_or_handed_over(monkeypatch):
    load = Load(seconds=10.0, statuses={"201": 5_000}, p50_s=0.01, p99_s=0.02, cpu_s=1.0)
    measured = []

    def measure(connections, seconds):
        measured.append((connections, seconds))
        return bench.Measured(load, load, 400.0, (0.1,) * 200)

    monkeypatch.setattr(bench, "measure_echo", measure)
    monkeypatch.setattr(bench, "measure_hasty", measure)
    said = typed("bench", "--connections", "4", "--seconds", "2")
    assert measured == [(4, 2.0)] * 2
    assert "POST p99" in said.out
    assert "measuring hasty" in said.err
    (record,) = typed("bench", "--json").records
    assert record["hasty"]["busy"]["statuses"] == {"201": 5_000}
    assert (record["echo"]["end_to_end"], measured[-1]) == (400.0, (128, 10.0))
