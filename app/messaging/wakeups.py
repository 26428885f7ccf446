"""Wake-ups: messages that name no row. A pool process that takes one looks which rows run next, and takes them.

The row is the truth, so no wake-up matters: a lost one costs one look of maintenance, and one too many costs an UPDATE
that matches no row. A queue holds a few at most, however many rows wait.
"""

from typing import Any, NamedTuple

from celery import Task

from app.messaging.application import celery_app
from app.messaging.guard.messages import WAKEUP
from app.messaging.routing import MESSAGE_PRIORITY
from app.messaging.sending import send_wakeup
from app.models.task import TaskPriority

NAME = WAKEUP
# In one queue. Some times the slots that listen is enough, since a slot takes rows until none is ready, and wakes
# another one if there are more than it takes.
MOST_OUT = 16
_USUAL, _FIRST = MESSAGE_PRIORITY[TaskPriority.NORMAL], MESSAGE_PRIORITY[TaskPriority.CRITICAL]


class _Wakeup(Task):
    """Without limits: each row that the process takes has its own."""

    abstract = True
    catalogue = False
    Request = "app.worker.parent.request:RecordRequest"
    Strategy = "app.worker.parent.strategy:quiet"
    ignore_result = True
    rate_limit = 0  # none, also where `task_default_rate_limit` names one
    send_events = False  # of the rows there are events (`app/worker/child/events.py`)
    typing = False


@celery_app.task(name=NAME, base=_Wakeup)
def wakeup() -> None:
    """Stand in for the loop that a worker's pool processes run in its place (`app/worker/child/taker.py`)."""
    raise RuntimeError(f"{NAME} runs in the pool of a worker only")


class Woken(NamedTuple):
    """How many wake-ups were sent, and how many more may be out in the queue."""

    sent: int
    room: int


def send(producer: Any, queue: str, number: int = 1) -> None:
    """Send so many wake-ups to a queue. Raises the broker's error."""
    send_wakeup(producer, NAME, queue, _USUAL, number)


def wake(producer: Any, queue: str, number: int = 1) -> Woken:
    """Send so many wake-ups to a queue, unless enough are out. Raises the broker's error.

    Messages of plain Celery tasks stand in the same line. Behind many of them, one wake-up at a time goes ahead.
    """
    connection = producer.connection
    if connection.transport.driver_type != "redis":
        producer.maybe_declare(celery_app.amqp.queues[queue])
    out = depth(connection, queue, _USUAL)
    if out < MOST_OUT:
        number = min(number, MOST_OUT - out)
        send(producer, queue, number)
        return Woken(number, MOST_OUT - out - number)
    if depth(connection, queue, _FIRST):
        return Woken(0, 0)
    send_wakeup(producer, NAME, queue, _FIRST, 1)
    return Woken(1, 0)


def depth(connection: Any, queue: str, priority: int) -> int:
    """How many messages of this kombu priority wait in the queue; on other brokers than Redis, of all priorities."""
    channel = connection.default_channel
    if connection.transport.driver_type != "redis":
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    return int(channel.client.llen(channel._q_for_pri(queue, priority)))  # noqa: SLF001 (kombu offers the sum alone)


def is_empty(connection: Any, queue: str) -> bool:
    """Whether no message waits in the queue. A queue that was never declared is empty."""
    count: int = connection.default_channel.queue_declare(queue=queue, passive=False).message_count
    return count == 0
