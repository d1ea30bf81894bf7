"""Users' modules: which handlers are found in them, and what is said when they cannot be used."""

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hasty.errors import CannotStart
from hasty.handlers.loading import load
from hasty.job import Window
from hasty.local.handlers import check, with_working_directory
from hasty.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Write modules of a user's into a folder where they can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(**modules: str) -> Path:
        for name, text in modules.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


INVOICE = """
    import hasty

    @hasty.handler(timeout=5)
    async def invoice(job: hasty.JobContext, payload: int) -> int:
        return payload + 1
"""


def complaint(*paths: str) -> str:
    with pytest.raises(CannotStart) as refused:
        load(Settings(handlers=paths))
    assert "\n" not in str(refused.value)
    return str(refused.value)


# What is found ---------------------------------------------------------------------------------


def test_without_modules_there_is_the_built_in_handler():
    assert list(load(Settings())) == ["sleep"]


def test_the_handlers_of_a_module_are_found_with_the_limits_of_the_settings(shop):
    shop(shop_one=INVOICE)
    handlers = load(Settings(handlers=("shop_one",), timeout_s=9, rerun_window_s=8))
    assert list(handlers) == ["sleep", "invoice"]
    assert (handlers["invoice"].timeout_s, handlers["invoice"].window) == (5.0, Window(8.0))


def test_a_second_look_in_the_same_process_finds_the_same(shop):
    shop(shop_two=INVOICE)
    settings = Settings(handlers=("shop_two",))
    first = load(settings)
    second = load(settings)
    assert list(first) == list(second)
    assert first["invoice"] == second["invoice"]
    assert first.version == second.version


def test_a_package_brings_what_it_imports(shop):
    shop(
        **{
            "shop_three/__init__": "from . import jobs",
            "shop_three/jobs": INVOICE,
            "shop_three/more": "import hasty\n@hasty.handler\nasync def unseen(): ...",
        }
    )
    assert list(load(Settings(handlers=("shop_three",)))) == ["sleep", "invoice"]


def test_a_handler_that_two_modules_name_is_one(shop):
    shop(shop_four=INVOICE, shop_five="from shop_four import invoice")
    assert list(load(Settings(handlers=("shop_five",)))) == ["sleep", "invoice"]
    assert list(load(Settings(handlers=("shop_five", "shop_four", "shop_five")))) == ["sleep", "invoice"]


def test_what_a_module_does_not_name_is_not_found(shop):
    shop(shop_six=INVOICE, shop_seven="import shop_six\nimport hasty\n@hasty.handler\ndef mine(): ...")
    assert list(load(Settings(handlers=("shop_seven",)))) == ["sleep", "mine"]


def test_what_was_loaded_is_logged(shop, caplog):
    shop(shop_log=INVOICE)
    with caplog.at_level(logging.INFO, logger="hasty"):
        handlers = load(Settings(handlers=("shop_log",)))
    (record,) = caplog.records
    assert record.fields == {"names": "sleep,invoice", "version": handlers.version}


# What is refused -------------------------------------------------------------------------------


def test_a_module_that_is_not_there(shop):
    shop(shop_eight=INVOICE)
    for path in ("nowhere_at_all", "nowhere_at_all.jobs", "shop_eight.jobs"):
        assert complaint(path).startswith(f"there is no module {path}: ")


