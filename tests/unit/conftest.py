"""Rules and words need no cluster and no database: whoever starts one in a unit test is stopped."""

import asyncio
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest


class Forbidden(NamedTuple):
    """What must not be called here: an attribute of a module, or of a class in it."""

    module: str
    owner: str | None
    name: str

    def refuse(self, *_args, **_kwargs):
        # A BaseException: code under test that catches every Exception does not swallow it.
        pytest.fail(f"a unit test uses no {self.module}.{self.owner or self.name}", pytrace=False)


FORBIDDEN = (
    Forbidden("ray", None, "init"),
    Forbidden("pymongo.synchronous.mongo_client", "MongoClient", "__init__"),
    Forbidden("pymongo.asynchronous.mongo_client", "AsyncMongoClient", "__init__"),
)


class Guard(importlib.abc.MetaPathFinder):
    """Shuts what is forbidden: at once where it is imported already, else as soon as it is.

    Nothing is imported for its sake: Ray takes a second.
    """

    def __init__(self, forbidden, setattr_: Callable[..., None]) -> None:
        self._forbidden = forbidden
        self._setattr = setattr_
        for entry in forbidden:
            if entry.module in sys.modules:
                self._shut(entry, sys.modules[entry.module])

    def _shut(self, entry: Forbidden, module) -> None:
        owner = getattr(module, entry.owner) if entry.owner else module
        self._setattr(owner, entry.name, entry.refuse)

    def find_spec(self, fullname, path=None, target=None):
        entries = [entry for entry in self._forbidden if entry.module == fullname]
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target) if entries else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_shut(module) -> None:
            execute(module)
            for entry in entries:
                self._shut(entry, module)

        spec.loader.exec_module = execute_and_shut
        return spec


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [Guard(FORBIDDEN, monkeypatch.setattr), *sys.meta_path])


@pytest.fixture
def loop_time():
    """Tell the seconds of the loop that runs the test."""
    return lambda: asyncio.get_running_loop().time()
