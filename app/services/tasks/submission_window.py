"""The tasks that one user sent to this process in the last minute."""

import time
from collections import deque

WINDOW_SECONDS = 60


class SubmissionWindow:
    """The tasks that this process accepted in the last minute, counted by the second.

    The rows do not show all: a retried task counts again, and a deleted task still counts.
    """

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second of the monotonic clock, tasks]
        self._total = 0

    def add(self, tasks: int) -> None:
        """Count tasks that were accepted now."""
        second = int(time.monotonic())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += tasks
        self._total += tasks

    def tasks(self) -> int:
        """Return how many tasks were accepted in the last minute."""
        while self._seconds and self._seconds[0][0] <= time.monotonic() - WINDOW_SECONDS - 1:
            self._total -= self._seconds.popleft()[1]
        return self._total

    def seconds_until_drop(self) -> float:
        """Return the seconds until the oldest of them leave the window."""
        return self._seconds[0][0] + WINDOW_SECONDS + 1 - time.monotonic() if self._seconds else 0
