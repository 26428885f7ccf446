"""Where a call comes from. It travels beside the call, so that services can record who did what without knowing HTTP.

The middleware sets one for each request; the dependency that reads the token fills in the actor. That dependency runs
in a thread, whose context is a copy: what it *set* would be lost there, hence one object that all of the request share.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Actor:
    """An account, as it was called when it acted."""

    id: UUID
    name: str


@dataclass(slots=True)
class Origin:
    """A request: the peer's address, its id and, once the token was read, who makes it."""

    address: str | None
    request_id: str
    actor: Actor | None = None


# None outside of HTTP: a script, a command, a task's body.
current_origin: ContextVar[Origin | None] = ContextVar("current_origin", default=None)


def set_actor(actor: Actor) -> None:
    """From here on this request is known to be `actor`'s."""
    origin = current_origin.get()
    if origin is not None:
        origin.actor = actor
