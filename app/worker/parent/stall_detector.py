"""Notices a worker that lives and consumes nothing, as some do after a reconnect (celery #8091, #8030, #10205)."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from celery.worker import state
from sqlalchemy import exists, select

from app.db.outage import first_line
from app.db.session import SessionLocal, transaction
from app.ddl.clock import STATEMENT_TIME
from app.messaging.broker import BrokerLink
from app.messaging.wakeups import is_empty
from app.models.task import IS_PENDING, Task
from app.worker.parent.body_stopper import living
from app.worker.shared.slot_table import SlotTable

logger = logging.getLogger(__name__)

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
        """Whether a child has been free, and messages have waited, for so long that none will arrive any more.

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
        """How many claims there have been, and how many children are busy."""
        return sum(state.claims for state in self._table.used()), len(living(self._table.busy()))

    def _anything_waits(self) -> bool:
        """Rows whose messages have been out for as long, and messages in a queue of theirs."""
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
