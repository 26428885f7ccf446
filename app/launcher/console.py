"""Writes whole lines to the terminal, from several threads."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

NAME_WIDTH = 8


class Console:
    """Writes whole lines. Ignores a closed terminal, so that the parts are still stopped in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # parts log non-ASCII text, also in a C locale

    def say(self, line: str = "") -> None:
        """Write a line to stdout."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def part(self, name: str, line: str) -> None:
        """Write a line of this part to stdout, with the part's name in front."""
        self.say(f"{name:<{NAME_WIDTH}}| {line}")

    def error(self, line: str) -> None:
        """Write an error message of one line to stderr."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"error: {line}\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Time the block, then write `what … 1.2 s` and the texts that it added to the yielded list."""
        begun = time.monotonic()
        more: list[str] = []
        yield more
        self.say(f"{what:<44} {time.monotonic() - begun:5.1f} s  {' '.join(more)}".rstrip())
