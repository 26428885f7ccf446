"""Progress of one attempt, written at most every 200 ms; the last value always lands.

The first report after a pause is written at once, in the caller's thread, so that its answer (a cancellation, a lost
attempt) reaches the body at that call. Of reports that follow sooner the last one is kept, and a timer writes it when
the interval is over. While the timer runs a report takes no lock and reads no clock.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from app.core.task_bodies import start_for_service
from app.errors import AttemptHandedBack, AttemptLost, TaskCancelled
from app.services.execution.attempts import check_percent, is_plainly_small

logger = logging.getLogger(__name__)

Write = Callable[[int | None, Any | None], bool]
BodyStop = TaskCancelled | AttemptLost | AttemptHandedBack


class ProgressReporter:
    """Coalesces the reports of one attempt. `write` returns whether a cancellation was asked for.

    `interval` in seconds. `keep` takes a detail unchecked where it plainly has at most `plain_bytes`.
    """

    def __init__(self, write: Write, interval: float, plain_bytes: int = 0) -> None:
        self._write = write
        self._interval = interval
        self._plain_bytes = plain_bytes
        self._lock = threading.Lock()
        # What waits to be written (None: the value stays as it is), and whether anything does.
        self._percent: int | None = None
        self._detail: Any | None = None
        self._waiting = False
        self._next_write = 0.0
        self._timer: threading.Timer | None = None
        self._stop: type[BodyStop] | None = None
        self._closed = False

    def keep(self, percent: int | None, detail: Any | None) -> bool:
        """Keep a report that the running timer will write; False where the caller has to call `report`.

        Without the lock. The timer removes itself before it takes what waits. So if it is still there after the report
        was kept, it will write it; otherwise the caller reports once more, with the lock.
        """
        if self._timer is None or self._stop is not None:
            return False
        if percent is not None and not 0 <= percent <= 100:  # noqa: PLR2004 (percent)
            return False
        if detail is not None:
            if not is_plainly_small(detail, self._plain_bytes):
                return False
            self._detail = detail.copy()
        if percent is not None:
            self._percent = percent
        self._waiting = True
        return self._timer is not None

    def report(self, percent: int | None, detail: Any | None) -> None:
        """Note the value. Raises the reason given to `stop`, TaskCancelled or AttemptLost; ValueError outside 0–100."""
        if self._stop is not None:
            raise self._stop
        if percent is not None:
            check_percent(percent)
        with self._lock:
            self._merge(percent, dict(detail) if isinstance(detail, dict) else detail)
            now = time.monotonic()
            if now >= self._next_write:
                self._write_waiting()
            elif self._timer is None:
                self._start_timer(self._next_write - now)
        if self._stop is not None:
            raise self._stop

    @property
    def has_told_to_stop(self) -> bool:
        """Return whether a report has raised the reason to stop, or would."""
        return self._stop is not None

    def close(self) -> None:
        """Write what waits and stop the timer. Never raises: the attempt is about to end one way or another."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._write_quietly()

    def stop(self, why: type[BodyStop]) -> None:
        """Have each report raise this from now on. Takes no lock: a signal's handler calls it."""
        self._stop = why

    def _merge(self, percent: int | None, detail: Any | None) -> None:
        if percent is not None:
            self._percent = percent
        if detail is not None:
            self._detail = detail
        self._waiting = True

    def _start_timer(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._on_timer)
        timer.daemon = True
        start_for_service(timer)
        self._timer = timer  # once it runs: `keep` relies on it

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
        if not self._waiting or self._stop is AttemptLost:
            return
        percent, detail = self._percent, self._detail
        self._percent = self._detail = None
        self._waiting = False
        self._next_write = time.monotonic() + self._interval
        try:
            if self._write(percent, detail):
                self._stop = TaskCancelled
        except AttemptLost:
            self._stop = AttemptLost
