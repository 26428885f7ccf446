"""How many records a flood may cause."""

import threading
import time
from collections.abc import Callable

MAX_KEPT = 1000


class PerMinute:
    """At most `each` a minute for a key and `total` for all of them, in this process; what is beyond is counted.

    By this process's monotonic clock: it bounds the process's own work and decides nothing that others see.
    """

    def __init__(self, each: int, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.each, self.total = each, total
        self._clock = clock
        self._lock = threading.Lock()
        self._until = 0.0
        self._admitted: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def admit(self, key: str) -> int | None:
        """None: leave it out. Else how many of this key were left out since the last one that was not."""
        with self._lock:
            if self._clock() >= self._until:
                self._until = self._clock() + 60
                self._admitted = {}
            taken = self._admitted.get(key, 0)
            if taken < self.each and sum(self._admitted.values()) < self.total:
                self._admitted[key] = taken + 1
                return self._left_out.pop(key, 0)
            if key in self._left_out or len(self._left_out) < MAX_KEPT:
                self._left_out[key] = self._left_out.get(key, 0) + 1
            return None
