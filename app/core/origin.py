"""The origin of a call: the client's address, the request id and the user.

Services record it without knowing HTTP. The middleware sets one Origin for each request; the dependency that reads the
token sets its actor. That dependency may run in a thread, whose context is a copy, so all of a request share one
mutable object. For rate limits, addresses are grouped by customer.
"""

import ipaddress
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Actor:
    """An account, under the name that it had when it acted."""

    id: UUID
    name: str


@dataclass(slots=True)
class Origin:
    """A request: the peer's address, the request's id and, once the token is verified, the user."""

    address: str | None
    request_id: str
    actor: Actor | None = None


# None outside HTTP: in a script, a command or a task's body.
current_origin: ContextVar[Origin | None] = ContextVar("current_origin", default=None)


def set_actor(actor: Actor) -> None:
    """Set the user of the current request. Does nothing outside HTTP."""
    origin = current_origin.get()
    if origin is not None:
        origin.actor = actor


def current_actor() -> Actor | None:
    """Return the user of the current request; None outside HTTP, and before the token is verified."""
    origin = current_origin.get()
    return None if origin is None else origin.actor


# -- Groups network addresses by customer, for rate limits -------------------------------------------------------------


def address_block(address: str) -> str:
    """Return an IPv4 address as it is, and the /64 network of an IPv6 address, because one customer has a whole /64.

    Text that is no address is returned unchanged.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped:  # noqa: PLR2004 (IPv4)
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
