"""Files that the launcher locks against other processes, and files that hold secrets. Standard library alone."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def try_lock(descriptor: int) -> bool:
    """Take the lock without waiting; False when another process has it. True where no file can be locked (some NFS)."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _wait_for_lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextlib.contextmanager
def locked_directory(directory: Path, on_wait: Callable[[], None]) -> Iterator[int | None]:
    """Lock a directory, without a file in it, and yield the descriptor. `on_wait` is called before a wait.

    A child that inherits the descriptor keeps the lock until it ends, even when this process is killed.
    """
    if sys.platform == "win32":
        name = f"task-service-{directory.as_posix().replace('/', '_').replace(':', '')}.lock"
        descriptor = os.open(Path(tempfile.gettempdir()) / name, os.O_RDWR | os.O_CREAT)
    else:
        descriptor = os.open(directory, os.O_RDONLY)
    try:
        if not try_lock(descriptor):
            on_wait()
            _wait_for_lock(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


# -- Writes files that hold secrets ------------------------------------------------------------------------------------


def write_private_file(path: Path, text: str) -> None:
    """Replace the file atomically. It has mode 0600 from its first byte."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
