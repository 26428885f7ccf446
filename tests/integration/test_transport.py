"""The transport in a process of its own: what a connection leaves behind that has died."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.entity import Queue

from tests.support.faults.proxy import TcpProxy
from tests.support.services import Services
from tests.support.settings import settings

QUEUES = [Queue("of_the_first"), Queue("of_the_second")]


@pytest.fixture
def reading(services: Services) -> Iterator[tuple[Connection, TcpProxy]]:
    """Two channels, each with a message that is not acknowledged, in the middle of its read for the next one."""
    with TcpProxy("127.0.0.1", services.valkey.port) as proxy:
        with settings({"CELERY_BROKER_URL": proxy.through(services.new_broker())}):
            from app.celery_app import celery_app

            connection = celery_app.connection_for_read()
        came: list[Any] = []
        channels = [connection.default_channel, connection.channel()]
        for queue, channel in zip(QUEUES, channels, strict=True):
            connection.Consumer(
                [queue], channel, callbacks=[lambda _, message: came.append(message)], accept=["json"]
            ).consume()
            connection.Producer().publish({}, routing_key=queue.name)
        while len(came) < len(QUEUES):
            connection.drain_events(timeout=10)
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.1)
        yield connection, proxy


def test_a_connection_that_dies_while_it_reads_is_closed_by_two_calls(reading: tuple[Connection, TcpProxy]) -> None:
    """As Celery's consumer makes them; in kombu 5.7 the second one ended the worker with an AttributeError."""
    connection, proxy = reading
    proxy.refuse()
    proxy.cut()
    connection.collect(socket_timeout=1)
    connection.close()
    assert not connection.connected
