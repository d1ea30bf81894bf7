"""What keeps Ray and MongoDB out of the unit tests."""

import importlib
import sys

import pytest
from pymongo import AsyncMongoClient, MongoClient

from hasty.store.mongo.connection import connect
from tests.unit.conftest import Forbidden, Guard


@pytest.mark.parametrize("client", [MongoClient, AsyncMongoClient, connect])
def test_a_mongo_client_cannot_be_made(client):
    with pytest.raises(pytest.fail.Exception, match="a unit test uses no pymongo"):
        client("mongodb://127.0.0.1:1/")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A module that stands in for Ray, not imported yet."""
    (tmp_path / "pretended_cluster.py").write_text("def init():\n    return 'started'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "pretended_cluster"
    sys.modules.pop("pretended_cluster", None)


@pytest.mark.parametrize("imported_before", [False, True])
def test_what_is_forbidden_is_shut_and_opened_again(cluster, imported_before):
    if imported_before:
        assert importlib.import_module(cluster).init() == "started"
    with pytest.MonkeyPatch.context() as patched:
        guard = Guard([Forbidden(cluster, None, "init")], patched.setattr)
        patched.setattr(sys, "meta_path", [guard, *sys.meta_path])
        module = importlib.import_module(cluster)
        with pytest.raises(pytest.fail.Exception, match=r"a unit test uses no pretended_cluster\.init"):
            module.init()
    assert module.init() == "started"


def test_ray_is_shut_as_well():
    (guard,) = [finder for finder in sys.meta_path if isinstance(finder, Guard)]
    assert Forbidden("ray", None, "init") in guard._forbidden
