"""A worker that cannot beat ends its own bodies before anybody else may start their tasks.

Two thirds of the lease after the last heartbeat that got through. A thread apart from the one that beats, which may
hang on a connection that has gone silent. What has only its outcome left to deliver is left alone: nothing runs twice
by that, and the database refuses it where it comes too late.
"""

import logging
import threading
import time

from app.core.config import get_settings
from app.worker.parent.body_stopper import Warden, living
from app.worker.shared.slot_table import Board, Phase, Stop

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


class Fence:
    """Watches the heartbeat; `beaten` tells it of one."""

    def __init__(self, warden: Warden, board: Board) -> None:
        self._warden = warden
        self._board = board
        self._last_beat = 0.0
        self._stopping = threading.Event()

    def start(self) -> None:
        self._last_beat = time.monotonic()
        self._stopping.clear()
        threading.Thread(target=self._run, name="fence", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def beaten(self, sent: float) -> None:
        """A heartbeat that was sent at this moment (monotonic seconds) has been committed."""
        self._last_beat = sent

    def _run(self) -> None:
        allowed = get_settings().worker_lease_seconds * 2 / 3
        while not self._stopping.wait(LOOK_SECONDS):
            silent = time.monotonic() - self._last_beat
            if silent > allowed:
                self._end_bodies(silent)

    def _end_bodies(self, silent: float) -> None:
        for sight in living(self._board.busy()):
            if sight.phase is Phase.RUNNING:
                logger.error("no heartbeat for %.0f s: the body of task %s is ended", silent, sight.task_id)
                self._warden.kill(sight, Stop.LOST)
