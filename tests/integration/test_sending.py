"""What the publisher puts into the queues, held against what Celery and kombu put there."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import signals

from app.core.config import get_settings
from app.messaging import sending
from app.messaging.dispatches import Dispatch
from app.messaging.sending import BrokerLink
from app.models.task import TaskPriority
from tests.support.running import fresh_connections
from tests.support.services import Services, environment
from tests.support.settings import settings

LONG = "app.tasks.common_tasks.long_running_task"
# Each message's own; and what `send_task` puts beside the headers though it stands in them, where it is not read.
OWN = {"delivery_tag", "argsrepr", "kwargsrepr"}


@pytest.fixture(params=["false", "true"], ids=["plain", "signed"])
def broker(services: Services, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    url = services.new_broker()
    variables = environment("postgresql://x:y@127.0.0.1:1/z", url, SIGN_MESSAGES=request.param)
    with settings(variables), fresh_connections(), redis.Redis.from_url(url) as connection:
        yield connection


@pytest.fixture
def link(broker: redis.Redis) -> Iterator[BrokerLink]:
    from app.celery_app import celery_app

    url = celery_app.conf.broker_url
    celery_app.conf.broker_url = "redis://:{password}@{host}:{port}/{db}".format(**broker.get_connection_kwargs())
    opened = BrokerLink()
    yield opened
    opened.close()
    celery_app.conf.broker_url = url


def dispatch(**fields: Any) -> Dispatch:
    given = {
        "id": uuid4(), "generation": 3, "celery_id": uuid4(), "celery_task_name": LONG, "queue": "default",
        "priority": TaskPriority.NORMAL, "timeout_seconds": None, "dispatch_at": datetime.now(UTC),
    }  # fmt: skip
    return Dispatch(**(given | fields))


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


def popped(broker: redis.Redis) -> tuple[str, dict[str, Any]]:
    """The one message that there is, and the list in which it was."""
    (key,) = lists(broker)
    assert broker.llen(key) == 1
    message = json.loads(broker.rpop(key))
    message["properties"] = {name: value for name, value in message["properties"].items() if name not in OWN}
    return key.decode(), message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"priority": TaskPriority.CRITICAL, "queue": "high_priority"},
        {"priority": TaskPriority.HIGH, "queue": "high_priority"},
        {"priority": TaskPriority.LOW, "queue": "low_priority", "timeout_seconds": 1.5},
        {"queue": "a queue of its own"},
        {"celery_task_name": "nobody.knows.it"},
    ],
    ids=["plain", "critical", "high", "low", "own queue", "unknown task"],
)
def test_is_what_celery_would_send(broker: redis.Redis, link: BrokerLink, fields: dict[str, Any]) -> None:
    one = dispatch(**fields)
    sending.send(WithoutBatches(link.producer()), [one])  # Celery's own `send_task`
    celerys = popped(broker)
    sending.send(link.producer(), [one])
    assert popped(broker) == celerys
    assert ("task_signature" in celerys[1]["headers"]) == get_settings().sign_messages


def test_keeps_the_order_and_lets_others_add_headers(broker: redis.Redis, link: BrokerLink) -> None:
    def trace(headers: dict[str, Any], **_: Any) -> None:
        headers["traceparent"] = headers["id"]

    wanted = [dispatch() for _ in range(5)]
    with before_publishing(trace):
        sending.send(link.producer(), wanted)
    (key,) = lists(broker)
    sent = [json.loads(broker.rpop(key)) for _ in range(broker.llen(key))]
    assert [each["headers"]["id"] for each in sent] == [str(each.celery_id) for each in wanted]
    assert [each["headers"]["traceparent"] for each in sent] == [str(each.celery_id) for each in wanted]
    assert len({each["properties"]["delivery_tag"] for each in sent}) == 5


def test_each_line_keeps_its_own_order(broker: redis.Redis, link: BrokerLink) -> None:
    kinds = [TaskPriority.LOW, TaskPriority.NORMAL, TaskPriority.LOW, TaskPriority.NORMAL]
    wanted = [dispatch(priority=kind) for kind in kinds]
    sending.send(link.producer(), wanted)
    sent = [
        [json.loads(item)["headers"]["id"] for item in reversed(broker.lrange(key, 0, -1))] for key in lists(broker)
    ]
    low, normal = ([str(each.celery_id) for each in wanted if each.priority is kind] for kind in kinds[:2])
    assert sorted(sent) == sorted([low, normal])


def test_two_messages_share_nothing_that_one_of_them_may_change(broker: redis.Redis, link: BrokerLink) -> None:
    def trace(headers: dict[str, Any], body: Any, **_: Any) -> None:
        # The last two are deep within what all messages have in common.
        headers["baggage"] = headers.get("baggage", 0) + 1
        headers["stamps"].setdefault("baggage", []).append(1)
        headers["timelimit"].append(1)
        headers["arguments"] = body[1] | {"more": 1}
        body[1]["more"] = len(body[1])

    with before_publishing(trace):
        sending.send(link.producer(), [dispatch(), dispatch()])
    (key,) = lists(broker)
    for item in broker.lrange(key, 0, -1):
        headers = json.loads(item)["headers"]
        assert (headers["baggage"], headers["stamps"], headers["arguments"]) == (1, {"baggage": [1]}, {"more": 1})
        assert headers["timelimit"] == [None, None, 1]
