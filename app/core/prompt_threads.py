"""How soon a thread gets the interpreter from a busy event loop (`sys.setswitchinterval`).

A thread needs the interpreter again after each statement. A loop that is never idle gives it away after Python's 5 ms,
or not even then if its turns are shorter: each system call of the loop lets the waiting thread begin its wait anew. One
client that keeps the loop busy so takes the lists of others from 5 to 300 ms. A short interval for everything would
make the groups of a busy process smaller, and a request dearer by a tenth. So it is short only while calls run that are
not grouped, or are a group of one.
"""

import sys

SECONDS = 0.0003


class PromptThreads:
    """Counts the calls in threads that should not wait long. For one event loop."""

    def __init__(self) -> None:
        self._calls = 0
        self._usual = sys.getswitchinterval()

    def begin(self) -> None:
        """Begin such a call. `end` must follow."""
        self._calls += 1
        if self._calls == 1:
            sys.setswitchinterval(SECONDS)

    def end(self) -> None:
        """End it: after the last one, the interval is what it was."""
        self._calls -= 1
        if not self._calls:
            sys.setswitchinterval(self._usual)
