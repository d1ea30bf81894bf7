"""Which addresses may be called, and which URLs may be named."""

import contextlib
import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasty.outgoing.addresses import Allowed, is_public
from hasty.outgoing.urls import LONGEST_URL, check_url, host_of
from tests.unit.examples import repeatable

PUBLIC = "93.184.216.34"


# Which addresses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *(PUBLIC, "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1"),
        *("2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"),
    ],
)
def test_the_public_internet_may_be_called(address):
    assert is_public(ip_address(address))
    assert Allowed().admits("any.example", address)


REFUSED = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3"),
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "192.88.99.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
    *("2001:db8::1", "2001::1", "2001:10::1", "100::1", "3fff::1", "5f00::1", "64:ff9b:1::1"),
    # What holds one of those.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::"),
    *("", "localhost", "127.1", "0x7f000001", "2130706433", "1.2.3.4.5"),
]


@pytest.mark.parametrize("address", REFUSED)
def test_nothing_else_may(address):
    assert not Allowed().admits("any.example", address)


@repeatable
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_python_does_not_call_global_is_never_public(address):
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not is_public(address) or getattr(address, "ipv4_mapped", None) is not None


def test_the_operator_can_allow_networks_and_hosts():
    allowed = Allowed(("10.1.0.0/16", "192.168.7.7", "fd00::/8", "Hooks.Internal.", "::1"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "192.168.7.7", "fd12::1", "::1", PUBLIC):
        assert allowed.admits("any.example", address)
    for address in ("10.2.0.1", "192.168.7.8", "127.0.0.1", "169.254.169.254", "fe80::1"):
        assert not allowed.admits("any.example", address)
        assert not allowed.admits("x.hooks.internal", address)
        assert allowed.admits("hooks.internal", address)


# Which URLs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://hooks.example", "hooks.example"),
        ("https://Hooks.Example.:8443/a/b?c=d&e=%20", "hooks.example"),
        ("https://bücher.example/ä", "xn--bcher-kva.example"),
        ("http://192.168.0.1:1/", "192.168.0.1"),
        ("https://[2001:db8::1]:443/", "2001:db8::1"),
        ("http://a_b.example/" + "x" * (LONGEST_URL - 19), "a_b.example"),
    ],
)
def test_a_url_that_may_be_called_one_day(url, host):
    assert check_url(url) == url
    assert host_of(url) == host


SERVER, HOST = "must be the whole URL of an http or https server", "must name its host as it is looked up"


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", SERVER),
        ("hooks.example", SERVER),
        ("//hooks.example", SERVER),
        ("/path", SERVER),
        ("ftp://hooks.example/", SERVER),
        ("file:///etc/passwd", SERVER),
        ("gopher://hooks.example/", SERVER),
        ("javascript:alert(1)", SERVER),
        ("http://", SERVER),
        ("https:///path", SERVER),
        ("http://user@hooks.example/", "must not hold a user name or a password"),
        ("http://user:password@hooks.example/", "must not hold a user name or a password"),
        ("http://public.example\\@127.0.0.1/", "must not hold a user name or a password"),
        ("http://hooks.example/#", "must not have a fragment"),
        ("http://hooks.example/a#b", "must not have a fragment"),
        ("http://hooks.example:0/", "must have a port from 1 to 65535"),
        ("http://hooks.example:65536/", "must have a port from 1 to 65535"),
        ("http://hooks..example/", HOST),
        ("http://-hooks.example/", HOST),
        ("http://ho oks.example/", HOST),
        ("http://ho%2eoks.example/", HOST),
        ("http://" + "a" * 64 + ".example/", HOST),
        ("http://" + "a." * 127 + "example/", HOST),
        ("http://[fe80::1%25eth0]/", HOST),
        ("http://[::1", f"must be a URL of at most {LONGEST_URL} characters"),
        ("http://hooks.example:port/", f"must be a URL of at most {LONGEST_URL} characters"),
        ("http://hooks.example/\n", f"must be a URL of at most {LONGEST_URL} characters"),
        ("http://\ud800.example/", f"must be a URL of at most {LONGEST_URL} characters"),
        ("http://a/" + "x" * LONGEST_URL, f"must be a URL of at most {LONGEST_URL} characters"),
    ],
)
def test_a_url_that_can_never_be_called(url, wrong):
    with pytest.raises(ValueError, match=f"^{re.escape(wrong)}$"):
        check_url(url)


@repeatable
@given(st.one_of(st.text(), st.text().map("http://{}".format), st.text().map("https://a.example/{}".format)))
def test_no_text_is_too_strange_to_be_refused(text):
    host = host_of(text)
    with contextlib.suppress(ValueError):
        assert check_url(text) == text
        assert host
