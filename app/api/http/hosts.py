"""Which Host a request may name: a well-formed one and, where ALLOWED_HOSTS lists some, one of those."""

import functools
import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address

from starlette.types import Scope

# Asked by address: by a container's own health check, by an orchestrator's probe. Their answers name no host.
PROBES = frozenset({"/healthz", "/readyz"})

# Narrower than RFC 3986, which would let nearly any character stand in a host's name.
_HOST = re.compile(rb"(?:(?P<name>[A-Za-z0-9_.-]{1,253})|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535


def refuse_host(scope: Scope, allowed: Sequence[str]) -> str | None:
    """Why the request's Host will not do, or None. What a proxy says in X-Forwarded-Host is not looked at."""
    given = [value for name, value in scope["headers"] if name == b"host"]
    if len(given) > 1 or (not given and scope.get("http_version") == "1.1"):
        return "A request has one Host"
    if not given:
        return None
    host = _parse(given[0])
    if host is None:
        return "The Host is malformed"
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if not allowed or path in PROBES or is_allowed(host, allowed):
        return None
    return "This Host is not served here"


def is_allowed(host: str, allowed: Sequence[str]) -> bool:
    """`*.example.com` stands for every host below example.com, and not for that one itself."""
    name = host.lower().removesuffix(".")
    return any(name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])) for pattern in allowed)


@functools.lru_cache(maxsize=1024)
def _parse(value: bytes) -> str | None:
    """The host without its port; None where it is none."""
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
