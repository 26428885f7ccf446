"""The thread of a pool process that writes the lines of running bodies, several times a second."""

import logging
import threading
import time
from collections import deque

from app.db.outage import first_line
from app.messaging import hints
from app.worker.child.attempt_log import AttemptLog
from app.worker.shared.delivery import Undeliverable, deliver

logger = logging.getLogger(__name__)

# After a failed try. Lines that come meanwhile are kept in bounds.
PAUSE_SECONDS = 2.0
# Writing takes a fifth of the time at most, however fast a body logs: the interpreter's lock is the body's.
SHARE = 4
# As it is without `log_capture`: this thread works for all attempts.
_start = threading.Thread.start


class LogFlusher:
    """Writes the lines of each log that has called `wake`, `interval` seconds later. Starts with the first one."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._woken: deque[AttemptLog] = deque()
        self._some = threading.Event()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def wake(self, log: AttemptLog) -> None:
        """Lines of this attempt wait. Called from the body: takes no time but for the first line of the process."""
        self._woken.append(log)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="task-logs", daemon=True)
                    _start(self._thread)
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
            except Exception:  # no other thread would ever write the lines of this process
                logger.exception("log lines wait: an unexpected error")
                self._some.set()
                failed = True
            pause = PAUSE_SECONDS if failed else max(self._interval, SHARE * (time.monotonic() - begun))

    def flush(self) -> bool:
        """Write what waits. Returns False where that was not possible, and will be tried again."""
        done = True
        for _ in range(len(self._woken)):
            log = self._woken.popleft()
            if not self._write(log):
                self._woken.append(log)
                self._some.set()
                done = False
        return done

    def _write(self, log: AttemptLog) -> bool:
        try:
            deliver(log.write, seconds=0)
        except Undeliverable as error:
            logger.warning("log lines of task %s wait: %s", log.task_id, error)
            return False
        except Exception as error:  # noqa: BLE001 (the other logs' lines are still to be written)
            log.give_up(first_line(error))
            return True
        try:
            hints.changed(log.task_id)
        except Exception:  # the lines are written: who follows finds them a little later
            logger.exception("no hint that task %s has new log lines", log.task_id)
        return True
