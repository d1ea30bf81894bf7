"""Pools of workers, and the file in which settings can stand."""

import importlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hasty.errors import CannotStart
from hasty.pools import DEFAULT_POOL, PoolSettings
from hasty.settings import Settings
from tests.unit.examples import repeatable

DOCUMENT = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()

SECRET = "hunter2"
URI = f"mongodb://user:{SECRET}@db.example:27017/?replicaSet=rs0"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write a file of settings, which is then known by its bare name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> dict[str, str]:
        Path("hasty.toml").write_bytes(text.encode() if isinstance(text, str) else text)
        return {"HASTY_CONFIG": "hasty.toml"}

    return write


def complaint(environment, given=None) -> str:
    with pytest.raises(CannotStart) as refused:
        Settings.load(environment, given)
    return str(refused.value)


def with_pools(**pools) -> dict[str, str]:
    return {"HASTY_POOLS": json.dumps(pools)}


# What a pool is, when all is known --------------------------------------------------------------


def test_the_default_pool_always_exists_and_is_as_the_settings_say():
    pools = Settings.load({"HASTY_WORKERS": "3", "HASTY_SLOTS": "70", "HASTY_SYNC_SLOTS": "5"}).all_pools
    assert pools == {
        DEFAULT_POOL: PoolSettings(min_workers=3, max_workers=3, slots=70, sync_slots=5, num_cpus=0.1)
    }


def test_the_default_pool_comes_first_the_others_as_they_are_named():
    named = with_pools(zoo={}, default={"num_gpus": 1}, ape={})
    pools = Settings.load(named).all_pools
    assert list(pools) == [DEFAULT_POOL, "zoo", "ape"]
    assert (pools["default"].min_workers, pools["default"].num_gpus) == (2, 1)
    assert list(Settings.load(with_pools(ape={})).all_pools) == [DEFAULT_POOL, "ape"]


def test_another_pool_has_one_worker_unless_it_says_more():
    pools = Settings.load({"HASTY_WORKERS": "9"} | with_pools(a={}, b={"min_workers": 4})).all_pools
    assert [(pool.min_workers, pool.max_workers) for pool in pools.values()] == [(9, 9), (1, 1), (4, 4)]


def test_what_a_pool_says_wins_over_what_is_set_for_all():
    said = {"min_workers": 2, "max_workers": 7, "slots": 8, "sync_slots": 9, "num_cpus": 4}
    assert Settings.load(with_pools(a=said)).all_pools["a"] == PoolSettings(**said)


@pytest.mark.parametrize(
    ("said", "of_all", "found"),
    [
        ({"num_cpus": 4, "sync_slots": 2}, 3, 2),
        ({"num_cpus": 4}, 3, 4),
        ({"num_cpus": 1.9}, 3, 1),
        ({"num_cpus": 1}, None, 1),
        ({"num_cpus": 0.9}, 3, 3),
        ({"num_cpus": 0.9}, None, None),
        ({}, None, None),
    ],
)
def test_sync_slots_come_from_the_pool_then_its_cpus_then_what_is_set_for_all(said, of_all, found):
    settings = Settings.load(with_pools(a=said), {"sync_slots": of_all})
    assert settings.all_pools["a"].sync_slots == found


def test_what_is_resolved_is_not_what_was_set():
    settings = Settings.load(with_pools(a={}))
    assert settings.all_pools["a"].slots == 4000
    assert settings.pools["a"].slots is None


# What is refused --------------------------------------------------------------------------------


NAME = "must be a letter and at most 30 letters, digits and hyphens, all of them lower-case"
COUNTED = "must be 0, a share from 0.0001 to 1, or a whole number"
JSON = "must be JSON: no dates and times, no infinite numbers"
LABEL = "must be the value of a label, or as in `!spot`, `in(a, b)`, `!in(a, b)`"
KEY = "must be the name of a label, as in `market-type` or `ray.io/accelerator-type`"


