"""Wake-ups: messages that name no row, and the thread of each process that sends them off the request path.

A pool process that takes one looks which rows run next, and takes them. The row is the truth, so no wake-up matters: a
lost one costs one look of maintenance, and one too many costs an UPDATE that matches no row. A queue holds a few at
most, however many rows wait.
"""

import atexit

# A thread that imports it first while the interpreter shuts down (redis-py does) finds that it no longer can.
import concurrent.futures.thread  # noqa: F401
import logging
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from celery import Task

from app.core.fork import PerProcess
from app.db.background import Background
from app.db.outage import first_line
from app.messaging.application import MESSAGE_PRIORITY, celery_app
from app.messaging.broker import BrokerLink, send_wakeup
from app.messaging.guard.messages import WAKEUP
from app.models.task import TaskPriority

logger = logging.getLogger(__name__)

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
    Strategy = "app.worker.parent.consumer:quiet_strategy"
    ignore_result = True
    rate_limit = 0  # none, also where `task_default_rate_limit` names one
    send_events = False  # of the rows there are events (`app/worker/child/taker.py`)
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
    """Return how many messages of this kombu priority wait in the queue; without Redis, of all priorities."""
    channel = connection.default_channel
    if connection.transport.driver_type != "redis":
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    return int(channel.client.llen(channel._q_for_pri(queue, priority)))  # noqa: SLF001 (kombu offers the sum alone)


def is_empty(connection: Any, queue: str) -> bool:
    """Return whether no message waits in the queue. A queue that was never declared is empty."""
    count: int = connection.default_channel.queue_declare(queue=queue, passive=False).message_count
    return count == 0


# -- Wakes slots for what a commit has made ready, off the request path: one background thread a process ---------------
# Creating a task never waits for the broker. Where the broker cannot be reached, maintenance wakes slots once it can.

BROKER_PAUSE_SECONDS = 1.0
FLUSH_SECONDS = 2.0
# For so long the queue is not asked again for its length: only other processes can have made it longer than is known.
TRUSTED_SECONDS = 1.0
# Wake-ups for a queue in which many rows may have become ready at once.
MANY = 4


class _SlotWaker:
    """Wakes slots on a connection of its own. Belongs to one thread at a time."""

    def __init__(self) -> None:
        self._link = BrokerLink()
        self._broker_down_until = 0.0
        self._rooms: dict[str, tuple[int, float]] = {}  # how many more may be sent to a queue, until when

    def close(self) -> None:
        """Let the connection go."""
        self._link.close()

    def wake_slots(self, ready: "Counter[str]") -> float:
        """Send the wake-ups of these queues, unless the broker is away. Returns 0: the next ones need not wait."""
        if time.monotonic() < self._broker_down_until:
            return 0
        # An idle connection may be dead although the broker is up: the second try opens another.
        for _ in range(2):
            try:
                producer = self._link.producer()
                for queue, number in ready.items():
                    self._wake(producer, queue, number)
            except BaseException as error:
                self._link.close()
                if not isinstance(error, Exception):  # redis-py's and kombu's errors share no base; all are logged
                    raise
                problem = error
            else:
                return 0
        self._broker_down_until = time.monotonic() + BROKER_PAUSE_SECONDS
        logger.warning("broker not reachable, waking slots is left to maintenance: %s", first_line(problem))
        return 0

    def _wake(self, producer: Any, queue: str, number: int) -> None:
        """Ask for the length of the queue now and then only: a question delays a task that an idle slot waits for."""
        room, until = self._rooms.pop(queue, (0, 0.0))
        if number <= room and time.monotonic() < until:
            send(producer, queue, number)
            self._rooms[queue] = (room - number, until)
        else:
            asked_at = time.monotonic()
            self._rooms[queue] = (wake(producer, queue, number).room, asked_at + TRUSTED_SECONDS)


def make_publisher() -> Background[str]:
    """Return a thread that wakes a slot for each row of the queues that it is given."""
    atexit.register(_flush_at_exit)
    waker = _SlotWaker()
    return Background("publisher", "waking slots is left to maintenance", waker.wake_slots, waker.close)


def _flush_at_exit() -> None:
    if _publisher.made is not None:
        _publisher.made.flush(FLUSH_SECONDS)


# What the parent of a fork had queued is the parent's to send.
_publisher = PerProcess(make_publisher)


def publish(queues: Iterable[str]) -> None:
    """Have this process's publisher wake a slot for a row in each of these queues.

    Never blocks, never raises an error of the broker.
    """
    queues = list(queues)
    if queues:
        _publisher().enqueue(queues)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait for at most `seconds` until all wake-ups are sent or given up; True when they are."""
    return _publisher().flush(seconds)
