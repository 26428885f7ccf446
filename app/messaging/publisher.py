"""Sends what a commit has made due, off the request path: one background thread a process.

Creating a task never waits for the broker. What this thread cannot send stays due in its row, and the keeper sends
it as soon as it can: after the grace time, or when the broker is back.
"""

import atexit

# A thread that imports it first while the interpreter shuts down (redis-py does) finds that it no longer can.
import concurrent.futures.thread  # noqa: F401
import logging
import os
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from sqlalchemy.exc import SQLAlchemyError

from app.db.outage import first_line
from app.db.session import autocommit_engine
from app.messaging.dispatches import Dispatch
from app.messaging.due import mark_dispatched
from app.messaging.sending import BrokerLink, send

logger = logging.getLogger(__name__)

# Each batch waits a few times for the interpreter's lock, however many are in it.
BATCH = 500
IDLE_SECONDS = 30.0
PAUSE_SECONDS = 1.0
FLUSH_SECONDS = 2.0
# Nobody waits for a mark, and one for each batch was half of what this thread did: those of so long are one statement.
MARK_SECONDS = 0.05


class Publisher:
    """A queue of dispatches and the thread that sends them, started at the first of them."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Dispatch] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._link = BrokerLink()
        self._broker_down_until = 0.0
        self._sent: list[Dispatch] = []  # and not marked yet
        self._mark_at = 0.0

    def enqueue(self, dispatches: Sequence[Dispatch]) -> None:
        """Have these sent soon. Never blocks and never raises for the broker's sake."""
        with self._lock:
            self._idle.clear()
            for dispatch in dispatches:
                self._queue.put(dispatch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
                self._thread.start()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all is sent and marked or given up, for at most `seconds`; True when it is."""
        return self._idle.wait(seconds)

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if batch:
                self._deliver(batch)
            if self._sent:
                if time.monotonic() >= self._mark_at or len(self._sent) >= BATCH:
                    self._mark()
            elif not batch:
                self._link.close()
                if self._may_end():
                    return

    def _deliver(self, batch: list[Dispatch]) -> None:
        if time.monotonic() < self._broker_down_until:
            return
        # A connection that has been idle may be dead without the broker being so: a second try opens another.
        for _ in range(2):
            try:
                send(self._link.producer(), batch)
            except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
                self._link.close()
                problem = error
            else:
                if not self._sent:
                    self._mark_at = time.monotonic() + MARK_SECONDS
                self._sent += batch
                return
        self._broker_down_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("broker not reachable, %d dispatches left to the keeper: %s", len(batch), first_line(problem))

    def _mark(self) -> None:
        batch, self._sent = self._sent, []
        try:
            with autocommit_engine().connect() as connection:
                mark_dispatched(connection, batch)
        except SQLAlchemyError as error:
            # Sent but not marked: they are sent once more after the grace time, which is harmless.
            logger.warning("%d dispatches could not be marked: %s", len(batch), first_line(error))

    def _next_batch(self) -> list[Dispatch]:
        """What waits, at most a batch; empty when nothing has come for a while, or it is time to mark what was sent."""
        with self._lock:
            if self._queue.empty() and not self._sent:
                self._idle.set()
        seconds = max(0.0, self._mark_at - time.monotonic()) if self._sent else IDLE_SECONDS
        try:
            batch = [self._queue.get(timeout=seconds)]
        except Empty:
            return []
        while len(batch) < BATCH and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    def _may_end(self) -> bool:
        with self._lock:
            if not self._queue.empty():
                return False
            self._thread = None
            return True


publisher = Publisher()


def _after_fork() -> None:
    """Threads do not survive a fork; what the parent had queued is the parent's to send."""
    global publisher  # noqa: PLW0603 (one per process)
    publisher = Publisher()


def _flush() -> None:
    publisher.flush()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_flush)


def publish(dispatches: Sequence[Dispatch]) -> None:
    """Hand these to this process's publisher."""
    if dispatches:
        publisher.enqueue(dispatches)