@pytest.mark.parametrize(
    ("said", "complained"),
    [
        ({"min_workers": 0}, "min_workers: Input should be greater than or equal to 1"),
        ({"max_workers": 10_001}, "max_workers: Input should be less than or equal to 10000"),
        ({"slots": 100_001}, "slots: Input should be less than or equal to 100000"),
        ({"sync_slots": 1_001}, "sync_slots: Input should be less than or equal to 1000"),
        ({"num_cpus": 0}, "num_cpus: Input should be greater than or equal to 0.0001"),
        ({"num_cpus": float("nan")}, "num_cpus: Input should be less than or equal to 1000"),
        ({"num_cpus": 1_000.5}, "num_cpus: Input should be less than or equal to 1000"),
        ({"num_gpus": -1}, "num_gpus: Input should be greater than or equal to 0"),
        ({"num_gpus": float("inf")}, "num_gpus: Input should be less than or equal to 1000"),
        ({"num_gpus": 0.00001}, f"num_gpus: {COUNTED}"),
        ({"num_gpus": 1.5}, f"num_gpus: {COUNTED}"),
        ({"memory": 0}, "memory: Input should be greater than 0"),
        ({"memory": 10**15}, "memory: Input should be less than or equal to 100000000000000"),
        ({"resources": {"a": 0}}, "resources.a: Input should be greater than or equal to 0.0001"),
        ({"resources": {"": 1}}, 'resources."": String should have at least 1 character'),
        (
            {"resources": {"CPU": 1}},
            "resources.CPU: is no custom resource; use the field num_cpus",
        ),
        (
            {"resources": {"GPU": 1}},
            "resources.GPU: is no custom resource; use the field num_gpus",
        ),
        (
            {"resources": {"memory": 1}},
            "resources.memory: is no custom resource; use the field memory",
        ),
        ({"labels": {"gpu": "a b"}}, f"labels.gpu: {LABEL}"),
        ({"labels": {"a\nb": "c"}}, f'labels."a\\nb": {KEY}'),
        ({"runtime_env": {"config": float("inf")}}, f"runtime_env: {JSON}"),
        ({"runtime_env": ["pip"]}, "runtime_env: Input should be a valid dictionary"),
        ({"num_gpu": 1}, "num_gpu: there is no such setting; did you mean num_gpus?"),
        ({"colour": "red"}, "colour: there is no such setting"),
    ],
)
def test_a_wrong_field_is_named(said, complained):
    assert complaint(with_pools(a=said)) == f"HASTY_POOLS: a.{complained}"


def test_the_most_workers_are_not_fewer_than_the_fewest():
    said = complaint(with_pools(a={"min_workers": 3, "max_workers": 2}))
    assert said == "HASTY_POOLS: a: max_workers is less than min_workers"
    assert Settings.load(with_pools(a={"min_workers": 3, "max_workers": 3}))


def test_the_default_pool_has_room_for_its_workers():
    said = complaint(with_pools(default={"max_workers": 1}))
    assert said == "settings: max_workers of the pool default is less than workers, its min_workers"
    for enough in ({"max_workers": 2}, {"min_workers": 1, "max_workers": 1}):
        assert Settings.load(with_pools(default=enough))


@pytest.mark.parametrize("name", ["", "1a", "-a", "Gpu", "a_b", "a b", "a\n", "ä", "a" * 32])
def test_a_wrong_name_of_a_pool_is_shown_in_one_line(name):
    said = complaint(with_pools(**{name: {}}))
    assert re.fullmatch(rf"HASTY_POOLS: ([\w-]+|\".*\"): {NAME}", said)


@pytest.mark.parametrize("name", ["a", "a-", "gpu-2", "a" * 31])
def test_a_name_of_a_pool_is_short_and_plain(name):
    assert list(Settings.load(with_pools(**{name: {}})).pools) == [name]


