"""The Redis channel on which changed tasks are named, and the key by which API processes say that somebody listens.

Both go over kombu's own connection to CELERY_BROKER_URL, so that its passwords, certificates and sentinels hold here as
well. A broker that is no Redis has neither: there the versions are compared (`watcher.py`), and nothing else happens.
"""

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import Any
from uuid import UUID

NAME = "task_service:live"
# Who listens says so every second.
LISTENING_SECONDS = 5
_ID_BYTES = 16
# Of one message; more ids go into the next one.
MOST_IDS = 500


def pack(task_ids: Iterable[UUID]) -> bytes:
    return b"".join(task_id.bytes for task_id in task_ids)


def unpack(payload: Any) -> list[UUID]:
    """The ids of a message; none where it is not one of ours. Whoever may publish can only make us look at rows."""
    if not isinstance(payload, bytes) or len(payload) % _ID_BYTES or len(payload) > MOST_IDS * _ID_BYTES:
        return []
    return [UUID(bytes=payload[at : at + _ID_BYTES]) for at in range(0, len(payload), _ID_BYTES)]


class Channel:
    """A connection of its own, opened at its first use. Belongs to one thread at a time.

    Each call raises within about `seconds` where Redis does not answer; `close()`, and the next one connects anew.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open = ExitStack()
        self._client: Any = None
        self._name = ""

    @property
    def exists(self) -> bool:
        """Whether the broker is a Redis. Asks nobody."""
        from app.celery_app import celery_app

        return celery_app.conf.broker_url is not None and (
            celery_app.connection_for_write().transport.driver_type == "redis"
        )

    @property
    def client(self) -> Any:
        """The redis-py client, connected now where it is not."""
        from app.celery_app import celery_app

        if self._client is None:
            options = {"socket_timeout": self._seconds, "socket_connect_timeout": self._seconds, "max_retries": 0}
            connection = self._open.enter_context(celery_app.connection_for_write(transport_options=options))
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=self._seconds)
                self._client = connection.default_channel.client
            except BaseException:
                self.close()
                raise
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

    def say_that_we_listen(self) -> None:
        self.client.set(self.name, 1, ex=LISTENING_SECONDS)

    def subscribe(self) -> Any:
        """redis-py's PubSub."""
        heard = self.client.pubsub()
        heard.subscribe(self.name)
        return heard

    def close(self) -> None:
        self._client = None
        with suppress(Exception):  # a broken connection may fail to close; it is gone either way
            self._open.close()
