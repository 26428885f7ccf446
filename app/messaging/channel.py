"""The Redis channel that carries the ids of changed tasks, and the key that says whether an API process listens.

Both use kombu's connection to CELERY_BROKER_URL, with its passwords, certificates and sentinels. A broker other than
Redis has neither: changes are then found by comparing versions (`app/live/watcher.py`).
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from app.messaging.application import celery_app
from app.messaging.sending import BrokerLink

NAME = "task_service:live"
# A listening process renews the key every second.
LISTENING_SECONDS = 5
_ID_BYTES = 16
# In one message; more ids go into the next one.
MOST_IDS = 500


def pack(task_ids: Iterable[UUID]) -> bytes:
    return b"".join(task_id.bytes for task_id in task_ids)


def unpack(payload: Any) -> list[UUID]:
    """The ids of a message; none where its form is wrong. A forged message has the receiver read rows, no more."""
    if not isinstance(payload, bytes) or len(payload) % _ID_BYTES or len(payload) > MOST_IDS * _ID_BYTES:
        return []
    return [UUID(bytes=payload[at : at + _ID_BYTES]) for at in range(0, len(payload), _ID_BYTES)]


class Channel:
    """A connection of its own, opened at its first use. Belongs to one thread at a time.

    Each call raises within about `seconds` where Redis does not answer; `close()`, and the next one connects anew.
    """

    def __init__(self, seconds: float) -> None:
        self._link = BrokerLink(seconds)
        self._client: Any = None
        self._name = ""

    @property
    def exists(self) -> bool:
        """Whether the broker is a Redis. Opens no connection."""
        return celery_app.conf.broker_url is not None and (
            celery_app.connection_for_write().transport.driver_type == "redis"
        )

    @property
    def client(self) -> Any:
        """The redis-py client, connected now where it is not."""
        if self._client is None:
            self._client = self._link.connection().default_channel.client
            # Channels know no databases: the number keeps deployments on one server apart.
            self._name = f"{NAME}:{self._client.connection_pool.connection_kwargs.get('db', 0)}"
        return self._client

    @property
    def name(self) -> str:
        """Of the channel, and of the key."""
        return self.client and self._name

    def publish(self, task_ids: Iterable[UUID]) -> None:
        self.client.publish(self.name, pack(task_ids))

    def has_listeners(self) -> bool:
        return self.client.get(self.name) is not None

    def keep_listening(self) -> None:
        self.client.set(self.name, 1, ex=LISTENING_SECONDS)

    def subscribe(self) -> Any:
        """redis-py's PubSub."""
        heard = self.client.pubsub()
        heard.subscribe(self.name)
        return heard

    def close(self) -> None:
        self._client = None
        self._link.close()