def test_there_can_be_64_pools():
    assert len(Settings.load(with_pools(**{f"p{n}": {} for n in range(64)})).pools) == 64
    said = complaint(with_pools(**{f"p{n}": {} for n in range(65)}))
    assert said == "HASTY_POOLS: Dictionary should have at most 64 items after validation, not more"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{gpu: {}}", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (f'{{"a": {{}}}} {SECRET}', "Extra data: line 1 column 11 (char 10)"),
        ("gpu", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_pools_that_are_not_json_are_refused_in_one_line(written, said):
    assert complaint({"HASTY_POOLS": written}) == f"HASTY_POOLS: is not JSON: {said}"


@pytest.mark.parametrize("written", ["[]", "null", "1", '"gpu"'])
def test_pools_are_an_object(written):
    assert complaint({"HASTY_POOLS": written}) == "HASTY_POOLS: Input should be a valid dictionary"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a", "b"),
        ("ray.io/accelerator-type", "A100"),
        ("a", "!b"),
        ("a", "in(b, c,d)"),
        ("a", "!in(b)"),
        ("a", ""),
        ("a", "-b"),
        ("a", "in()"),
        ("a", "!!b"),
        ("a", "notin(b)"),
        ("a", "b" * 63),
        ("a", "b" * 64),
        ("a" * 64, "b"),
        ("-a", "b"),
        ("a b/c", "d"),
        ("a/b/c", "d"),
        ("a." * 126 + "a/b", "c"),
        ("a." * 127 + "a/b", "c"),
    ],
)
def test_labels_are_taken_as_ray_takes_them(key, value):
    try:
        PoolSettings(labels={key: value})
        taken = True
    except ValidationError:
        taken = False
    ray = importlib.import_module("ray._private.label_utils")
    assert taken == (ray.validate_label_selector({key: value}) is None)


# The file ---------------------------------------------------------------------------------------


def test_settings_can_stand_in_a_file(file):
    settings = Settings.load(file('workers = 4\nhandlers = ["shop.jobs"]\n[pools.gpu]\nnum_gpus = 0.5\n'))
    assert settings == Settings(workers=4, handlers=("shop.jobs",), pools={"gpu": PoolSettings(num_gpus=0.5)})


def test_options_win_over_variables_and_variables_over_the_file(file):
    environment = file("workers = 4\nslots = 5\ntimeout_s = 6\n")
    settings = Settings.load(environment | {"HASTY_WORKERS": "7", "HASTY_SLOTS": "8"}, {"workers": 9})
    assert (settings.workers, settings.slots, settings.timeout_s) == (9, 8, 6)
    assert settings.gateways == 1


def test_pools_of_two_places_are_not_mixed(file):
    environment = file("[pools.gpu]\nnum_gpus = 1\nslots = 2\n[pools.big]\n")
    settings = Settings.load(environment | with_pools(gpu={"slots": 3}))
    assert settings.pools == {"gpu": PoolSettings(slots=3)}
    assert Settings.load(environment | {"HASTY_POOLS": "{}"}).pools == {}


def test_an_option_names_the_file_as_well_and_wins(file, tmp_path):
    environment = file("workers = 4\n")
    (tmp_path / "other.toml").write_text("workers = 5\n")
    assert Settings.load(environment, {"config": Path("other.toml")}).workers == 5
    assert Settings.load({}, {"config": tmp_path / "other.toml"}).workers == 5
    assert Settings.load(environment, {"config": None}).workers == 4
    assert Settings.load({"HASTY_CONFIG": ""}).workers == 2


def test_settings_that_name_a_file_can_be_given_whole(file):
    """As by Serve, which makes them of the args of an application."""
    file("workers = 4\nslots = 5\n")
    args = Settings(config=Path("hasty.toml"), slots=6)
    settings = Settings.load({}, args.model_dump(exclude_unset=True))
    assert (settings.workers, settings.slots) == (4, 6)


