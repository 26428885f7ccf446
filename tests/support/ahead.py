"""A clock that a test moves on."""

import time


class Ahead:
    """Stands in for `time` in a module under test; `passes(5)` puts its monotonic clock five seconds ahead."""

    time, sleep = staticmethod(time.time), staticmethod(time.sleep)

    def __init__(self) -> None:
        self._seconds = 0.0

    def passes(self, seconds: float) -> None:
        self._seconds += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._seconds
