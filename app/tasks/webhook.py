"""The implementation of `send_webhook`: one signed POST, classified by its status (Standard Webhooks 1.0)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.core.ids import new_id, time_of
from app.core.json_text import dump_json
from app.core.signatures import signed_headers
from app.outbound import Bounds, Client
from app.outbound.targets import parse_url
from app.tasks.http_status import AnsweredNo, describe, is_retryable, retryable_error

# The specification recommends 15 to 30 seconds, and no redirects.
BOUNDS = Bounds(seconds=30, connect_seconds=10, read_seconds=30, max_bytes=1024 * 1024, max_redirects=0)
SUCCESSES = range(200, 300)


@dataclass(frozen=True)
class Webhook:
    """A webhook. Its id and body are the same in each attempt; each attempt has its own signature time."""

    id: str
    body: bytes

    def deliver(self, url: str, keys: Sequence[bytes]) -> dict[str, Any]:
        """Send the webhook and return the task's result. Raises OutboundError, AnsweredLater, AnsweredNo.

        Only the status of the response is read.
        """
        headers = signed_headers(keys, self.id, int(datetime.now(UTC).timestamp()), self.body)
        headers["content-type"] = "application/json"
        with Client(bounds=BOUNDS).stream("POST", url, headers=headers, content=self.body) as answer:
            if answer.status in SUCCESSES:
                return {"webhook_id": self.id, "status": answer.status}
            if is_retryable(answer.status):
                raise retryable_error(parse_url(url).origin, answer.status, answer.headers)
            raise AnsweredNo(describe(parse_url(url).origin, answer.status))


def make_webhook(event: str, payload: Any, task_id: str | None) -> Webhook:
    """Return the webhook of an event. Its id is the task's id, its timestamp the creation time in that id."""
    identity = UUID(task_id) if task_id else new_id()
    created_at = datetime.fromtimestamp(time_of(identity), UTC)
    timestamp = created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Webhook(str(identity), dump_json({"type": event, "timestamp": timestamp, "data": payload}).encode())