def test_what_is_empty_in_the_file_counts_as_not_set(file):
    assert Settings.load(file('api_mongo_uri = ""\ninstance = ""\nhandlers = []\n[pools]\n')) == Settings()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("wrokers = 4", "wrokers: there is no such setting; did you mean workers?"),
        ("HASTY_WORKERS = 4", "HASTY_WORKERS: there is no such setting; did you mean workers?"),
        ('"a\\nb" = 4', '"a\\nb": there is no such setting'),
        ("[pool.gpu]", "pool: there is no such setting; did you mean pools?"),
        ("[pools.gpu]\nnum_gpu = 1", "pools.gpu.num_gpu: there is no such setting; did you mean num_gpus?"),
        (
            "[pools.gpu]\nnum_cpus = 0",
            "pools.gpu.num_cpus: Input should be greater than or equal to 0.0001",
        ),
        ("[pools.Gpu]", f"pools.Gpu: {NAME}"),
        ("[pools.a.runtime_env]\nat = 2026-01-02", f"pools.a.runtime_env: {JSON}"),
        ("[pools]\ngpu = 1", "pools.gpu: Input should be a valid dictionary or instance of PoolSettings"),
        ("handlers = [1]", "handlers.0: Input should be a valid string"),
        ("timeout_s = inf", "timeout_s: Input should be less than or equal to 86400"),
        ('config = "other.toml"', "config: a file of settings names no other"),
    ],
)
def test_a_wrong_setting_is_named_by_its_file_and_key(file, written, said):
    complained = complaint(file(written))
    assert complained == f"hasty.toml: {said}"


def test_each_wrong_setting_is_named_as_it_is_spelt_where_it_stands(file):
    environment = file("workers = 0\nslots = 0\n") | {"HASTY_SLOTS": "-1", "HASTY_GATEWAYS": "0"}
    assert complaint(environment) == (
        "hasty.toml: workers: Input should be greater than or equal to 1; "
        "HASTY_SLOTS: Input should be greater than or equal to 1; "
        "HASTY_GATEWAYS: Input should be greater than or equal to 1"
    )


def test_what_is_overruled_may_be_wrong(file):
    assert Settings.load(file("workers = 0\n"), {"workers": 1}).workers == 1


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("workers = 4\nslots == 5\n", "Invalid value (at line 2, column 8)"),
        (f"api_mongo_uri = {URI}\n", "Invalid value (at line 1, column 17)"),
        ("workers = 4\nworkers = 5\n", "Cannot overwrite a value (at line 2, column 12)"),
        (b'instance = "\xff"\n', "it is not UTF-8"),
    ],
)
def test_what_is_not_toml_is_refused_in_one_line(file, written, said):
    assert complaint(file(written)) == f"hasty.toml is not TOML: {said}"


def test_a_file_that_cannot_be_read_is_named(file, tmp_path):
    missing = "cannot read the settings in nowhere.toml: No such file or directory"
    assert complaint({"HASTY_CONFIG": "nowhere.toml"}) == missing
    assert complaint(file("workers = 4"), {"config": "nowhere.toml"}) == missing
    assert complaint({"HASTY_CONFIG": "."}) == "cannot read the settings in .: Is a directory"


@pytest.mark.parametrize(
    "written",
    [
        f'api_mongo_uri = "{URI}"\nworkers = "{SECRET}"\n',
        f'api_mongo_uri = ["{URI}"]\n',
        f'api_mongo_ury = "{URI}"\n',
        f'api_mongo_uri = "{URI}\n',
        f'http_host = "{SECRET}"\n',
        f'[pools.a]\nnum_cpus = "{SECRET}"\n',
        f'[pools.a.runtime_env]\nenv_vars = {{ TOKEN = "{SECRET}", AT = 2026-01-02 }}\n',
        f'[pools.a.labels]\na = "{SECRET} "\n',
    ],
)
def test_a_complaint_about_the_file_shows_no_values(file, written):
    said = complaint(file(written))
    assert said.startswith("hasty.toml")
    assert SECRET not in said
    assert "\n" not in said


