"""Celery's consumer, behind a check of each message on any broker (docs/adr/0020), and the notice of its silence."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery.worker import consumer, state, strategy
from sqlalchemy import exists, select

from app.core.config import get_settings
from app.db.outage import first_line
from app.db.session import SessionLocal, transaction
from app.ddl.clock import STATEMENT_TIME
from app.messaging.broker import BrokerLink
from app.messaging.guard.items import Malformed, drop
from app.messaging.guard.messages import WAKEUP, check_message, check_task_signature, moment_of
from app.messaging.wakeups import is_empty
from app.models.task import IS_PENDING, Task
from app.worker.parent.body_stopper import living
from app.worker.shared.slot_table import SlotTable

logger = logging.getLogger(__name__)

TASK_QUEUES = "the task queues"
# Plain messages with an ETA that a worker keeps: so many, of this size at most, and for so long. Others stay in the
# broker until then (docs/servers.md).
MAX_SCHEDULED = 1000
MAX_SCHEDULED_BYTES = 64 * 1024
KEPT_SECONDS = 300.0
# What workers tell each other is not needed here, and every client of the broker could forge it: Mingle takes over the
# ids that another «worker» calls revoked, Gossip reads all events. As `--without-mingle --without-gossip`.
NOT_NEEDED = {"without_mingle": True, "without_gossip": True}


class Consumer(consumer.Consumer):
    """A message is either a task for this worker or costs one line of the log, whatever it holds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | NOT_NEEDED))

    def update_strategies(self) -> None:
        """Make each task's tracer anew, as Celery. A pool that does not fork runs wake-ups by the old one."""
        wakeup = self.app.tasks[WAKEUP]
        loop = wakeup.__trace__
        super().update_strategies()
        if loop is not None:
            wakeup.__trace__ = loop

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Return Celery's handler, behind the checks. It raises nothing but the loss of a connection."""
        handle = super().create_task_handler(*args, **kwargs)
        # kombu counts KeyError among them, because of a race of its own: here it comes from a message.
        lost = tuple(error for error in self.connection_errors if error is not KeyError)
        fatal: tuple[type[BaseException], ...] = (*lost, MemoryError)
        settings = get_settings()
        keys = settings.message_keys if settings.sign_messages else None
        with_results = self.app.conf.result_backend is not None

        def on_message(message: Any) -> None:
            try:
                check_message(message, self.strategies, with_results=with_results)
                if keys is not None:
                    check_task_signature(message, keys)
            except Malformed as problem:
                self._drop(message, str(problem))
                return
            if message.headers.get("eta") is not None and self._leave_for_later(message):
                return
            try:
                handle(message)
            except fatal:
                raise
            except Exception as error:  # noqa: BLE001 (it would end the worker, and the next one that takes it)
                self._let_go(message)
                self._drop(message, f"{type(error).__name__} while it was received")

        return on_message

    def _leave_for_later(self, message: Any) -> bool:
        """Leave a message with an ETA to the broker, where a worker would keep it for long, or keep too much."""
        due, size = moment_of(message.headers["eta"]), len(message.body)
        seconds = due - time.time()
        full = len(state.scheduled_requests) >= MAX_SCHEDULED or size > MAX_SCHEDULED_BYTES
        if seconds <= 0 or not (full or seconds > KEPT_SECONDS):
            return False
        postpone = getattr(message.channel.qos, "postpone", None)
        if postpone is not None:
            postpone(message, due if full else due - KEPT_SECONDS / 2)
            return True
        if full:  # another broker than Redis has no place for it
            self._drop(message, f"an ETA beyond the {MAX_SCHEDULED} that a worker keeps")
        return full

    def _drop(self, message: Any, why: str) -> None:
        drop(TASK_QUEUES, why, len(message.body) if isinstance(message.body, str | bytes) else None)
        if not message.acknowledged:
            message.ack_log_error(logger, self.connection_errors)

    @staticmethod
    def _let_go(message: Any) -> None:
        """Free the place that Celery had reserved for it: nothing else would."""
        request = state.requests.get(message.headers["id"])
        if request is not None and request.message is message:
            state.task_ready(request)

    # Celery would log the whole message here, in several lines

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Drop the message, also one of the control channel that is not JSON."""
        self._drop(message, f"{type(exc).__name__} while it was read")

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:  # noqa: ARG002 (Celery's signature)
        """Drop the message, such as one whose ETA is not a time."""
        self._drop(message, "an invalid task")


# -- Celery's strategy for wake-ups, without a line of the log for each: the rows have lines of their own --------------


def quiet_strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Any:
    """Return Celery's handler of the messages of this task."""
    return strategy.default(task, app, consumer, info=_nothing, **options)


def _nothing(*_: Any, **__: Any) -> None:
    """Log nothing."""


# -- Notices a worker that lives and consumes nothing, as some do after a reconnect (celery #8091, #8030, #10205) ------

STALL_SECONDS = 15.0


class StallDetector:
    """Compares what waits in the worker's queues with what arrives."""

    def __init__(self, table: SlotTable, queues: Callable[[], tuple[str, ...]], concurrency: int) -> None:
        self._table = table
        self._queues = queues
        self._concurrency = concurrency
        self._arrivals = -1
        self._since = time.monotonic()
        self._link = BrokerLink()

    def is_stalled(self) -> bool:
        """Return whether a child has been free, and messages have waited, for so long that none will arrive any more.

        After it has been True once, the time is counted anew.
        """
        arrivals, busy = self._seen()
        free = busy < self._concurrency and len(state.reserved_requests) <= busy
        if arrivals != self._arrivals or not free:
            self._arrivals, self._since = arrivals, time.monotonic()
        if time.monotonic() - self._since < STALL_SECONDS or not self._anything_waits():
            return False
        self._since = time.monotonic()
        return True

    def _seen(self) -> tuple[int, int]:
        """Return how many claims there have been, and how many children are busy."""
        return sum(state.claims for state in self._table.used()), len(living(self._table.busy()))

    def _anything_waits(self) -> bool:
        """Return whether rows have waited for as long, and messages wait in one of their queues."""
        queues = self._queues()
        waiting = exists().where(
            IS_PENDING,
            Task.due_at < STATEMENT_TIME - timedelta(seconds=STALL_SECONDS),
            Task.turn.is_not(None),
            Task.queue.in_(queues),
        )
        with SessionLocal() as db, transaction(db):
            if not db.scalar(select(waiting)):
                return False
        try:
            connection = self._link.connection()
            return not all(is_empty(connection, queue) for queue in queues)
        except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
            logger.warning("worker agent: broker not reachable, nothing can arrive: %s", first_line(error))
            self._link.close()
            return False
