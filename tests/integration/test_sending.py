"""Wake-ups: what is put into the queues, held against what Celery and kombu put there, and how many."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from celery import signals
from kombu.connection import Connection
from kombu.entity import Queue

from app.celery_app import celery_app
from app.core.config import get_settings
from app.messaging import broker as sending
from app.messaging.application import MESSAGE_PRIORITY, QUEUES
from app.messaging.broker import BrokerLink
from app.messaging.wakeups import MOST_OUT, NAME, wake
from app.models.task import TaskPriority
from tests.support.running import fresh_connections
from tests.support.services import Services, environment
from tests.support.settings import settings

# What is each message's own, and what `send_task` puts beside the headers though it stands in them, where it is not read.
OWN = {"delivery_tag", "correlation_id", "argsrepr", "kwargsrepr"}
OWN_HEADERS = {"id", "root_id", "task_signature"}
USUAL, FIRST = MESSAGE_PRIORITY[TaskPriority.NORMAL], MESSAGE_PRIORITY[TaskPriority.CRITICAL]


@pytest.fixture(params=["false", "true"], ids=["plain", "signed"])
def broker(services: Services, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    url = services.new_broker()
    variables = environment("postgresql://x:y@127.0.0.1:1/z", url, SIGN_MESSAGES=request.param)
    with settings(variables), fresh_connections(), redis.Redis.from_url(url) as connection:
        yield connection


@pytest.fixture
def link(broker: redis.Redis) -> Iterator[BrokerLink]:
    url = celery_app.conf.broker_url
    celery_app.conf.broker_url = "redis://:{password}@{host}:{port}/{db}".format(**broker.get_connection_kwargs())
    opened = BrokerLink()
    yield opened
    opened.close()
    celery_app.conf.broker_url = url


class WithoutBatches:
    """The producer of a transport that cannot send several messages at once."""

    channel = None

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def lists(broker: redis.Redis) -> list[bytes]:
    return [key for key in broker.scan_iter() if broker.type(key) == b"list"]


@contextmanager
def before_publishing(act: Callable[..., None]) -> Iterator[None]:
    signals.before_task_publish.connect(act, weak=False)
    yield
    signals.before_task_publish.disconnect(act)


def popped(broker: redis.Redis) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The one message that there is, the list in which it was, and what is its own."""
    (key,) = lists(broker)
    assert broker.llen(key) == 1
    message = json.loads(broker.rpop(key))
    own = {name: value for name, value in message["headers"].items() if name in OWN_HEADERS}
    for part, left_out in (("properties", OWN), ("headers", OWN_HEADERS)):
        message[part] = {name: value for name, value in message[part].items() if name not in left_out}
    return key.decode(), message, own


def waiting(broker: redis.Redis) -> dict[str, int]:
    """How many messages wait in each list."""
    return {key.decode(): broker.llen(key) for key in lists(broker)}


def plain(link: BrokerLink, number: int, priority: int = USUAL) -> None:
    """So many messages of a plain Celery task, in the queue `default`."""
    for _ in range(number):
        celery_app.send_task("plain", queue="default", priority=priority, producer=link.producer())


