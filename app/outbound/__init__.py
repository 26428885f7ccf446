"""HTTP to places that users name, and to no others: see `docs/writing-tasks.md` for its use in tasks of your own."""

from app.outbound.answer import Answer, WholeAnswer
from app.outbound.client import Bounds, Client
from app.outbound.errors import Failed, OutboundError, Refused

__all__ = ["Answer", "Bounds", "Client", "Failed", "OutboundError", "Refused", "WholeAnswer"]
