"""Which addresses may be called: those of the public internet, and those that the operator allows."""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: What is not public, by IANA's special-purpose registry, and the address at which Azure's machines
#: find the host that runs them. A list of our own: Python's has changed between its releases.
_NOT_PUBLIC_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]

#: All public addresses of version 6 are in here,
_GLOBAL_6 = IPv6Network("2000::/3")

#: and these are not public: Teredo and other special purposes, and what documents are written with.
_NOT_PUBLIC_6 = [IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20")]

#: Ways to write an address of version 4 as one of version 6, and how far left it then stands.
_HOLDING_4 = [
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
]


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the public internet. What holds another is as public as that."""
    bare = _bare(address)
    if isinstance(bare, IPv4Address):
        return not any(bare in network for network in _NOT_PUBLIC_4)
    return bare in _GLOBAL_6 and not any(bare in network for network in _NOT_PUBLIC_6)


def _bare(address: Address) -> Address:
    """Return the address of version 4 that one of version 6 leads to, if it does."""
    for network, bits in _HOLDING_4:
        if address in network:
            return IPv4Address(int(address) >> bits & 0xFFFF_FFFF)
    return address


class Allowed:
    """The public internet, and the hosts and networks that the operator named."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Take names of hosts, addresses, and networks as `10.0.0.0/8`."""
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for entry in entries:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                self._names.add(entry.lower().removesuffix("."))

    def admits(self, host: str, address: str) -> bool:
        """Tell whether this address may be called for this host. A host that was named may have any."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if host in self._names or is_public(found):
            return True
        return any(each in network for network in self._networks for each in (found, _bare(found)))
