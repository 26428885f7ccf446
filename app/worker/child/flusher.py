"""The thread of a pool process that writes what running bodies log and emit, several times a second."""

import logging
import threading
import time
from collections import deque
from typing import ClassVar, Protocol
from uuid import UUID

from app.core.task_bodies import ServiceThread
from app.db.outage import first_line
from app.db.sql import prepared
from app.messaging import hints
from app.worker.shared.delivery import Undeliverable, deliver

logger = logging.getLogger(__name__)

# After a failed try. What comes meanwhile is kept in bounds.
PAUSE_SECONDS = 2.0
# Writing takes a fifth of the time at most, however fast a body logs: the interpreter's lock is the body's.
SHARE = 4


class Waiting(Protocol):
    """What one attempt has to write. `what` names it in the worker's log."""

    what: ClassVar[str]
    task_id: UUID

    def write(self, db: prepared.PreparedConnection) -> None:
        """Write what waits. It still waits where this raises."""

    def give_up(self, why: str) -> None:
        """The database refuses it."""


class Flusher:
    """Writes what has called `wake`, `interval` seconds later. Starts with the first one."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._woken: deque[Waiting] = deque()
        self._some = threading.Event()
        self._thread = ServiceThread(self._run, "task-logs")

    def wake(self, waiting: Waiting) -> None:
        """There is something to write. Called from the body: takes no time but for the first time in the process."""
        self._woken.append(waiting)
        self._thread.start()
        self._some.set()

    def _run(self) -> None:
        pause = self._interval
        while True:
            self._some.wait()
            time.sleep(pause)
            self._some.clear()
            begun = time.monotonic()
            try:
                failed = not self.flush()
            except BaseException:  # no other thread writes it meanwhile
                logger.exception("what bodies have written waits: an unexpected error")
                self._some.set()
                failed = True
            pause = PAUSE_SECONDS if failed else max(self._interval, SHARE * (time.monotonic() - begun))

    def flush(self) -> bool:
        """Write what waits. Returns False where that was not possible, and will be tried again."""
        done = True
        for _ in range(len(self._woken)):
            waiting, is_written = self._woken.popleft(), False
            try:
                is_written = self._write(waiting)
            finally:
                if not is_written:
                    self._woken.append(waiting)
                    self._some.set()
                    done = False
        return done

    def _write(self, waiting: Waiting) -> bool:
        try:
            deliver(waiting.write, seconds=0)
        except Undeliverable as error:
            logger.warning("%s of task %s wait: %s", waiting.what, waiting.task_id, error)
            return False
        except Exception as error:  # noqa: BLE001 (what others wait for is still to be written)
            waiting.give_up(first_line(error))
            return True
        try:
            hints.changed(waiting.task_id)
        except BaseException:  # it is written: who follows finds it a little later
            logger.exception("no hint that task %s has new %s", waiting.task_id, waiting.what)
        return True
