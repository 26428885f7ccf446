"""Progress of one attempt, written at most every 200 ms; the last value always lands.

The first report after a pause is written at once, in the caller's thread, so that its answer (a cancellation, a lost
attempt) reaches the body at that very call. Reports that follow sooner are kept, the last one wins, and a timer
writes it when the interval is over.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from app.errors import AttemptHandedBack, AttemptLost, TaskCancelled

logger = logging.getLogger(__name__)

# (percent, detail), None where the report leaves the value as it is.
Report = tuple[int | None, Any | None]
Write = Callable[[int | None, Any | None], bool]
BodyStop = TaskCancelled | AttemptLost | AttemptHandedBack


class ProgressReporter:
    """Coalesces the reports of one attempt. `write` says whether a cancellation was asked for."""

    def __init__(self, write: Write, interval: float) -> None:
        self._write = write
        self._interval = interval
        self._lock = threading.Lock()
        self._waiting: Report | None = None
        self._next_write = 0.0
        self._timer: threading.Timer | None = None
        self._stop: type[BodyStop] | None = None
        self._closed = False

    def report(self, percent: int | None, detail: Any | None) -> None:
        """Note the value. Raises what `stop` was told, TaskCancelled or AttemptLost; ValueError outside 0–100."""
        if self._stop is not None:
            raise self._stop
        if percent is not None and not 0 <= percent <= 100:  # noqa: PLR2004 (percent)
            raise ValueError(f"progress must be between 0 and 100, not {percent}")
        with self._lock:
            self._waiting = self._merged(percent, dict(detail) if isinstance(detail, dict) else detail)
            now = time.monotonic()
            if now >= self._next_write:
                self._write_waiting()
            elif self._timer is None:
                self._start_timer(self._next_write - now)
        if self._stop is not None:
            raise self._stop

    def close(self) -> None:
        """Write what waits and stop the timer. Never raises: the attempt is about to end one way or another."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._write_quietly()

    def stop(self, why: type[BodyStop]) -> None:
        """From now on each report raises this. Takes no lock: a signal's handler calls it."""
        self._stop = why

    def _merged(self, percent: int | None, detail: Any | None) -> Report:
        before = self._waiting or (None, None)
        return (before[0] if percent is None else percent, before[1] if detail is None else detail)

    def _start_timer(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._on_timer)
        self._timer.daemon = True
        self._timer.start()

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
            if not self._closed:
                self._write_quietly()

    def _write_quietly(self) -> None:
        try:
            self._write_waiting()
        except Exception:
            logger.exception("progress could not be written")

    def _write_waiting(self) -> None:
        if self._waiting is None or self._stop is AttemptLost:
            return
        waiting, self._waiting = self._waiting, None
        self._next_write = time.monotonic() + self._interval
        try:
            if self._write(*waiting):
                self._stop = TaskCancelled
        except AttemptLost:
            self._stop = AttemptLost
