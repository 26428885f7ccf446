"""kombu's Redis transport, reading defensively.

In kombu 5.7 an item that is no message is an exception in the worker's event loop, which ends the worker; the item
is gone, the next one ends the next worker. Here it is dropped, and for kombu nothing has come (docs/adr/0020).
"""

from collections.abc import Iterable
from functools import cached_property
from queue import Empty
from typing import Any

import uuid_utils
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from pydantic_core import to_json

from app.messaging.dispatches import RECORD_HEADER
from app.messaging.guard.items import Malformed, check_envelope, check_item, drop, parse, too_raw, why_unread

# Of kombu's errors of a connection, this one is also what a malformed item raises.
_AMBIGUOUS = (KeyError,)


class QoS(redis.QoS):
    """What a worker took and never acknowledged is put back from a hash, which may hold anything as well.

    A message that names a record is kept in memory alone: the row brings it back, and far sooner than the hash would,
    whose two transactions were half of what a worker's event loop did for each task (docs/adr/0027).
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        if _names_record(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self._is_hint(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self._is_hint(delivery_tag):
            super().reject(delivery_tag, requeue)
            return
        if requeue:
            with self.channel.conn_or_acquire() as client:
                self._put_back(self._delivered[delivery_tag], client, leftmost=True)
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """At the end of the channel: what no child has taken goes back to its queue."""
        hints = [message for message in self._delivered.values() if _names_record(message)]
        for message in hints:
            self._delivered.pop(message.delivery_tag)
        with self.channel.conn_or_acquire(client) as connection:
            for message in hints:
                self._put_back(message, connection)
            super().restore_unacked(connection)

    def _is_hint(self, delivery_tag: str) -> bool:
        message = self._delivered.get(delivery_tag)
        return message is not None and _names_record(message)

    def _put_back(self, message: Any, client: Any, leftmost: bool = False) -> None:
        route, raw = message.delivery_info, message._raw  # noqa: SLF001 (as kombu's own QoS)
        self.channel._do_restore_message(raw, route["exchange"], route["routing_key"], client, leftmost)  # noqa: SLF001

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        with self.channel.conn_or_acquire(client) as connection:
            kept = connection.hget(self.unacked_key, tag)
            if kept is not None and not _is_restorable(kept):
                self._remove_from_indices(tag, connection.pipeline()).execute()
                drop("unacknowledged messages", "no message", len(kept))
                return
            super().restore_by_tag(tag, connection, leftmost)


def _names_record(message: Any) -> bool:
    return message.headers.get(RECORD_HEADER) is not None


def _is_restorable(kept: bytes) -> bool:
    """`[message, exchange, routing key]`."""
    try:
        message, exchange, routing_key = parse(kept)
        check_envelope(message)
    except (Malformed, ValueError, TypeError):
        return False
    return isinstance(exchange, str | None) and isinstance(routing_key, str | None)


class Channel(redis.Channel):
    """Looks at each item of a queue (BRPOP) and of a channel (SUBSCRIBE) before it is taken for a message."""

    QoS = QoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._came: tuple[str, int] | None = None
        super().__init__(*args, **kwargs)

    def _next_delivery_tag(self) -> str:
        """kombu's asks the kernel for random bytes, and lets go of the interpreter's lock for it, at each message."""
        return str(uuid_utils.uuid4())

    def put_all(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Put these, each with its queue, those of one list in their order and in one round trip."""
        lines: dict[str, list[bytes]] = {}
        for queue, message in messages:
            properties = message["properties"]
            properties["delivery_tag"] = self._next_delivery_tag()
            lines.setdefault(self._q_for_pri(queue, properties["priority"]), []).append(to_json(message))
        for line, items in lines.items():
            self._writer.lpush(line, *items)

    @cached_property
    def _writer(self) -> Any:
        """Kept, where kombu makes a client for each message; its connection is taken from the pool each time."""
        return self._create_client()

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)
        # redis-py hands each answer to the callback of its command; kombu takes None for «nothing has come».
        client.set_response_callback("BRPOP", self._popped)
        return client

    def _popped(self, answer: Any, **_: Any) -> tuple[bytes, bytes] | None:
        if not answer:
            return None
        key, item = answer
        self._came = f"queue {key.decode(errors='replace').partition(self.sep)[0]}", len(item)
        why = too_raw(item)
        if why:
            self._drop(why)
            return None
        return key, item

    def _brpop_read(self, **options: Any) -> Any:
        """kombu's, which parses what was popped and delivers it; what it cannot parse is dropped."""
        self._came = None
        try:
            return super()._brpop_read(**options)
        except Exception as error:
            if self._came is None or not self.connection.is_of_the_message(error):
                raise
            self._drop(why_unread(error))
            return True

    def _drop(self, why: str) -> None:
        if self._came is not None:
            drop(self._came[0], why, self._came[1])

    def _handle_message(self, client: Any, response: Any) -> dict[str, Any]:
        published: dict[str, Any] = super()._handle_message(client, response)
        if published["type"] in (b"message", b"pmessage") and published["data"]:
            channel = published["channel"].decode(errors="replace")
            if not _accepts(published["data"], f"channel {channel}"):
                published["data"] = None  # for kombu an empty one, which it skips
        return published


def _accepts(item: bytes, where: str) -> bool:
    try:
        check_item(item)
    except Malformed as problem:
        drop(where, str(problem), len(item))
        return False
    return True


class Transport(redis.Transport):
    """Whatever a message brings about, only the loss of the connection may leave the event loop."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            check_envelope(message)
            super()._deliver(message, queue)
        except Malformed as problem:
            drop(f"queue {queue}", str(problem))
        except Exception as error:
            if not self.is_of_the_message(error):
                raise
            self._forget(message)
            drop(f"queue {queue}", f"{type(error).__name__} while it was received")

    def is_of_the_message(self, error: Exception) -> bool:
        """Or of the connection, or of nothing having come."""
        if isinstance(error, _AMBIGUOUS):
            return True
        return not isinstance(error, (*self.connection_errors, *self.channel_errors, Empty, MemoryError))

    def _forget(self, message: dict[str, Any]) -> None:
        """It is not to come back once the visibility timeout is over."""
        tag = message["properties"]["delivery_tag"]
        for channel in self.channels:
            channel.qos.ack(tag)


def install() -> None:
    """Make it the transport of `redis://` and `rediss://`, in every connection that this process opens."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "app.messaging.guard.transport:Transport"
