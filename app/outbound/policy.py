"""Which addresses requests may connect to: public ones, plus OUTBOUND_ALLOW, minus OUTBOUND_DENY."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from app.core.config import Settings
from app.core.host_rules import HostRules, IPAddress

# All ranges without public servers. `ipaddress` alone does not suffice: its `is_global` differs between Python
# versions, and includes multicast, 6to4 relays and most ranges that embed IPv4 addresses.
NON_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent: a public number, but local to the machine
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
# The only IPv6 range for global unicast. Loopback, link-local, unique local (AWS's metadata), site-local, multicast,
# IPv4-mapped and -compatible addresses, 64:ff9b:1::/48 and the discard prefix are all outside it.
PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
NON_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments, among them Teredo
        "2001:db8::/32",
        "2002::/16",  # 6to4: embeds an IPv4 address; no longer used by servers
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
# IPv6-only networks reach IPv4 through this prefix (NAT64); the last 32 bits are the IPv4 address.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# Below port 1024 only HTTP's own ports: a mail server, for example, might take a request's body for commands.
FIRST_PLAIN_PORT = 1024
WEB_PORTS = frozenset({80, 443})


def is_public(address: IPAddress) -> bool:
    """Return whether an address is publicly reachable."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in NON_PUBLIC_V4)
    if address in NAT64:
        return is_public(nat64_target(address))
    return address.is_global and address in PUBLIC_V6 and not any(address in network for network in NON_PUBLIC_V6)


def nat64_target(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that a NAT64 address leads to; other addresses are returned unchanged."""
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address


# Names that lead to the machine itself or to its host without any resolver of the internet (RFC 6761, /etc/hosts of
# distributions, Google's metadata), and where they lead.
_LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
LOCAL_NAMES: dict[str, tuple[IPAddress, ...]] = {
    **dict.fromkeys(("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"), _LOOPBACK),
    "metadata.google.internal": (ipaddress.IPv4Address("169.254.169.254"),),
}


def addresses_of_name(host: str) -> tuple[IPAddress, ...]:
    """Return the addresses of a local name, in lower case, without a look-up. Of any other name none is known."""
    return _LOOPBACK if host.endswith(".localhost") else LOCAL_NAMES.get(host, ())


NO_RULES = HostRules()


@dataclass(frozen=True)
class Policy:
    """The rules for connections. `allowed` overrides everything else; then `denied` applies."""

    allowed: HostRules = NO_RULES
    denied: HostRules = NO_RULES

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the policy of the settings OUTBOUND_ALLOW and OUTBOUND_DENY."""
        return cls(HostRules.of(settings.outbound_allow), HostRules.of(settings.outbound_deny))

    def refusal_of_name(self, host: str, port: int) -> str | None:
        """Return why no connection to this name can be allowed, as far as the name alone tells."""
        reasons = [self.refusal(host, port, address) for address in addresses_of_name(host)]
        return reasons[0] if reasons and None not in reasons else None

    def refusal(self, host: str, port: int, address: IPAddress) -> str | None:
        """Return why a connection to this address of this host is refused, or None if it is allowed."""
        if self.allowed.contains_name(host) or self.allowed.contains_address(address):
            return None
        denied = self.denied.contains_name(host) or any(
            map(self.denied.contains_address, (address, nat64_target(address)))
        )
        if denied or not is_public(address):
            return "not a public address, and not allowed by OUTBOUND_ALLOW"
        if port < FIRST_PLAIN_PORT and port not in WEB_PORTS:
            return "not an allowed port: use 80, 443, or 1024 and above"
        return None
