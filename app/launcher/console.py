"""Writes whole lines to the terminal, from several threads, which never wait for it."""

import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

NAME_WIDTH = 8
WAITING_BYTES = 2**20  # lines that wait for the terminal
CLOSE_SECONDS = 2.0


class Console:
    """Writes whole lines to stdout, from a thread of its own.

    A terminal that is stopped (Ctrl-S), hangs, is closed or is a file on a full disk stops no part: lines that it does
    not take are dropped and counted, and a line tells their number once it takes lines again. Call `flush` at the end.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = _stdout() if descriptor is None else descriptor
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        self._lines: deque[bytes] = deque()
        self._bytes = 0  # of the lines that wait, the one that is being written included
        self._lost = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._write_lines, name="console", daemon=True).start()

    def say(self, line: str = "") -> None:
        """Write a line to stdout, soon."""
        data = f"{line}\n".encode(self._encoding, "backslashreplace")  # parts log non-ASCII text, also in a C locale
        with self._changed:
            if self._bytes + len(data) > WAITING_BYTES:
                self._lost += 1
                return
            self._add(data)

    def _add(self, data: bytes) -> None:
        self._lines.append(data)
        self._bytes += len(data)
        self._changed.notify_all()

    def part(self, name: str, line: str) -> None:
        """Write a line of this part to stdout, with the part's name in front."""
        self.say(f"{name:<{NAME_WIDTH}}| {line}")

    def error(self, line: str) -> None:
        """Write an error message of one line to stderr, after the lines that wait."""
        self.flush()
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"error: {line}\n")
            sys.stderr.flush()

    def flush(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait until all lines are written or dropped, so many seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes, seconds)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Time the block, then write `what … 1.2 s` and the texts that it added to the yielded list."""
        begun = time.monotonic()
        more: list[str] = []
        yield more
        self.say(f"{what:<44} {time.monotonic() - begun:5.1f} s  {' '.join(more)}".rstrip())

    def _write_lines(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                data = self._lines.popleft()
            written = self._write(data)
            with self._changed:
                self._bytes -= len(data)
                if not written:
                    self._lost += 1
                elif self._lost:
                    lost, self._lost = self._lost, 0
                    self._add(
                        f"launcher: {lost} lines are missing here; those of the parts are in their logs\n".encode()
                    )
                self._changed.notify_all()

    def _write(self, data: bytes) -> bool:
        try:
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:  # another program made the terminal non-blocking
                    select.select([], [self._descriptor], [], 1)
        except OSError:
            return False
        return True


def _stdout() -> int:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return sys.stdout.fileno()
    return 1