def test_a_module_without_handlers(shop):
    shop(shop_nine="import hasty\n")
    assert complaint("shop_nine") == "shop_nine has no handler: put @hasty.handler above a function of it"


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("def f():\n    return y\nf()\n", "NameError: name 'y' is not defined", "line 2: return y)"),
        ("import json\njson.loads('{')\n", "JSONDecodeError: Expecting", "line 2: json.loads('{'))"),
        ("import sys\nsys.exit('bye')\n", "SystemExit: bye", "line 2: sys.exit('bye'))"),
        ("import nowhere_else\n", "ModuleNotFoundError: No module named", "line 1: import nowhere_else)"),
        ("raise ValueError('a\\n  b')\n", "ValueError: a b", "line 1: raise ValueError('a\\n  b'))"),
        # As that of pytest.skip.
        ("class No(BaseException): ...\nraise No('way')\n", "No: way", "line 2: raise No('way'))"),
        ("x = 1\ny = = 2\n", "SyntaxError: invalid syntax", "line 2): y = = 2"),
        (
            "import hasty\n@hasty.handler\nasync def f(a, b): ...\n",
            "FixTheHandler: the handler f takes more than one payload",
            "line 2: @hasty.handler)",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_shows_the_line_that_is_wrong(shop, text, told, line):
    shop(shop_broken=text)
    said = complaint("shop_broken")
    assert said.startswith(f"shop_broken cannot be imported: {told}")
    assert "shop_broken.py, " in said
    assert said.endswith(line)


def test_a_module_that_was_mended_is_imported(shop):
    folder = shop(shop_mended="import nowhere_else\n")
    complaint("shop_mended")
    # Python knows a changed file by its size, too.
    (folder / "shop_mended.py").write_text(textwrap.dedent(INVOICE))
    assert "invoice" in load(Settings(handlers=("shop_mended",)))


def test_two_handlers_of_one_name(shop):
    shop(shop_a=INVOICE, shop_b=INVOICE)
    assert complaint("shop_a", "shop_b") == (
        "two handlers are named 'invoice': shop_a.invoice and shop_b.invoice; give one of them another name"
    )


def test_the_name_of_the_built_in_handler_is_taken(shop):
    shop(shop_sleep="import hasty\n@hasty.handler\nasync def sleep(): ...")
    assert complaint("shop_sleep").startswith("two handlers are named 'sleep': hasty.handlers.sleep.")


ON_GPUS = INVOICE.replace("timeout=5", "timeout=5, pool='gpu'")


def test_a_handler_wants_a_pool_that_there_is(shop):
    shop(shop_gpus=ON_GPUS)
    assert complaint("shop_gpus") == (
        "the handler 'invoice' wants the pool 'gpu', and there are: default; "
        "add [pools.gpu] to the settings, or name another"
    )
    handlers = load(Settings(handlers=("shop_gpus",), pools={"gpu": {}}))
    assert [handler.pool for handler in handlers.values()] == ["default", "gpu"]


# The version -----------------------------------------------------------------------------------


def version(shop, text: str, name: str = "shop_v") -> str:
    shop(**{name: text})
    try:
        return load(Settings(handlers=(name,))).version
    finally:
        del sys.modules[name]


def test_the_version_tells_what_was_changed(shop):
    base = version(shop, INVOICE)
    assert base == version(shop, INVOICE)
    assert base == version(shop, INVOICE, name="shop_elsewhere")
    changed = [
        INVOICE.replace("payload + 1", "payload + 10"),
        INVOICE.replace("timeout=5", "timeout=50"),
        INVOICE.replace("timeout=5", "timeout=5, name='another'"),
    ]
    assert len({base, *(version(shop, text) for text in changed)}) == 4


def test_the_version_tells_settings_apart():
    versions = {
        load(settings).version for settings in (Settings(), Settings(timeout_s=9), Settings(rerun_window_s=9))
    }
    assert len(versions) == 3
    assert load(Settings()).version == load(Settings()).version


def test_a_handler_without_a_file_has_a_version_too(shop):
    module = "import hasty\nexec('@hasty.handler\\nasync def made(): ...')\n"
    shop(shop_made=module)
    assert load(Settings(handlers=("shop_made",))).version


def test_a_handler_that_wraps_a_thing_without_a_file_has_a_version_too(shop):
    shop(
        shop_wrapping="""
            import functools, hasty

            class Doubles:
                __name__ = "double"

                def __call__(self, payload: int):
                    return 2 * payload

            doubles = Doubles()

            @hasty.handler(name="double")
            @functools.wraps(doubles)
            def double(payload):
                return doubles(payload)
        """
    )
    assert load(Settings(handlers=("shop_wrapping",))).version


# The look before the start ---------------------------------------------------------------------


def environment() -> dict[str, str]:
    return with_working_directory({"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)})


def test_the_working_directory_comes_first(shop, monkeypatch):
    folder = shop(shop_ten=INVOICE)
    assert with_working_directory({"PYTHONPATH": "/a"})["PYTHONPATH"] == f"{folder}{os.pathsep}/a"
    assert with_working_directory({})["PYTHONPATH"] == str(folder)


def test_a_process_of_its_own_says_what_the_handlers_are(shop):
    shop(shop_eleven=INVOICE)
    settings = Settings(handlers=("shop_eleven",))
    *_, invoice, told = check(settings, environment())
    assert invoice == "handler invoice: timeout 5 s, rerun window 300 s, given up after 3 crashes"
    assert told == f"version of the handlers: {load(settings).version}"
    assert check(Settings(), environment())[0].startswith("handler sleep: ")


def told_of(shop, options: str) -> str:
    """The line about a handler with these options."""
    shop(shop_told=INVOICE.replace("timeout=5", options))
    return check(Settings(handlers=("shop_told",), pools={"gpu": {}}), environment())[1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("retries=4, pool='gpu'", "rerun window 300 s, given up after 3 crashes, 4 retries, pool gpu"),
        ("window_from='finished'", "rerun window 300 s from its end, given up after 3 crashes"),
        ("rerun_window=9, window_after=['finished']", "rerun window 9 s after finished, given up"),
        (
            "window_from='finished', window_after=['finished', 'failed']",
            "rerun window 300 s from its end after failed or finished, given up",
        ),
    ],
)
def test_what_is_not_as_usual_is_told_too(shop, options, told):
    assert told_of(shop, options).startswith(f"handler invoice: timeout 46 s, {told}")


def test_a_window_that_no_end_keeps_shut_reads_well(shop):
    assert " after ," not in told_of(shop, "window_after=[]")


def test_what_is_wrong_with_them_is_told_in_one_line(shop):
    shop(shop_twelve="import sys\nprint('noise', file=sys.stderr)\nx = y\n")
    with pytest.raises(CannotStart, match=r"^shop_twelve cannot be imported: NameError: .* line 3: x = y\)$"):
        check(Settings(handlers=("shop_twelve",)), environment())


def test_a_module_that_ends_python_is_told(shop):
    shop(shop_thirteen="import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(CannotStart, match="importing the handlers ended Python with code -9"):
        check(Settings(handlers=("shop_thirteen",)), environment())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("signal.signal(signal.SIGTERM, print)", "ValueError: signal only works in main thread"),
        ("asyncio.get_event_loop()", "RuntimeError: There is no current event loop in thread"),
    ],
)
def test_a_module_that_only_the_main_thread_can_import_is_told(shop, line, told):
    """The processes of hasty import it in other threads."""
    shop(shop_main="import asyncio, signal\n" + textwrap.dedent(INVOICE) + line)
    command = [sys.executable, "-m", "hasty.handlers"]
    named = environment() | {"HASTY_HANDLERS": "shop_main"}
    result = subprocess.run(command, env=named, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"shop_main cannot be imported: {told}")
    assert result.stderr.endswith(f": {line})\n")


def test_a_module_that_sets_up_its_own_logging_leaves_ours_on(shop):
    """In a process of its own, because it would switch off ours, too."""
    shop(
        shop_quiet="import logging.config\nlogging.config.dictConfig({'version': 1})\n"
        + textwrap.dedent(INVOICE)
    )
    program = (
        "import logging; from hasty.handlers.loading import load; from hasty.settings import Settings; "
        "ours = [logging.getLogger(name) for name in ('hasty', 'hasty.api')]; "
        "load(Settings(handlers=('shop_quiet',))); print([logger.disabled for logger in ours])"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert result.stdout == "[False, False]\n"


def test_only_what_the_environment_names_is_found(shop):
    shop(shop_fourteen=INVOICE)
    with pytest.raises(CannotStart, match="there is no module shop_fourteen"):
        check(Settings(handlers=("shop_fourteen",)), {"PYTHONPATH": str(ROOT)})


def test_a_worker_without_its_handlers_says_so_and_ends_its_process(shop):
    """Ray does not start an actor again whose constructor raised, but one whose process ended."""
    shop(shop_fifteen="x = y\n")
    program = (
        "from hasty.cluster.loading import load_or_leave; from hasty.settings import Settings; "
        "load_or_leave('worker-1', Settings(handlers=('shop_fifteen',))); print('not reached')"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert "HandlersMissing worker=worker-1 why=shop_fifteen cannot be imported: NameError" in result.stderr
