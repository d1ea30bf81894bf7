"""The secret that webhooks are signed with, set or made, and handed down; and what they may reach."""

import os
import stat
from types import MappingProxyType

import pytest

from hasty.errors import CannotStart
from hasty.local.folder import DataFolder
from hasty.local.roll import _completed
from hasty.local.up import Up
from hasty.settings import SECRETS, Settings
from hasty.webhooks import keys_of, new_secret

SECRET, OTHER = new_secret(), new_secret()


def complaint(**environment):
    with pytest.raises(CannotStart) as refused:
        Settings.load(environment)
    return str(refused.value)


@pytest.mark.parametrize(
    "secret", [SECRET, f"{SECRET} {OTHER}", f"{SECRET},{OTHER}", f" {SECRET} , {OTHER} "]
)
def test_one_secret_or_several(secret):
    settings = Settings.load({"HASTY_WEBHOOK_SECRET": secret})
    assert settings.webhooks_enabled
    assert settings.webhook_secret.get_secret_value() == secret
    assert Settings.load(settings.to_environment()) == settings


def test_without_one_there_are_no_webhooks():
    assert not Settings.load({}).webhooks_enabled
    assert not Settings.load({"HASTY_WEBHOOK_SECRET": ""}).webhooks_enabled


@pytest.mark.parametrize("secret", ["hunter2", ",", SECRET[:-1], f"{SECRET} hunter2"])
def test_what_is_no_secret_is_refused_and_not_shown(secret):
    said = complaint(HASTY_WEBHOOK_SECRET=secret)
    assert said == "HASTY_WEBHOOK_SECRET: must be whsec_ and 24 to 64 bytes in base64"


def test_it_is_not_shown_and_not_handed_to_those_who_need_none():
    settings = Settings.load({"HASTY_WEBHOOK_SECRET": SECRET})
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"
    assert not settings.without_secrets().webhooks_enabled
    assert SECRET not in str(settings.without_secrets().to_environment())


def test_every_setting_that_is_secret_is_handed_down_as_one():
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret == set(SECRETS)


@pytest.mark.parametrize(
    "entries",
    ["10.0.0.0/8", "10.1.2.3", "fd00::/8", "::1", "localhost", "hooks.internal", "a_b.example, 10.1.0.0/16"],
)
def test_hosts_addresses_and_networks_can_be_allowed(entries):
    settings = Settings.load({"HASTY_WEBHOOK_ALLOW": entries})
    assert settings.webhook_allow == tuple(entry.strip() for entry in entries.split(","))
    assert Settings.load(settings.to_environment()) == settings


@pytest.mark.parametrize(
    "entry", ["10.0.0.1/8", "10.0.0.999", "http://hooks.internal", "*.internal", "a b", "[::1]"]
)
def test_what_is_neither_is_refused(entry):
    said = complaint(HASTY_WEBHOOK_ALLOW=entry)
    assert said == (
        "HASTY_WEBHOOK_ALLOW: must be hosts, addresses or networks, as in `hooks.example,10.1.0.0/16`"
    )


@pytest.mark.parametrize("seconds", ["0", "-1", "61", "nan"])
def test_a_receiver_has_a_bounded_time(seconds):
    assert "HASTY_WEBHOOK_TIMEOUT_S" in complaint(HASTY_WEBHOOK_TIMEOUT_S=seconds)


# In the data folder ------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.hold()
    yield folder
    folder.release()


def test_a_folder_has_a_secret_of_its_own_and_keeps_it(folder, tmp_path):
    secret = folder.webhook_secret()
    assert len(keys_of(secret)) == 1
    assert folder.webhook_secret() == DataFolder(folder.path).webhook_secret() == secret
    other = DataFolder(tmp_path / "other")
    other.hold()
    assert other.webhook_secret() != secret
    other.release()


def test_nobody_else_can_read_it_whatever_the_user_lets_others_read(folder):
    before = os.umask(0)
    try:
        folder.webhook_secret()
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder.path / "webhook.secret").stat().st_mode) == 0o600
    assert [file.name for file in folder.path.glob("webhook.*")] == ["webhook.secret"]


def test_one_that_was_not_written_whole_is_written_again(folder):
    (folder.path / "webhook.secret").touch()
    assert keys_of(folder.webhook_secret())


class Head:
    environment = MappingProxyType({"RAY_ADDRESS": "here"})


def driver_environment(folder, settings):
    folder.write_deployed(settings.without_secrets().to_environment())
    up = Up(settings, 0, print)
    up._head, up._folder = Head(), folder
    return up._driver_environment()


URI = "mongodb://db.example/"


def test_what_deploys_is_handed_the_secret_and_no_file_but_one_has_it(folder):
    settings = Settings(data_dir=folder.path, api_mongo_uri=URI)
    secret = driver_environment(folder, settings)["HASTY_WEBHOOK_SECRET"]
    assert secret == folder.webhook_secret()
    holding = [file.name for file in folder.path.iterdir() if file.is_file() and secret in file.read_text()]
    assert holding == ["webhook.secret"]


def test_one_that_is_set_wins(folder):
    settings = Settings(data_dir=folder.path, api_mongo_uri=URI, webhook_secret=f"{SECRET} {OTHER}")
    assert driver_environment(folder, settings)["HASTY_WEBHOOK_SECRET"] == f"{SECRET} {OTHER}"
    assert not (folder.path / "webhook.secret").exists()
    assert SECRET not in (folder.path / "deployed.json").read_text()


def test_a_later_start_with_the_same_folder_goes_on_with_the_same_secret(folder):
    record = {"fixed": {}, "instance": "one", "embedded": False}
    rolled = _completed(Settings(api_mongo_uri=URI), folder, record)
    assert rolled.webhook_secret.get_secret_value() == folder.webhook_secret()
    set_now = _completed(Settings(api_mongo_uri=URI, webhook_secret=SECRET), folder, record)
    assert set_now.webhook_secret.get_secret_value() == SECRET
