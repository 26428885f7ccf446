"""Names of hosts, and the lists of networks and hosts in OUTBOUND_ALLOW and OUTBOUND_DENY."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import idna

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
# A last label like this makes the whole host a number for inet_aton: 2130706433, 0x7f.1, 0177.0.0.1 and 127.1.
NUMERIC = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")


def normal_name(name: str) -> str:
    """Return a host name in lower-case ASCII, without a trailing dot. Raises ValueError if it is not valid."""
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise ValueError("not a valid host name") from None
    name = name.lower().removesuffix(".")
    if not NAME.fullmatch(name):
        raise ValueError("not a valid host name")
    return name


@dataclass(frozen=True)
class HostRules:
    """A set of networks and host names. `*.example.com` matches every subdomain of example.com."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Parse the entries of a setting. Raises ValueError for an entry that is neither a network nor a host name."""
        networks, names = [], set()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                names.add(_name(entry))
        return cls(tuple(networks), frozenset(names))

    def contains_address(self, address: IPAddress) -> bool:
        """Return whether a network contains the address."""
        return any(address in network for network in self.networks)

    def contains_name(self, host: str) -> bool:
        """Return whether an entry matches the host name."""
        above = host.split(".")[1:]
        return host in self.names or any(f"*.{'.'.join(above[start:])}" in self.names for start in range(len(above)))


def _name(entry: str) -> str:
    wild = "*." if entry.startswith("*.") else ""
    try:
        name = normal_name(entry.removeprefix("*."))
    except ValueError:
        name = ""
    if not name or NUMERIC.fullmatch(name):  # such as 10.0.0.1/8, which has host bits set
        raise ValueError(f"{entry!r} is neither a network (10.0.0.0/8) nor a host name")
    return wild + name
