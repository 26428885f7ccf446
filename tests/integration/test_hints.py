"""A message that names a record costs Redis one BRPOP: no copy of it is kept there, and none is lost by that.

What a worker has taken and no child has accepted goes back to its queue, as Celery does with other messages.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Exchange, Queue

from app.messaging import application
from app.messaging.guard.messages import GENERATION_HEADER, RECORD_HEADER
from app.messaging.routing import PRIORITY_STEPS
from tests.support.services import Services
from tests.support.waiting import wait_for

HINT = {RECORD_HEADER: "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11", GENERATION_HEADER: 1}
QUEUE = Queue("default", Exchange("default"), routing_key="default")
LOW = 9
KEY_OF_LOW = "default\x06\x169"
OPTIONS = {"priority_steps": PRIORITY_STEPS, "queue_order_strategy": "priority"}


class Broker:
    def __init__(self, url: str) -> None:
        application.install()
        self.redis: redis.Redis = redis.Redis.from_url(url)
        self.connection = Connection(url, transport_options=OPTIONS)
        self.taken: list[Any] = []
        self.consumer = Consumer(self.connection.channel(), [QUEUE], on_message=self.taken.append)
        self.consumer.consume()

    def send(self, **headers: Any) -> None:
        with self.connection.Producer() as producer:
            producer.publish([], exchange="default", routing_key="default", headers=headers, priority=LOW)

    def take(self) -> Any:
        before = len(self.taken)

        def drained() -> bool:
            self.connection.drain_events(timeout=5)
            return len(self.taken) > before

        wait_for(drained, what="the message")
        return self.taken[-1]

    def kept(self) -> tuple[int, int]:
        """Copies of messages that were taken, and messages that wait."""
        return self.redis.hlen("unacked") + self.redis.zcard("unacked_index"), self.redis.llen(KEY_OF_LOW)


@pytest.fixture
def broker(services: Services) -> Iterator[Broker]:
    made = Broker(services.new_broker())
    yield made
    made.connection.release()
    made.redis.close()


class TestAHint:
    def test_is_kept_nowhere_in_redis_from_its_delivery_on(self, broker: Broker) -> None:
        broker.send(**HINT)
        message = broker.take()
        assert broker.kept() == (0, 0)
        message.ack()
        assert broker.kept() == (0, 0)

    @pytest.mark.parametrize(("settle", "waiting"), [(None, 1), ("ack", 0), ("reject", 0)])
    def test_goes_back_at_the_end_with_its_priority_unless_it_was_settled(
        self, broker: Broker, settle: str | None, waiting: int
    ) -> None:
        broker.send(**HINT)
        message = broker.take()
        if settle:
            getattr(message, settle)()
        broker.consumer.channel.close()
        assert broker.kept() == (0, waiting)

    def test_that_is_put_back_waits_again(self, broker: Broker) -> None:
        broker.send(**HINT)
        first = broker.take()
        first.requeue()
        assert broker.kept() == (0, 1)
        assert broker.take().delivery_tag == first.delivery_tag


class TestAnotherMessage:
    """A plain `.delay()`: nothing but the broker knows of it."""

    def test_is_kept_in_redis_until_it_is_acknowledged(self, broker: Broker) -> None:
        broker.send()
        message = broker.take()
        assert broker.kept() == (2, 0)
        message.ack()
        assert broker.kept() == (0, 0)

    def test_goes_back_at_the_end_beside_a_hint(self, broker: Broker) -> None:
        broker.send()
        broker.send(**HINT)
        broker.take()
        broker.take()
        assert broker.kept() == (2, 0)
        broker.consumer.channel.close()
        assert broker.kept() == (0, 2)
