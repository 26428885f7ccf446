"""What the person at the terminal sees: lines, one at a time, from several threads."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

NAME_WIDTH = 8


class Console:
    """Writes whole lines. A terminal that went away must not stop the parts from being stopped in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # the log lines of parts in a C locale

    def say(self, line: str = "") -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def part(self, name: str, line: str) -> None:
        """A line that a part wrote."""
        self.say(f"{name:<{NAME_WIDTH}}| {line}")

    def error(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"error: {line}\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """`what … 1.2 s`, followed by what the step put in the list."""
        begun = time.monotonic()
        more: list[str] = []
        yield more
        self.say(f"{what:<44} {time.monotonic() - begun:5.1f} s  {' '.join(more)}".rstrip())
