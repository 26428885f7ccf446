"""A rate limit for audit records, so that a flood of requests cannot cause a flood of records."""

import threading
import time
from collections.abc import Callable

MAX_KEPT = 1000


class RateLimit:
    """Admits at most `each` events a minute for a key and `total` for all keys of this process.

    Counts the suppressed ones.

    Uses the process's monotonic clock, because it only limits this process's own work.
    """

    def __init__(self, each: int, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.each, self.total = each, total
        self._clock = clock
        self._lock = threading.Lock()
        self._window_end = 0.0
        self._admitted: dict[str, int] = {}
        self._suppressed: dict[str, int] = {}

    def admit(self, key: str) -> int | None:
        """Count an event. Returns None if it is suppressed.

        Otherwise returns how many events of this key were suppressed since the last admitted one.
        """
        with self._lock:
            if self._clock() >= self._window_end:
                self._window_end = self._clock() + 60
                self._admitted = {}
            admitted = self._admitted.get(key, 0)
            if admitted < self.each and sum(self._admitted.values()) < self.total:
                self._admitted[key] = admitted + 1
                return self._suppressed.pop(key, 0)
            if key in self._suppressed or len(self._suppressed) < MAX_KEPT:
                self._suppressed[key] = self._suppressed.get(key, 0) + 1
            return None
