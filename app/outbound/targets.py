"""Where requests may go: one strict parser for URLs that users name, and the policy of addresses to connect to.

The check, the connection, TLS and the Host header all use what the parser returns. So no second parser can read a URL
differently.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

from app.core.config import Settings
from app.core.host_rules import NUMERIC, HostRules, IPAddress, normal_name
from app.errors import Text
from app.outbound.errors import InvalidRequest

MAX_URL_LENGTH = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

# urlsplit drops tabs and line breaks without a word, and others read a backslash as a slash.
FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\\u0080-\u00a0\u2028\u2029\ud800-\udfff]")
BRACKETED = re.compile(r"\[[^\[\]]+\](:\d+)?")
# Characters that are not percent-encoded; `%` too, since the text may already be encoded.
KEPT = "/:?#[]@!$&'()*+,;=-._~%"


@dataclass(frozen=True)
class Target:
    """A parsed URL. `host` is a lower-case ASCII name without a trailing dot, or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> IPAddress | None:
        """The host as an IP address, None if it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.origin + self.path


def parse_url(url: str) -> Target:
    """Parse a URL. Raises InvalidRequest, whose message says what is wrong and never repeats the URL."""
    if not url or len(url) > MAX_URL_LENGTH:
        raise InvalidRequest(Text("a URL must have 1 to {} characters", MAX_URL_LENGTH))
    if FORBIDDEN.search(url):
        raise InvalidRequest("a URL has no spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest("this is not a URL") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise InvalidRequest("only http:// and https:// URLs are allowed")
    if "@" in parts.netloc:
        raise InvalidRequest("a URL must not contain a user name or password")
    if port == 0 or parts.netloc.endswith(":"):
        raise InvalidRequest("the port of the URL is not valid")
    path = quote(parts.path or "/", safe=KEPT) + (f"?{quote(parts.query, safe=KEPT)}" if parts.query else "")
    return Target(parts.scheme, _host(parts.netloc, parts.hostname or ""), port or DEFAULT_PORTS[parts.scheme], path)


def joined_url(base: Target, location: str) -> Target:
    """Return the target of a redirect from `base`. Raises InvalidRequest."""
    if FORBIDDEN.search(location):  # before urljoin, which drops some of these characters
        raise InvalidRequest("a URL has no spaces, control characters or backslashes")
    try:
        return parse_url(urljoin(base.url, location))
    except ValueError:
        raise InvalidRequest("this is not a URL") from None


def _host(netloc: str, host: str) -> str:
    if BRACKETED.fullmatch(netloc):
        return _ipv6(host)
    try:
        name = normal_name(host)  # full-width digits are digits after this
    except ValueError:
        raise InvalidRequest("the URL's host is not a valid name") from None
    if not NUMERIC.fullmatch(name):
        return name
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError:
        raise InvalidRequest("an IPv4 address must be four decimal numbers") from None


def _ipv6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise InvalidRequest("the text in brackets is not an IPv6 address") from None
    if address.scope_id is not None:
        raise InvalidRequest("an IPv6 address must not have a zone, which names a local network")
    return str(address)


# -- Which addresses requests may connect to: public ones, plus OUTBOUND_ALLOW, minus OUTBOUND_DENY --------------------

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
