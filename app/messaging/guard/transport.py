"""kombu's Redis transport, reading defensively.

In kombu 5.7 an item that is not a message raises an exception in the worker's event loop, which ends the worker; the
next such item ends the next worker. Here it is dropped, and kombu sees an empty queue (docs/adr/0020).
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from queue import Empty
from typing import Any

import redis as redis_py
import uuid_utils
from kombu.asynchronous.hub import get_event_loop
from kombu.transport import redis, virtual
from pydantic_core import to_json

from app.messaging.guard.items import Malformed, check_envelope, check_item, drop, parse, too_raw, why_unread
from app.messaging.guard.messages import WAKEUP
from app.messaging.guard.redis_client import MAILBOX, TOO_LARGE, BoundedParser, TypedRedis, is_wrong_type, put_aside

# Of kombu's errors of a connection, this one is also what a malformed item raises.
_AMBIGUOUS = (KeyError,)
# How often a process looks for messages that nobody acknowledged, and how many it puts back: each takes 0.3 ms.
RESTORE_SECONDS = 10.0
MOST_RESTORED = 200
# Messages of the control channel for each turn of the event loop, which reads one of the queues in a turn.
MOST_HEARD = 20


class QoS(redis.QoS):
    """Puts back from a hash, which may hold anything as well, what a worker took and never acknowledged.

    A wake-up is kept in memory alone: maintenance wakes a slot again, and far sooner than the hash would, whose two
    transactions are half of what a worker's event loop does for each task (docs/adr/0024).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._restore_at = 0.0

    def append(self, message: Any, delivery_tag: str) -> None:
        if _is_wakeup(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self._is_in_memory(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self._is_in_memory(delivery_tag):
            super().reject(delivery_tag, requeue)
            return
        if requeue:
            with self.channel.conn_or_acquire() as client:
                self._put_back(self._delivered[delivery_tag], client, leftmost=True)
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Give wake-ups that no child has taken back to their queue, at the end of the channel."""
        wakeups = [message for message in self._delivered.values() if _is_wakeup(message)]
        for message in wakeups:
            self._delivered.pop(message.delivery_tag)
        with self.channel.conn_or_acquire(client) as connection:
            for message in wakeups:
                self._put_back(message, connection)
            super().restore_unacked(connection)

    def _is_in_memory(self, delivery_tag: str) -> bool:
        message = self._delivered.get(delivery_tag)
        return message is not None and _is_wakeup(message)

    def _put_back(self, message: Any, client: Any, leftmost: bool = False) -> None:
        route, raw = message.delivery_info, message._raw  # noqa: SLF001 (as kombu's own QoS)
        self.channel._do_restore_message(raw, route["exchange"], route["routing_key"], client, leftmost)  # noqa: SLF001

    def postpone(self, message: Any, until: float) -> None:
        """Keep the message in the broker alone; it is back in its queue at about `until` (seconds since 1970)."""
        with self.channel.conn_or_acquire() as client:
            client.zadd(self.unacked_index_key, {message.delivery_tag: until - self.visibility_timeout})
        virtual.QoS.ack(self, message.delivery_tag)

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Put back what is due, the longest due first; a bounded number each time.

        Without kombu's lock: a key that never expires would hold it for ever, and each message is put back in a
        transaction of its own, which only one process can win.
        """
        if time.monotonic() < self._restore_at:
            return
        self._restore_at = time.monotonic() + RESTORE_SECONDS / 2
        with self.channel.conn_or_acquire() as client:
            due = client.zrange(
                self.unacked_index_key, "-inf", time.time() - self.visibility_timeout,
                byscore=True, offset=0, num=MOST_RESTORED,
            )  # fmt: skip
            for tag in due:
                self.restore_by_tag(tag, client)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        with self.channel.conn_or_acquire(client) as connection:
            kept = connection.hget(self.unacked_key, tag)
            if kept is not None and not _is_restorable(kept):
                self._remove_from_indices(tag, connection.pipeline()).execute()
                drop("unacknowledged messages", "no message", len(kept))
                return
            super().restore_by_tag(tag, connection, leftmost)


def _is_wakeup(message: Any) -> bool:
    return bool(message.headers.get("task") == WAKEUP)


def _is_restorable(kept: bytes) -> bool:
    """Return whether it is `[message, exchange, routing key]`."""
    try:
        message, exchange, routing_key = parse(kept)
        check_envelope(message)
    except (Malformed, ValueError, TypeError):
        return False
    return isinstance(exchange, str | None) and isinstance(routing_key, str | None)


class Channel(redis.Channel):
    """Looks at each item of a queue (BRPOP) and of a channel (SUBSCRIBE) before it is taken for a message."""

    QoS = QoS
    # Whose keys may be repaired, beside those of the queues that are read here.
    service_queues: Sequence[str] = ()
    from_transport_options = (*redis.Channel.from_transport_options, "service_queues")  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._came: tuple[str, int] | None = None
        self._rest_is_due = False
        super().__init__(*args, **kwargs)

    def _next_delivery_tag(self) -> str:
        """Return the next tag. kombu's asks the kernel for random bytes, and releases the interpreter's lock for it."""
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
        """One client, where kombu makes one for each message; its connection is taken from the pool each time."""
        return self._create_client()

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)
        # redis-py hands each answer to the callback of its command; kombu takes None for an empty queue.
        client.set_response_callback("BRPOP", self._popped)
        client.queues = self.service_queues
        return client

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        return {**super()._connparams(asynchronous), "parser_class": BoundedParser}

    def _get_client(self) -> Any:
        kind = super()._get_client()
        return TypedRedis if kind is redis_py.StrictRedis else kind

    def _lookup(self, exchange: str, routing_key: str, default: Any = None) -> list[str]:
        """kombu reads all bindings of the exchange, whatever stands there. An answer's queue is known by its name."""
        if not (exchange.startswith("reply.") and exchange.endswith(MAILBOX)):
            queues: list[str] = super()._lookup(exchange, routing_key, default)
            return queues
        queue = f"{routing_key}.{exchange}"
        bound = self._writer.sismember(self.keyprefix_queue % exchange, self.sep.join((routing_key, "", queue)))
        return [queue] if bound else []

    def get_table(self, exchange: str) -> list[tuple[str, ...]]:
        """Return kombu's table without what is no binding: one such text would fail each message to the exchange."""
        return [binding for binding in super().get_table(exchange) if len(binding) == 3]  # noqa: PLR2004

    def _popped(self, answer: Any, **_: Any) -> tuple[bytes, bytes] | None:
        if not answer:
            return None
        key, item = answer
        self._came = f"queue {key.decode(errors='replace').partition(self.sep)[0]}", len(item)
        why = "too large" if item == TOO_LARGE else too_raw(item)
        if why:
            self._drop(why)
            return None
        return key, item

    def _brpop_read(self, **options: Any) -> Any:
        """Parse what was popped and deliver it, as kombu does; drop what cannot be parsed."""
        self._came = None
        try:
            return super()._brpop_read(**options)
        except redis_py.ResponseError as error:
            if not is_wrong_type(error) or not self._put_aside():
                raise
            return True
        except Exception as error:
            if self._came is None or not self.connection.is_of_the_message(error):
                raise
            self._drop(why_unread(error))
            return True

    def _put_aside(self) -> bool:
        """Repair the keys of the queues that are read here. Returns whether they can be read again."""
        queues = set(self.active_queues)
        keys = [self._q_for_pri(queue, priority) for queue in queues for priority in self.priority_steps]
        return put_aside(self.pool, keys, queues)

    def close(self) -> None:
        """kombu's, which gives up where the read under way fails: then it has closed nothing.

        Celery drops the connection's transport, closes again, and a worker ended with an AttributeError.
        """
        try:
            super().close()
        except self.connection_errors:
            if not self.closed:
                super().close()

    def _receive(self) -> bool:
        """Receive as kombu, which would go on for as long as anyone sends, and read no queue in the meantime."""
        client, heard = self.subclient, False
        for _ in range(MOST_HEARD):
            with suppress(Empty):
                heard = bool(self._receive_one(client)) or heard
            if client.connection is None or not client.connection.can_read(timeout=0):
                return heard
        loop = get_event_loop()
        if loop is not None and not self._rest_is_due:
            self._rest_is_due = True
            loop.call_soon(self._receive_rest)  # the rest may be in the client's memory, where no poll sees it
        return heard

    def _receive_rest(self) -> None:
        self._rest_is_due = False
        connection = self.subclient.connection
        if not self._closing and connection is not None and connection.can_read(timeout=0):
            self._receive()

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
    """Whatever error a message causes, only the loss of the connection may end the event loop."""

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
        """Return whether a message has caused the error, rather than the connection or an empty queue."""
        if isinstance(error, _AMBIGUOUS):
            return True
        return not isinstance(error, (*self.connection_errors, *self.channel_errors, Empty, MemoryError))

    def _forget(self, message: dict[str, Any]) -> None:
        """Acknowledge it, so that it does not come back after the visibility timeout."""
        tag = message["properties"]["delivery_tag"]
        for channel in self.channels:
            channel.qos.ack(tag)