def test_what_is_handed_to_a_worker_as_its_environment_is_not_shown():
    settings = Settings.load(with_pools(a={"runtime_env": {"env_vars": {"TOKEN": SECRET}}}))
    assert SECRET not in f"{settings!r} {settings} {settings.all_pools}"


# The way to other processes ---------------------------------------------------------------------


def test_a_child_reads_the_same_whatever_else_its_environment_says(file):
    environment = file(
        f'api_mongo_uri = "{URI}"\nworkers = 4\nhandlers = ["shop.jobs"]\n[pools.gpu]\nnum_gpus = 1\n'
    )
    settings = Settings.load(environment, {"workers": 5})
    assert Settings.load(environment | settings.to_environment()) == settings
    Path("hasty.toml").unlink()
    assert Settings.load(environment | settings.to_environment()) == settings


def test_what_is_not_set_stays_so_beside_an_environment_that_sets_it(file):
    environment = file("sync_slots = 3\n[pools.gpu]\n") | {"HASTY_INSTANCE": "a", "HASTY_API_MONGO_URI": URI}
    assert Settings.load(environment | Settings().to_environment()) == Settings()


def some(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most) | st.integers(1, int(most))


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NUMBERS = {
    "min_workers": st.integers(2, 50),
    "max_workers": st.integers(50, 10_000),
    "slots": st.integers(1, 100_000),
    "sync_slots": st.integers(1, 1_000),
    "num_cpus": some(0.0001, 1_000),
    "num_gpus": some(0.0001, 1),
    "memory": st.integers(1, 10**14),
}
REST = {
    "resources": st.dictionaries(
        st.text(min_size=1).filter(lambda name: name not in {"CPU", "GPU", "memory"}),
        some(0.0001, 10**12),
        max_size=3,
    ),
    "labels": st.dictionaries(NAMES.map("{}0".format), NAMES.map("!{}0".format), max_size=3),
    "runtime_env": st.dictionaries(st.text(), VALUES, max_size=3),
}


def pools_of(fields) -> st.SearchStrategy[dict]:
    return st.dictionaries(NAMES, st.fixed_dictionaries({}, optional=fields), max_size=4)


@repeatable
@given(pools_of(NUMBERS | REST))
def test_pools_survive_the_way_through_an_environment(pools):
    settings = Settings.load({}, {"pools": pools})
    assert settings.pools == {name: PoolSettings(**said) for name, said in pools.items()}
    found = Settings.load(settings.to_environment())
    assert found == settings
    assert list(found.all_pools) == list(settings.all_pools)
    # As `hasty up` hands them on.
    assert Settings.load({}, settings.model_dump(exclude_unset=True)) == settings


@repeatable
@given(pools_of(NUMBERS))
def test_every_pool_is_known_in_full(pools):
    for pool in Settings(pools=pools).all_pools.values():
        assert pool.min_workers is not None and pool.max_workers is not None and pool.slots is not None
        assert pool.min_workers <= pool.max_workers
        # What is resolved could have been set.
        assert PoolSettings(**pool.model_dump()) == pool


# The document -----------------------------------------------------------------------------------


def test_the_documented_file_can_be_read(file):
    (example,) = re.findall(r"^```toml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert list(Settings.load(file(example)).all_pools) == [DEFAULT_POOL, "gpu", "import"]


def test_the_table_of_pools_is_that_of_the_code():
    expected = [
        f"| `{name}` | {'none' if field.default is None else f'`{field.default}`'} | {field.description} |"
        for name, field in PoolSettings.model_fields.items()
    ]
    table = DOCUMENT.partition("## Pools")[2]
    assert [line for line in table.splitlines() if line.startswith("| `")] == expected
