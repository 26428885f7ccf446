"""A connection to the broker that fails fast, and the sending of a batch on it."""

import base64
import functools
import json
from contextlib import ExitStack, suppress
from typing import Any
from weakref import WeakKeyDictionary

from celery import signals
from celery.utils.nodenames import anon_nodename

from app.core.fork import PerProcess
from app.core.ids import new_id
from app.messaging.application import celery_app

PERSISTENT = 2
# No arguments, no callbacks: the row has them.
_NO_ARGUMENTS = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
_BODY = base64.b64encode(_NO_ARGUMENTS.encode()).decode()
# The queues that a producer's connection has declared.
_declared: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


class BrokerLink:
    """A connection of its own, kept open between uses, and a kombu producer on it. Belongs to one thread at a time.

    A broker that is down, frozen or unreachable costs about `seconds` and no more (kombu would wait for a minute).
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._open = ExitStack()
        self._connection: Any = None
        self._producer: Any = None

    def connection(self) -> Any:
        """kombu's connection, connected now where it is not. Raises redis-py's or kombu's error."""
        if self._connection is None:
            options = {"socket_timeout": self._seconds, "socket_connect_timeout": self._seconds, "max_retries": 0}
            connection = self._open.enter_context(celery_app.connection_for_write(transport_options=options))
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=self._seconds)
            except BaseException:
                self.close()
                raise
            self._connection = connection
        return self._connection

    def producer(self) -> Any:
        """Return a producer on the connection, which declares no queue. Raises as `connection`."""
        if self._producer is None:
            self._producer = celery_app.amqp.Producer(self.connection(), auto_declare=False)
        return self._producer

    def close(self) -> None:
        """Let the connection go; the next use opens another."""
        self._connection = self._producer = None
        with suppress(Exception):  # a broken connection may fail to close; it is gone either way
            self._open.close()


def send_wakeup(to: Any, name: str, queue: str, priority: int, number: int) -> None:
    """Publish so many messages of the task `name`, without arguments. Raises redis-py's or kombu's error.

    Like `celery_app.send_task`, but without what these messages never have: routes, links, stamps, a result to wait
    for, a choice of serializers. It takes a quarter of the CPU, in a thread that shares it with the event loop.
    """
    if not hasattr(to.channel, "put_all"):  # any other transport than `app.messaging.guard.transport`
        for _ in range(number):
            celery_app.send_task(
                name, queue=queue, priority=priority, argsrepr="", kwargsrepr="", producer=to, retry=False
            )
        return
    declared = _declared.setdefault(to, set())
    if queue not in declared:
        to.maybe_declare(celery_app.amqp.queues[queue])
        declared.add(queue)
    to.channel.put_all((queue, _message(name, queue, priority)) for _ in range(number))


def _message(name: str, queue: str, priority: int) -> dict[str, Any]:
    """Return the message as Celery and kombu write it for Redis; a test compares the two."""
    common, beside = _common(name, celery_app.thread_oid, _origin())
    identifier = str(new_id())
    # Copied: a receiver of the signal may change them, and another message must not change with it.
    headers = {**common, "timelimit": [*common["timelimit"]], "stamps": {}, "id": identifier, "root_id": identifier}
    properties = {**beside, "correlation_id": identifier}
    to_queue = {"exchange": "", "routing_key": queue}
    # Signs it, with SIGN_MESSAGES, and lets tracing add headers.
    signals.before_task_publish.send(
        sender=name,
        body=tuple(json.loads(_NO_ARGUMENTS)),
        headers=headers,
        properties=properties,
        declare=[],
        retry_policy={},
        **to_queue,
    )
    return {
        "body": _BODY,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            **properties,
            "delivery_mode": PERSISTENT,
            "delivery_info": to_queue,
            "priority": priority,
            "body_encoding": "base64",
        },
    }


@functools.lru_cache(maxsize=16)
def _common(name: str, reply_to: str, origin: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return headers and properties of messages that differ only in their ids: to make them took most of the time."""
    headers, properties, _, _ = celery_app.amqp.as_task_v2(
        "", name, reply_to=reply_to, argsrepr="", kwargsrepr="", ignore_result=None, origin=origin
    )
    return headers, properties


# The name of this process in its messages.
_origin: PerProcess[str] = PerProcess(anon_nodename)
