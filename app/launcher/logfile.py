"""The log file of one part: bounded in size while it is written, and open again after a full disk."""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

MAX_BYTES = 10 * 2**20
FILES = 5  # the file itself and `.1` to `.4`, older ones with higher numbers
TOLD_EVERY = 60.0  # seconds between two reports of trouble on the console


def to_stderr(line: str) -> None:
    """Write a line to stderr: where trouble is told if there is no console."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")


class LogFile:
    """Appends lines to `path`. A part's log takes `max_bytes * files` bytes of the disk at most.

    `write` never raises. A line that cannot be written (full disk, error of the device, directory gone) is counted, and
    `tell` gets a line about it at once, at most one a minute. The file is opened anew for each line until one is
    written: whoever makes room may delete it. In front of that line, the file says how many are missing.

    For one thread at a time.
    """

    def __init__(
        self, path: Path, tell: Callable[[str], None] = to_stderr, *, max_bytes: int = MAX_BYTES, files: int = FILES
    ) -> None:
        self.path, self._tell = path, tell
        self._max_bytes, self._files = max_bytes, files
        self._descriptor = -1
        self._size = 0
        self._lost = 0
        self._why = ""
        self._quiet_until = 0.0  # time.monotonic(); no trouble is told before
        self._must_tell_end = False

    def write(self, line: bytes) -> None:
        """Append a line, with its line break. Longer ones than the whole file are cut."""
        try:
            self._append((self._notice() + line)[: self._max_bytes])
        except OSError as error:
            self._lose(error)
        else:
            self._recovered()

    def close(self) -> None:
        """Close the file; a later `write` opens it again. Writes first how many lines are missing, if that succeeds."""
        if self._lost:
            self.write(b"")
        self._close()

    def _append(self, data: bytes) -> None:
        if self._descriptor < 0:
            self._open()
        if self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        written = 0
        try:
            while written < len(data):  # a disk that gets full takes a part of it
                written += os.write(self._descriptor, data[written:])
        except OSError:
            with contextlib.suppress(OSError):  # not a file: there is nothing to take back
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += written

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._size = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        """Rename `.3` to `.4` and so on, and begin a new file. Renaming needs no room on a full disk."""
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{number}") for number in range(1, self._files))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
        self._close()
        self._open()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # a late error of earlier writes: they were counted as written
                os.close(descriptor)

    def _notice(self) -> bytes:
        return f"launcher: {self._lost} lines are missing here ({self._why})\n".encode() if self._lost else b""

    def _lose(self, error: OSError) -> None:
        self._close()
        self._lost += 1
        self._why = error.strerror or str(error)
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + TOLD_EVERY
            self._must_tell_end = True
            self._tell(f"{self.path} cannot be written ({self._why}): {self._lost} lines are missing so far")

    def _recovered(self) -> None:
        if self._lost and self._must_tell_end:
            self._tell(f"{self.path} is written again: {self._lost} lines are missing ({self._why})")
            self._must_tell_end = False
        self._lost = 0
