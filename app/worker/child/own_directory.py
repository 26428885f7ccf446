"""Temporary directories that hold for as long as the process that has made them, and are deleted after it.

A lock says whether that process lives. Its number would not: containers that share the folder of temporary files have
process numbers of their own.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

if sys.platform != "win32":  # where nothing is deleted for another process
    import fcntl

# Not that of earlier versions, which delete directories by process numbers.
_PREFIX = "task-service-attempt-"


class OwnDirectory:
    """A new directory, which `delete` deletes; else another process does, once this one has ended."""

    def __init__(self) -> None:
        self._lock: int | None = None
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = _lock(self.path, wait=True)
            if self.path.is_dir():
                return
            self._unlock()  # another process has deleted it before it was locked

    def delete(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def delete_left() -> None:
    """Delete the directories of processes that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = _lock(left, wait=False)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _lock(directory: Path, *, wait: bool) -> int | None:
    """Lock the directory and return its descriptor. None where it is gone, another process has it, or nothing locks."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # some network file systems have no locks: their directories stay
        os.close(descriptor)
        return None
    return descriptor
