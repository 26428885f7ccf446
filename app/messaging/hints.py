"""«Task X has changed», told after the commit to API processes with open streams. A hint: they read the row.

Nothing is sent, and nothing but a byte is read, while nobody listens. Whether somebody does, an attendant learns once
a second from Redis: a thread of the API, of a worker's parent, of beat. It notes the answer in memory that a worker's
pool children share. What is not told, or gets lost, is found by the comparison of versions in `watcher.py`, seconds
later.
"""

import logging
import mmap
import os
import threading
import time
from collections.abc import Iterable
from functools import partial
from queue import Empty, SimpleQueue
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.db.after_commit import after_commit
from app.db.outage import first_line
from app.messaging.channel import MOST_IDS, Channel

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# A body never waits longer than this for Redis, and then not again before the pause is over.
SEND_SECONDS = 0.2
PAUSE_SECONDS = 5.0
STOP_SECONDS = 2.0

# Shared and anonymous: children that are forked later see what the parent writes. Where no attendant runs it stays 0.
_listened = memoryview(mmap.mmap(-1, mmap.PAGESIZE))


def changed(*task_ids: UUID) -> None:
    """These have changed, and are committed. Never raises for the sake of Redis, and costs nothing unheard."""
    if _listened[0]:
        _tell(task_ids)


def changes(db: Session | Connection, *task_ids: UUID) -> None:
    """The same once the session's outermost transaction has committed."""
    if _listened[0] and task_ids and isinstance(db, Session):
        after_commit(db, partial(_tell, task_ids))


class Sender:
    """Publishes from the thread that calls; quiet for a while after a failure."""

    def __init__(self) -> None:
        self._channel = Channel(SEND_SECONDS)
        self._lock = threading.Lock()  # of a pool of threads
        self._quiet_until = 0.0

    def send(self, task_ids: Iterable[UUID]) -> None:
        with self._lock:
            if time.monotonic() < self._quiet_until:
                return
            try:
                self._channel.publish(task_ids)
            except Exception as error:
                self._channel.close()
                if not _is_of_redis(error):
                    raise  # a signal's, such as Celery's soft time limit: the body's to handle
                self._quiet_until = time.monotonic() + PAUSE_SECONDS
                logger.warning("no live events for %g s: %s", PAUSE_SECONDS, first_line(error))
            except BaseException:
                self._channel.close()  # half of an answer may still be on the way
                raise


class Attendant:
    """The thread that learns whether somebody listens, and sends what its own process has to tell."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[UUID, ...]] = SimpleQueue()
        self._channel = Channel(1.0)
        self._sender = Sender()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = False

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="live-hints", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Also to nobody's account: a process that ends tells nobody any more."""
        if self._thread is not None:
            self._stopping.set()
            self._queue.put(())
            self._thread.join(STOP_SECONDS)
            self._thread = None
            _listened[0] = 0

    def put(self, task_ids: tuple[UUID, ...]) -> None:
        self._queue.put(task_ids)

    def _run(self) -> None:
        next_look = 0.0
        if not self._channel.exists:
            logger.info("the broker is no Redis: live events come from comparing versions")
            self._stopping.wait()
            return
        while not self._stopping.is_set():
            if time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + LOOK_SECONDS
            waiting = self._waiting(next_look - time.monotonic())
            for at in range(0, len(waiting), MOST_IDS):
                self._sender.send(waiting[at : at + MOST_IDS])
        self._channel.close()

    def _waiting(self, seconds: float) -> list[UUID]:
        """What is to be sent, all of it at once, each task once; empty when nothing has come."""
        try:
            found = dict.fromkeys(self._queue.get(timeout=max(0.0, seconds)))
        except Empty:
            return []
        while not self._queue.empty():
            found |= dict.fromkeys(self._queue.get_nowait())
        return list(found)

    def _look(self) -> None:
        try:
            _listened[0] = self._channel.has_listeners()
            self._failed = False
        except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
            self._channel.close()
            _listened[0] = 0
            if not self._failed:
                logger.warning("whether somebody listens for live events is not known: %s", first_line(error))
            self._failed = True


attendant = Attendant()
_sender = Sender()


def _tell(task_ids: tuple[UUID, ...]) -> None:
    if attendant.is_running:
        attendant.put(task_ids)
    else:
        _sender.send(task_ids)


def _is_of_redis(error: Exception) -> bool:
    from kombu.exceptions import OperationalError
    from redis import RedisError

    return isinstance(error, (RedisError, OperationalError, OSError))


def _after_fork() -> None:
    """The parent's thread and sockets are the parent's; what is shared is the byte alone."""
    global attendant, _sender
    attendant, _sender = Attendant(), Sender()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
