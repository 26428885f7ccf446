"""Ends the bodies of a worker that cannot beat, before another worker may start their tasks.

Two thirds of the lease after the last heartbeat that got through. A thread apart from the one that beats, which may
hang on a connection that has gone silent. A child whose body has ended is left alone: it runs nothing twice, and the
database refuses an outcome that comes too late. Until a heartbeat gets through again, the children take nothing: one of
them may reach the database before its parent does.
"""

import logging
import threading
import time

from app.worker.parent.body_stopper import BodyStopper, living
from app.worker.shared.slot_table import Phase, SlotTable, Stop

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


class HeartbeatGuard:
    """Watches the heartbeat; `beaten` reports one."""

    def __init__(self, stopper: BodyStopper, table: SlotTable, lease_seconds: float) -> None:
        self._stopper = stopper
        self._table = table
        self._allowed = lease_seconds * 2 / 3
        self._last_beat = 0.0
        self._stopping = threading.Event()

    def start(self) -> None:
        self._last_beat = time.monotonic()
        self._stopping.clear()
        threading.Thread(target=self._run, name="heartbeat-guard", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def beaten(self, sent: float) -> None:
        """A heartbeat that was sent at this moment (monotonic seconds) has been committed."""
        self._last_beat = sent

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            silent = time.monotonic() - self._last_beat
            self._table.is_cut_off = silent > self._allowed
            if self._table.is_cut_off:
                self._end_bodies(silent)

    def _end_bodies(self, silent: float) -> None:
        for state in living(self._table.busy()):
            if state.phase is Phase.RUNNING:
                logger.error("no heartbeat for %.0f s: the body of task %s is ended", silent, state.task_id)
                self._stopper.kill(state, Stop.NO_HEARTBEAT)
