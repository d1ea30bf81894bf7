"""`hasty up` where one runs already: it goes on with the handlers and settings as they are now."""

import os
from pathlib import Path
from typing import Any

from hasty.errors import CannotStart
from hasty.local.folder import DataFolder
from hasty.local.handlers import check
from hasty.local.keys import require_a_key
from hasty.local.mongod import Mongod
from hasty.local.operator import Operator
from hasty.local.up import Say
from hasty.settings import PREFIX, Settings

#: What a running hasty cannot change: its processes were started with it.
_FIXED = ("http_host", "http_port")


def roll(settings: Settings, folder: DataFolder, say: Say) -> None:
    """Deploy onto the hasty that holds a data folder; return when no worker is of before.

    Each worker in turn takes no more jobs, ends those it has, and gives way to a new one. Raises
    CannotStart, and then what ran goes on: hasty is still starting, a setting cannot be changed
    while it runs, or the handlers cannot be loaded.
    """
    record = folder.record()
    if "driver" not in record:
        raise CannotStart(
            f"the data folder {folder.path} is in use by a hasty that is not ready yet: try again when it "
            "is, stop it with `hasty down`, or set HASTY_DATA_DIR"
        )
    _refuse_fixed(settings, record["fixed"])
    # Its processes find modules where they did when they were started.
    environment = {**os.environ, "PYTHONPATH": record["import_path"]}
    say("hasty runs already: replacing its workers, none of which loses a job")
    for line in check(settings, environment):
        say(line)
    wanted = _completed(settings, folder, record)
    require_a_key(wanted, wanted.jobs_uri)
    folder.write_deployed(wanted.without_secrets().to_environment())
    operator = Operator(
        {**environment, **record["driver"], **wanted.to_environment()}, folder.logs / "roll.log"
    )
    try:
        if not operator.deploy(say):
            raise CannotStart(f"the process that deploys died: see {folder.logs / 'roll.log'}")
    finally:
        operator.stop()
    say("hasty runs with the handlers and settings as they are now")


def _refuse_fixed(settings: Settings, fixed: dict[str, Any]) -> None:
    for name in _FIXED:
        if name in settings.model_fields_set and getattr(settings, name) != fixed[name]:
            raise CannotStart(
                f"{PREFIX}{name.upper()} is {fixed[name]} and cannot change while hasty runs: "
                "stop it with `hasty down` first"
            )


def _completed(settings: Settings, folder: DataFolder, record: dict[str, Any]) -> Settings:
    """Return the settings with what belongs to the hasty that runs."""
    given = {**settings.model_dump(exclude_unset=True), **record["fixed"], "instance": record["instance"]}
    given.setdefault("webhook_secret", folder.webhook_secret())
    if record["embedded"]:
        given["api_mongo_uri"] = Mongod(Path(), folder.path, os.environ).uri
    wanted = Settings.load({}, given)
    wanted.jobs_uri  # noqa: B018  raises while the operator still looks
    return wanted
