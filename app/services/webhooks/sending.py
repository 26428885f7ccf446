"""Sends one webhook: a signed POST, and what its receiver answers. Needs no database.

A 2xx is a success, whatever else the receiver sends. Redirects are not followed; of an answer the first KiB is read.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.core.redacted_text import redact_text
from app.core.signatures import signed_headers
from app.outbound import Bounds, Client, OutboundError
from app.outbound.answer import read_retry_after
from app.services.webhooks.retries import MAX_RETRY_AFTER

logger = logging.getLogger(__name__)

# Standard Webhooks recommends 15 to 30 seconds, and no redirects. The content is cut below, whatever its size.
BOUNDS = Bounds(seconds=15, connect_seconds=5, read_seconds=15, max_bytes=64 * 1024, max_redirects=0)
ANSWER_BYTES = 1024
SUCCESSES = range(200, 300)
GONE = 410


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: where to, with which id and body, and the keys that sign it. `fault`: why it cannot be sent."""

    url: str
    event_id: UUID
    body: bytes
    keys: Sequence[bytes]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt; `retry_after` in seconds, if the receiver asks for it."""

    at: datetime
    latency_seconds: float
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.status in SUCCESSES

    @property
    def is_gone(self) -> bool:
        return self.status == GONE

    def as_attempt(self) -> dict[str, Any]:
        """Return the attempt as the delivery keeps it and the API shows it."""
        return {
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "status_code": self.status,
            "latency_seconds": round(self.latency_seconds, 3),
            "error": self.error,
            "answer": self.answer,
        }


def send(client: Client, message: Message) -> Outcome:
    """Send the message once. Never raises: whatever goes wrong is an attempt that failed, with its reason."""
    at, begun = datetime.now(UTC), time.monotonic()
    found: dict[str, Any] = {}
    try:
        if message.fault is None:
            _exchange(client, message, int(at.timestamp()), found)
        else:
            found["error"] = message.fault
    except OutboundError as error:
        if "status" not in found:  # else what follows the status cannot be read, which does not undo it
            found["error"] = str(error)
    except Exception as error:
        logger.exception("webhooks: event %s cannot be sent", message.event_id)
        found = {"error": f"the request failed: {type(error).__name__}"}
    return Outcome(at, time.monotonic() - begun, **found)


def _exchange(client: Client, message: Message, timestamp: int, found: dict[str, Any]) -> None:
    """Fill in what the receiver answers, as it comes."""
    headers = signed_headers(message.keys, str(message.event_id), timestamp, message.body)
    headers["content-type"] = "application/json"
    with client.stream("POST", message.url, headers=headers, content=message.body) as answer:
        found |= {"status": answer.status, "answer": ""}
        if answer.status not in SUCCESSES:
            found["error"] = f"the receiver answered {answer.status}"
            found["retry_after"] = read_retry_after(answer.headers.get("retry-after"), MAX_RETRY_AFTER)
        content = bytearray()
        try:
            for piece in answer.pieces():
                content += piece
                if len(content) >= ANSWER_BYTES:
                    break
        finally:  # also what came before an error. Once: to hide secrets takes longer than to read many small pieces
            found["answer"] = _as_text(bytes(content[:ANSWER_BYTES]))


def _as_text(content: bytes) -> str:
    """Return the content as text, secrets hidden. NUL is none of it, as nowhere in a text of the database."""
    return redact_text(content.decode("utf-8", "replace").replace("\x00", "\ufffd"))
