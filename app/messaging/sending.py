"""The way to the broker: a connection that fails fast, and the sending of a batch on it."""

import base64
import functools
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any
from weakref import WeakKeyDictionary

from app.messaging.dispatches import GENERATION_HEADER, RECORD_HEADER, Dispatch
from app.messaging.routing import MESSAGE_PRIORITY

# A broker that is down, frozen or unreachable costs a second and no more (kombu would wait for a minute).
FAIL_FAST = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
PERSISTENT = 2
# No arguments, no callbacks: the row has them.
_NO_ARGUMENTS = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
_BODY = base64.b64encode(_NO_ARGUMENTS.encode()).decode()
# The queues that a producer's connection has declared.
_declared: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


class BrokerLink:
    """A kombu producer on a connection of its own, kept open between uses. Belongs to one thread."""

    def __init__(self) -> None:
        self._connection = ExitStack()
        self._producer: Any = None

    def producer(self) -> Any:
        """The producer, connected now where it is not. Raises within about a second when there is no broker."""
        from app.celery_app import celery_app

        if self._producer is None:
            connection = celery_app.connection_for_write(transport_options=FAIL_FAST)
            self._connection.enter_context(connection)
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
            except BaseException:
                self.close()
                raise
            self._producer = celery_app.amqp.Producer(connection, auto_declare=False)
        return self._producer

    def close(self) -> None:
        """Let the connection go; the next use opens another."""
        self._producer = None
        with suppress(Exception):  # a broken connection may fail to close; it is gone either way
            self._connection.close()


def send(to: Any, dispatches: Sequence[Dispatch]) -> None:
    """Publish the messages: those of one queue and priority in their order and in one round trip.

    Raises redis-py's or kombu's error where one cannot be sent.

    `celery_app.send_task` without what no message of ours has: routes, links, stamps, a result to be listened for, a
    serializer to choose. A quarter of the CPU is left, in a thread that shares it with the event loop.
    """
    from app.celery_app import celery_app

    if not hasattr(to.channel, "put_all"):
        _send_one_by_one(to, dispatches)
        return
    messages = [(dispatch.queue, _message(celery_app, dispatch)) for dispatch in dispatches]
    declared = _declared.setdefault(to, set())
    for queue in {queue for queue, _ in messages} - declared:
        to.maybe_declare(celery_app.amqp.queues[queue])
        declared.add(queue)
    to.channel.put_all(messages)


def _send_one_by_one(to: Any, dispatches: Sequence[Dispatch]) -> None:
    """For any other transport than `app.messaging.guard.transport`, and what `_message` is held against."""
    from app.celery_app import celery_app

    for dispatch in dispatches:
        celery_app.send_task(
            dispatch.celery_task_name,
            task_id=str(dispatch.celery_id),
            queue=dispatch.queue,
            priority=MESSAGE_PRIORITY[dispatch.priority],
            time_limit=dispatch.timeout_seconds,
            headers={RECORD_HEADER: str(dispatch.id), GENERATION_HEADER: dispatch.generation},
            argsrepr="",
            kwargsrepr="",
            producer=to,
            retry=False,
        )


def _message(app: Any, dispatch: Dispatch) -> dict[str, Any]:
    """As Celery and kombu write it for Redis; a test holds theirs against it."""
    from celery import signals

    name, task = dispatch.celery_task_name, app.tasks.get(dispatch.celery_task_name)
    soft_limit = task.soft_time_limit if task is not None else None
    common, beside = _common(app, name, app.thread_oid, dispatch.timeout_seconds, soft_limit, _origin())
    identifier = str(dispatch.celery_id)
    # Nothing that a receiver of the signal may change is another message's.
    headers = {
        **common,
        "timelimit": [*common["timelimit"]],
        "stamps": {},
        "id": identifier,
        "root_id": identifier,
        RECORD_HEADER: str(dispatch.id),
        GENERATION_HEADER: dispatch.generation,
    }
    properties = {**beside, "correlation_id": identifier}
    to_queue = {"exchange": "", "routing_key": dispatch.queue}
    # Signs it, with SIGN_MESSAGES, and lets whoever traces messages add to it.
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
            "priority": MESSAGE_PRIORITY[dispatch.priority],
            "body_encoding": "base64",
        },
    }


@functools.lru_cache(maxsize=1024)
def _common(
    app: Any, name: str, reply_to: str, limit: float | None, soft_limit: float | None, origin: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The headers and properties of all messages that differ in nothing but ids: to make them took most of the time."""
    headers, properties, _, _ = app.amqp.as_task_v2(
        "",
        name,
        reply_to=reply_to,
        time_limit=limit,
        soft_time_limit=soft_limit,
        argsrepr="",
        kwargsrepr="",
        ignore_result=None,
        origin=origin,
    )
    return headers, properties


@functools.cache
def _origin_of(pid: int) -> str:
    from celery.utils.nodenames import anon_nodename

    del pid
    return str(anon_nodename())


def _origin() -> str:
    return _origin_of(os.getpid())
