"""The way to the broker: a connection that fails fast, and the sending of a batch on it."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from app.dispatch.messages import GENERATION_HEADER, RECORD_HEADER, Dispatch
from app.dispatch.routing import MESSAGE_PRIORITY

# A broker that is down, frozen or unreachable costs a second and no more (kombu would wait for a minute).
FAIL_FAST = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}


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
    """Publish the messages in order. Raises kombu's OperationalError at the first that cannot be sent."""
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
