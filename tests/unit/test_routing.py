"""Queues and message priorities (CONTRACT §3)."""

from app.celery_app import celery_app
from app.messaging.application import MESSAGE_PRIORITY, PRIORITY_STEPS, QUEUE_OF, QUEUES
from app.models.task import TaskPriority


def test_each_priority_has_its_queue() -> None:
    assert {str(priority): queue for priority, queue in QUEUE_OF.items()} == {
        "critical": "high_priority",
        "high": "high_priority",
        "normal": "default",
        "low": "low_priority",
    }


def test_zero_is_the_highest_on_redis_so_critical_overtakes_high() -> None:
    assert [MESSAGE_PRIORITY[priority] for priority in TaskPriority] == [9, 6, 3, 0]
    assert PRIORITY_STEPS == [0, 3, 6, 9]


def test_a_worker_without_q_serves_the_higher_queue_first() -> None:
    assert list(celery_app.amqp.queues.consume_from) == list(QUEUES)
    assert celery_app.conf.broker_transport_options["queue_order_strategy"] == "priority"


def test_no_message_reaches_two_queues() -> None:
    bindings = {(queue.exchange.name, queue.routing_key) for queue in celery_app.conf.task_queues}
    assert len(bindings) == len(QUEUES)


def test_only_json_is_taken() -> None:
    assert celery_app.conf.accept_content == ["json"]
    assert celery_app.conf.task_acks_late is False
