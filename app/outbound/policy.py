"""Where requests may go: public addresses, but for what OUTBOUND_ALLOW and OUTBOUND_DENY say."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from app.core.config import Settings
from app.outbound.errors import InvalidRequest
from app.outbound.urls import NUMERIC, IPAddress, normal_name

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Every range that no public server lives in. `ipaddress` is asked too, but what it calls global differs between
# Python's versions, and it calls multicast, the 6to4 relays and most of what embeds an IPv4 address global.
NON_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent: public by its number, the machine's own by its meaning
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# The one range of IPv6 that is given out for unicast. Loopback, link-local, unique local (AWS's metadata), site-local,
# multicast, IPv4-mapped and -compatible, 64:ff9b:1::/48 and the discard prefix are all outside of it.
PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
NON_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # the IETF's own, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise, and nobody serves from there any more
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
# An IPv6-only network reaches IPv4 by these; the last 32 bits are the address.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# Below 1024 only the web's own ports: a mail server, say, may take a request's body for commands.
FIRST_PLAIN_PORT = 1024
WEB_PORTS = frozenset({80, 443})


def is_public(address: IPAddress) -> bool:
    """Whether anybody in the internet could reach it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in NON_PUBLIC_V4)
    if address in NAT64:
        return is_public(nat64_target(address))
    return address.is_global and address in PUBLIC_V6 and not any(address in network for network in NON_PUBLIC_V6)


def nat64_target(address: IPAddress) -> IPAddress:
    """The IPv4 address that a NAT64 one leads to; any other address itself."""
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address


@dataclass(frozen=True)
class HostRules:
    """Networks and names of hosts; `*.example.com` is every name below example.com."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Raises ValueError for what is neither a network nor a name."""
        networks, names = [], set()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                names.add(_name(entry))
        return cls(tuple(networks), frozenset(names))

    def contains_address(self, address: IPAddress) -> bool:
        return any(address in network for network in self.networks)

    def contains_name(self, host: str) -> bool:
        above = host.split(".")[1:]
        return host in self.names or any(f"*.{'.'.join(above[start:])}" in self.names for start in range(len(above)))


def _name(entry: str) -> str:
    wild = "*." if entry.startswith("*.") else ""
    try:
        name = normal_name(entry.removeprefix("*."))
    except InvalidRequest:
        name = ""
    if not name or NUMERIC.fullmatch(name):  # such as 10.0.0.1/8, which is neither this address nor that network
        raise ValueError(f"{entry!r} is neither a network (10.0.0.0/8) nor the name of a host")
    return wild + name


@dataclass(frozen=True)
class Policy:
    """What `allowed` names is allowed whatever else is said; then what `denied` names is not."""

    allowed: HostRules = HostRules()
    denied: HostRules = HostRules()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(HostRules.of(settings.outbound_allow), HostRules.of(settings.outbound_deny))

    def refusal(self, host: str, port: int, address: IPAddress) -> str | None:
        """Why this address may not be connected to for this host, or None where it may."""
        if self.allowed.contains_name(host) or self.allowed.contains_address(address):
            return None
        denied = self.denied.contains_name(host) or any(
            map(self.denied.contains_address, (address, nat64_target(address)))
        )
        if denied or not is_public(address):
            return "not a public address, nor one that this service allows (OUTBOUND_ALLOW)"
        if port < FIRST_PLAIN_PORT and port not in WEB_PORTS:
            return "not a port of the web: 80, 443, or 1024 and above"
        return None
