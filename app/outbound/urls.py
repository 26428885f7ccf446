"""One strict parser for URLs that users name.

What it answers is used for everything: the check, the connection, TLS and the Host header. So no second parser can read
the same URL differently.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from app.core.places import NUMERIC, IPAddress, normal_name
from app.outbound.errors import InvalidRequest

MAX_URL_LENGTH = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

# urlsplit drops tabs and line breaks without a word, and others read a backslash as a slash.
FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\\u0080-\u00a0\u2028\u2029\ud800-\udfff]")
BRACKETED = re.compile(r"\[[^\[\]]+\](:\d+)?")
# Left as they are when the rest is percent-encoded; `%` too, since it may be encoded already.
KEPT = "/:?#[]@!$&'()*+,;=-._~%"


@dataclass(frozen=True)
class Target:
    """A URL in parts. `host` is a lower-case ASCII name without a trailing dot, or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> IPAddress | None:
        """Where the host is an address and no name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return self.origin + self.path


def parse(url: str) -> Target:
    """Raises InvalidRequest; its message says what is wrong and never repeats the URL."""
    if not url or len(url) > MAX_URL_LENGTH:
        raise InvalidRequest(f"a URL has 1 to {MAX_URL_LENGTH} characters")
    if FORBIDDEN.search(url):
        raise InvalidRequest("a URL has no spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest("this is not a URL") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise InvalidRequest("only http:// and https:// URLs can be requested")
    if "@" in parts.netloc:
        raise InvalidRequest("a URL with a user name or password in it is not accepted: use a header")
    if port == 0 or parts.netloc.endswith(":"):
        raise InvalidRequest("the port of the URL is not one")
    path = quote(parts.path or "/", safe=KEPT) + (f"?{quote(parts.query, safe=KEPT)}" if parts.query else "")
    return Target(parts.scheme, _host(parts.netloc, parts.hostname or ""), port or DEFAULT_PORTS[parts.scheme], path)


def joined(base: Target, location: str) -> Target:
    """Where a redirect from `base` leads. Raises InvalidRequest."""
    if FORBIDDEN.search(location):  # before urljoin, which drops some of them
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
        raise InvalidRequest("an IPv4 address is written as four decimal numbers") from None


def _ipv6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise InvalidRequest("what is in brackets is not an IPv6 address") from None
    if address.scope_id is not None:
        raise InvalidRequest("an IPv6 address with a zone leads to this machine's own network")
    return str(address)