class TestAMessage:
    @pytest.mark.parametrize("priority", [USUAL, FIRST])
    @pytest.mark.parametrize("queue", [*QUEUES, "a queue of its own"])
    def test_is_what_celery_would_send(self, broker: redis.Redis, link: BrokerLink, queue: str, priority: int) -> None:
        sending.send_wakeup(WithoutBatches(link.producer()), NAME, queue, priority, 1)  # Celery's own `send_task`
        *celerys, of_celerys = popped(broker)
        sending.send_wakeup(link.producer(), NAME, queue, priority, 1)
        *ours, own = popped(broker)
        assert ours == celerys
        assert own.keys() == of_celerys.keys()
        assert ("task_signature" in own) == get_settings().sign_messages

    def test_has_an_id_of_its_own_and_lets_others_add_headers(self, broker: redis.Redis, link: BrokerLink) -> None:
        def trace(headers: dict[str, Any], **_: Any) -> None:
            headers["traceparent"] = headers["id"]

        with before_publishing(trace):
            sending.send_wakeup(link.producer(), NAME, "default", USUAL, 5)
        (key,) = lists(broker)
        sent = [json.loads(broker.rpop(key)) for _ in range(broker.llen(key))]
        assert len({each["headers"]["id"] for each in sent}) == 5
        assert len({each["properties"]["delivery_tag"] for each in sent}) == 5
        for each in sent:
            assert each["headers"]["traceparent"] == each["headers"]["root_id"] == each["headers"]["id"]
            assert each["properties"]["correlation_id"] == each["headers"]["id"]

    def test_shares_nothing_with_another_that_a_receiver_may_change(
        self, broker: redis.Redis, link: BrokerLink
    ) -> None:
        def trace(headers: dict[str, Any], body: Any, **_: Any) -> None:
            # The last two are deep within what all messages have in common.
            headers["baggage"] = headers.get("baggage", 0) + 1
            headers["stamps"].setdefault("baggage", []).append(1)
            headers["timelimit"].append(1)
            headers["arguments"] = body[1] | {"more": 1}
            body[1]["more"] = len(body[1])

        with before_publishing(trace):
            sending.send_wakeup(link.producer(), NAME, "default", USUAL, 2)
        (key,) = lists(broker)
        for item in broker.lrange(key, 0, -1):
            headers = json.loads(item)["headers"]
            assert (headers["baggage"], headers["stamps"], headers["arguments"]) == (1, {"baggage": [1]}, {"more": 1})
            assert headers["timelimit"] == [None, None, 1]


class TestWake:
    def test_sends_no_more_than_are_out_at_most(self, broker: redis.Redis, link: BrokerLink) -> None:
        assert wake(link.producer(), "default") == (1, MOST_OUT - 1)
        assert wake(link.producer(), "default", 3) == (3, MOST_OUT - 4)
        assert wake(link.producer(), "default", 1000) == (MOST_OUT - 4, 0)
        (key,) = lists(broker)
        assert broker.llen(key) == MOST_OUT
        assert wake(link.producer(), "low_priority", 2).sent == 2  # each queue by itself
        broker.rpop(key)
        assert wake(link.producer(), "default", 2).sent == 1
        assert broker.llen(key) == MOST_OUT
        # They may be messages of plain tasks as well: one goes ahead.
        assert [wake(link.producer(), "default", 5).sent for _ in range(3)] == [1, 0, 0]
        assert broker.llen(key) == MOST_OUT

    def test_sends_one_ahead_of_many_others_and_no_second_one(self, broker: redis.Redis, link: BrokerLink) -> None:
        plain(link, MOST_OUT + 4)
        (usual,) = lists(broker)
        assert [wake(link.producer(), "default", 5).sent for _ in range(3)] == [1, 0, 0]
        ahead = next(key for key in lists(broker) if key != usual)
        assert (broker.llen(usual), broker.llen(ahead)) == (MOST_OUT + 4, 1)
        # What a worker takes next.
        taken = Queue("default").bind(link.connection().default_channel).get(no_ack=True)
        assert taken.headers["task"] == NAME
        assert wake(link.producer(), "default", 5).sent == 1

    def test_goes_by_the_messages_of_its_own_priority(self, broker: redis.Redis, link: BrokerLink) -> None:
        plain(link, MOST_OUT + 4, MESSAGE_PRIORITY[TaskPriority.LOW])
        assert wake(link.producer(), "default", 2).sent == 2
        assert sorted(waiting(broker).values()) == [2, MOST_OUT + 4]

    def test_on_a_broker_that_tells_the_sum_alone_stops_at_it(self) -> None:
        with Connection("memory://") as connection:
            producer = celery_app.amqp.Producer(connection, auto_declare=False)
            assert [wake(producer, "a queue of its own", 10).sent for _ in range(3)] == [10, MOST_OUT - 10, 0]
            assert connection.default_channel.queue_declare("a queue of its own").message_count == MOST_OUT
            connection.default_channel.queue_purge("a queue of its own")
