"""An HTTP client for URLs that users name; it connects only to allowed addresses. Its use: `docs/writing-tasks.md`."""

from app.outbound.answer import Answer, WholeAnswer
from app.outbound.client import Bounds, Client
from app.outbound.errors import Failed, OutboundError, Refused

__all__ = ["Answer", "Bounds", "Client", "Failed", "OutboundError", "Refused", "WholeAnswer"]
