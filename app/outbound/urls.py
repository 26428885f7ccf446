"""One strict parser for URLs that users name.

The check, the connection, TLS and the Host header all use its result, so no second parser can read a URL differently.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from app.core.host_rules import NUMERIC, IPAddress, normal_name
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


def parse(url: str) -> Target:
    """Parse a URL. Raises InvalidRequest, whose message says what is wrong and never repeats the URL."""
    if not url or len(url) > MAX_URL_LENGTH:
        raise InvalidRequest(f"a URL must have 1 to {MAX_URL_LENGTH} characters")
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


def joined(base: Target, location: str) -> Target:
    """Return the target of a redirect from `base`. Raises InvalidRequest."""
    if FORBIDDEN.search(location):  # before urljoin, which drops some of these characters
        raise InvalidRequest("a URL has no spaces, control characters or backslashes")
    try:
        return parse(urljoin(base.url, location))
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
