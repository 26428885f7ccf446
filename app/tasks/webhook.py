"""The body of `send_webhook`: one signed POST, judged by its status (Standard Webhooks 1.0)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.core.ids import new_id
from app.db.base import dump_json
from app.outbound import Bounds, Client
from app.outbound.signatures import signed_headers
from app.outbound.urls import parse
from app.tasks.http_status import AnsweredNo, describe, later, may_pass

# The specification asks for 15 to 30 seconds, and for no redirects.
BOUNDS = Bounds(seconds=30, connect_seconds=10, read_seconds=30, max_bytes=1024 * 1024, max_redirects=0)
SUCCESSES = range(200, 300)


@dataclass(frozen=True)
class Webhook:
    """The same id and body at every attempt; the time of the signature is the attempt's."""

    id: str
    body: bytes

    def deliver(self, url: str, keys: Sequence[bytes]) -> dict[str, Any]:
        """Raises OutboundError, AnsweredLater or AnsweredNo. What the receiver says beside its status is not read."""
        headers = signed_headers(keys, self.id, int(datetime.now(UTC).timestamp()), self.body)
        headers["content-type"] = "application/json"
        with Client(bounds=BOUNDS).stream("POST", url, headers=headers, content=self.body) as answer:
            if answer.status in SUCCESSES:
                return {"webhook_id": self.id, "status": answer.status}
            if may_pass(answer.status):
                raise later(parse(url).origin, answer.status, answer.headers)
            raise AnsweredNo(describe(parse(url).origin, answer.status))


def webhook_of(event: str, payload: Any, task_id: str | None) -> Webhook:
    """With the task's id as its own; the time of the event is the task's creation, which its id holds."""
    identity = UUID(task_id) if task_id else new_id()
    happened = datetime.fromtimestamp((identity.int >> 80) / 1000, UTC)
    timestamp = happened.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Webhook(str(identity), dump_json({"type": event, "timestamp": timestamp, "data": payload}).encode())
