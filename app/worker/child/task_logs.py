"""The logs of the bodies that one process runs."""

import logging
from collections.abc import Callable
from uuid import UUID

from app.core.config import Settings
from app.worker.child.attempt_log import AttemptLog, Bounds
from app.worker.child.log_capture import LogCapture


class TaskLogs:
    """Keeps what bodies log, between `install` and `remove`."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._capture = LogCapture(bounds.level)

    @classmethod
    def of(cls, settings: Settings) -> "TaskLogs | None":
        """Return None where the settings say that nothing is kept."""
        if settings.task_log_level == "OFF" or not settings.task_log_bytes:
            return None
        bounds = Bounds(logging.getLevelNamesMapping()[settings.task_log_level], settings.task_log_bytes)
        return cls(bounds)

    def install(self) -> None:
        """Begin, once Celery has set up the log of this process."""
        self._capture.install()

    def remove(self) -> None:
        self._capture.remove()

    def of_attempt(self, task_id: UUID, attempt: int, wake: Callable[[AttemptLog], None]) -> AttemptLog:
        """`wake` is called when lines begin to wait."""
        return AttemptLog(task_id, attempt, self._bounds, wake)
