"""Where a client sends its requests, with which key, and who never sees it."""

import logging
import sys
import traceback

import httpx
import pytest

import hasty
from hasty.client.address import address, api_key
from hasty.errors import HastyError, InvalidRequest
from tests.unit.client_double import Hasty, answer, both, environment, job

KEY = "hk_1_verysecret"


@pytest.mark.parametrize(
    ("given", "sent_to"),
    [
        (None, "http://127.0.0.1:8000"),
        ("", "http://127.0.0.1:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("https://hasty.example", "https://hasty.example"),
        ("https://example.com/hasty/", "https://example.com/hasty"),
        ("http://[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_requests_go_where_the_url_says(monkeypatch, given, sent_to):
    with environment(monkeypatch):
        assert address(given).url == sent_to


def test_what_is_given_comes_before_the_environment(monkeypatch):
    with environment(monkeypatch, HASTY_URL="http://there:1", HASTY_API_KEY="theirs"):
        assert (address(None).url, api_key(None)) == ("http://there:1", "theirs")
        assert (address("http://here:2").url, api_key("mine")) == ("http://here:2", "mine")
        # The environment has a key, but this hasty is to get none.
        assert api_key("") is None
    with environment(monkeypatch, HASTY_URL="", HASTY_API_KEY=""):
        assert (address(None).url, api_key(None)) == ("http://127.0.0.1:8000", None)


def test_the_environment_is_read_when_a_client_is_made_and_not_before(monkeypatch):
    with environment(monkeypatch, HASTY_URL="http://there:1"):
        assert repr(hasty.Client()) == "Client('http://there:1')"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "localhost:8000",
            "must begin with http:// or https://, as http://127.0.0.1:8000 does: 'localhost:8000'",
        ),
        ("hasty.example", "must begin with http://"),
        ("ftp://hasty.example", "must begin with http://"),
        ("http://", "must name a host"),
        ("http:///v1", "must name a host"),
        ("http://two words", "must name a host"),
        ("http://host:abc", "is no URL: "),
        ("http://host:0", "must have a port from 1 to 65535"),
        ("http://host:65536", "must have a port from 1 to 65535"),
        ("http://[::1", "is no URL"),
        ("http://host/?a=b", r"must have no \? and no #"),
        ("http://host/#a", r"must have no \? and no #"),
        ("http://host\n", "is no URL"),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_wrong(url, told):
    with pytest.raises(InvalidRequest, match=rf"^url: {told}"):
        hasty.Client(url)
    with pytest.raises(InvalidRequest):
        hasty.AsyncClient(url)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(InvalidRequest, match="api_key") as refused:
        hasty.Client("http://me:verysecret@host")
    assert "verysecret" not in str(refused.value)


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\n", "\x7f"])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(key):
    with pytest.raises(InvalidRequest, match=r"^api_key: must have visible ASCII") as refused:
        hasty.Client(api_key=key)
    assert key not in str(refused.value)


@pytest.mark.parametrize("given", [{"timeout": 0}, {"timeout": float("inf")}, {"retries": -1}])
def test_a_number_that_will_not_do_is_refused(given):
    with pytest.raises(InvalidRequest, match=rf"^{next(iter(given))}: must be"):
        hasty.Client(**given)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1.2.3",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ],
)
@pytest.mark.parametrize("client", [hasty.Client, hasty.AsyncClient])
def test_no_proxy_stands_before_this_machine(monkeypatch, host, client):
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    assert proxies(client(f"http://{host}:8000")) == []


@pytest.mark.parametrize(
    "host", ["hasty.example", "10.0.0.1", "localhost.example", "[2001:db8::1]", "128.0.0.1"]
)
@pytest.mark.parametrize("client", [hasty.Client, hasty.AsyncClient])
def test_a_proxy_is_used_on_the_way_to_others(monkeypatch, host, client):
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    assert proxies(client(f"http://{host}:8000")) == ["all://"]


def proxies(client):
    """Look where httpx keeps those that it was told of by the environment."""
    return [pattern.pattern for pattern, proxy in client._http._mounts.items() if proxy is not None]


@pytest.mark.parametrize("client", [hasty.Client, hasty.AsyncClient])
def test_any_number_of_calls_may_wait_at_the_same_time(client):
    assert client("http://127.0.0.1")._http._transport._pool._max_connections == sys.maxsize


@both
def test_each_request_carries_the_key(kind):
    client = kind([answer(job())], {"api_key": KEY})
    client.call("get", "job-1")
    assert client.hasty.last.headers["Authorization"] == f"Bearer {KEY}"


@both
def test_without_a_key_none_is_sent(kind, monkeypatch):
    with environment(monkeypatch):
        client = kind([answer(job())], {})
    client.call("get", "job-1")
    assert "Authorization" not in client.hasty.last.headers


@both
def test_the_key_stands_in_no_error_no_log_and_no_picture_of_the_client(kind, caplog):
    caplog.set_level(logging.DEBUG)
    client = kind([httpx.ConnectError, answer({}, 401)], {"api_key": KEY, "retries": 0})
    shown = [repr(client.client), str(client.client), repr(client.client._http.headers)]
    for _ in range(2):
        with pytest.raises(HastyError) as raised:
            client.call("get", "job-1")
        shown += [str(raised.value), repr(raised.value), *traceback.format_exception(raised.value)]
    assert "verysecret" not in "".join([*shown, caplog.text])


@both
def test_the_url_may_have_a_path(kind):
    client = kind([answer(job())], {"url": "https://example.com/hasty/"})
    client.call("get", "job-1")
    assert str(client.hasty.last.url) == "https://example.com/hasty/v1/jobs/job-1"


def test_a_client_lets_go_of_its_connections():
    with hasty.Client(transport=httpx.MockTransport(Hasty())) as client:
        assert not client._http.is_closed
    assert client._http.is_closed


async def test_so_does_one_that_awaits():
    async with hasty.AsyncClient(transport=httpx.MockTransport(Hasty())) as client:
        assert not client._http.is_closed
    assert client._http.is_closed
