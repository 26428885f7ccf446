"""What is asked of the broker: is its content still the one we filled, and how many messages wait."""

import secrets
from typing import Any

EPOCH_KEY = "task_service:epoch"


def epoch(connection: Any) -> str | None:
    """The random value that this broker has held since it was last empty; made now where there is none.

    A Redis that was restarted without persistence, or flushed, has lost it with everything else. None for a broker
    other than Redis, which keeps its queues or says that it could not.
    """
    if connection.transport.driver_type != "redis":
        return None
    client = connection.default_channel.client
    client.set(EPOCH_KEY, secrets.token_hex(8), nx=True)
    value: bytes = client.get(EPOCH_KEY)
    return value.decode()


def depth(connection: Any, queue: str, priority: int) -> int:
    """How many messages of this kombu priority wait in the queue: on Redis each has a list of its own."""
    channel = connection.default_channel
    return int(channel.client.llen(channel._q_for_pri(queue, priority)))  # noqa: SLF001 (kombu offers the sum alone)


def is_empty(connection: Any, queue: str) -> bool:
    """Whether no message waits in the queue. A queue that was never declared is empty."""
    depth: int = connection.default_channel.queue_declare(queue=queue, passive=False).message_count
    return depth == 0
