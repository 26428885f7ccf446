"""Validates the Host header: well-formed and, if ALLOWED_HOSTS is set, one of its entries."""

import functools
import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address

from starlette.types import Scope

from app.api.http.route_paths import route_path

# Health checks address the server by its IP address. These responses name no host, so ALLOWED_HOSTS does not apply.
PROBES = frozenset({"/healthz", "/readyz"})

# Stricter than RFC 3986, which permits nearly any character in a host name.
_HOST = re.compile(rb"(?:(?P<name>[A-Za-z0-9_.-]{1,253})|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535


def refuse_host(scope: Scope, given: bytes | None, allowed: Sequence[str]) -> str | None:
    """Return why the Host header is refused, or None. X-Forwarded-Host is not read."""
    if given is None:
        return "The request must have a Host header" if scope.get("http_version") == "1.1" else None
    host = _parse(given)
    if host is None:
        return "The Host header is malformed"
    if not allowed or route_path(scope) in PROBES or is_allowed(host, allowed):
        return None
    return "The service does not accept this Host"


def is_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Return whether a pattern matches `host`. `*.example.com` matches every subdomain, but not example.com itself."""
    name = host.lower().removesuffix(".")
    return any(name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])) for pattern in allowed)


@functools.lru_cache(maxsize=1024)
def _parse(value: bytes) -> str | None:
    """Return the host without its port, or None if it is malformed."""
    match = _HOST.fullmatch(value)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        return None
    if match["ipv6"] is None:
        return match["name"].decode("ascii")
    address = match["ipv6"].decode("ascii")
    try:
        IPv6Address(address)
    except AddressValueError:
        return None
    return f"[{address}]"
