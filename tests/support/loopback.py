"""Load and probes go to this very machine alone."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit


class CannotBegin(Exception):
    """What was asked cannot be measured or probed; the message says what is missing."""


class NotLoopback(CannotBegin):
    """The URL points elsewhere, or is none."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def loopback(url: str) -> Address:
    """Where the URL points, if that is this machine. Names other than localhost could lead elsewhere: refused."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise NotLoopback(f"{url}: {error}") from error
    if parts.scheme != "http" or not host:
        raise NotLoopback(f"{url}: an http:// URL of this machine is needed")
    host = "127.0.0.1" if host == "localhost" else host
    if not _is_loopback(host):
        raise NotLoopback(f"{host} is not a loopback address: this tool talks to servers on this machine alone")
    return Address(host, port)


def need(status: int, wanted: int, what: str, text: str) -> None:
    """Raise CannotBegin unless the server's answer has the status that the preparations need."""
    if status != wanted:
        raise CannotBegin(f"the server answered {status} when asked to {what}: {text[:200]}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
