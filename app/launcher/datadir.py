"""The data directory: keeps data, logs and secrets between runs. One launcher at a time may use it."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Self

from app.launcher.errors import LauncherError
from app.launcher.files import try_lock
from app.launcher.processes import PidFile


class DataDir:
    """`with DataDir(path):` makes it and locks it. Raises LauncherError with the pid of a launcher that holds the lock.

    The lock is needed because Valkey does not refuse a directory that another Valkey uses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._descriptor = -1

    @property
    def env_file(self) -> Path:
        return self.path / "env"

    def log(self, name: str) -> Path:
        return self.path / "log" / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        return self.path / "run" / f"{name}.pid"

    def end_survivors(self) -> list[str]:
        """End the parts that a killed launcher left running, and return their names."""
        files = sorted((self.path / "run").glob("*.pid"))
        return [file.stem for file in files if PidFile(file).end_survivor(signal.SIGTERM, 10)]

    def __enter__(self) -> Self:
        try:
            self._make()
            self._descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LauncherError(
                f"the data directory {self.path} cannot be used ({error.strerror}): name another one with --data-dir"
            ) from error
        if not try_lock(self._descriptor):
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            self._close()
            raise LauncherError(
                f"{self.path} is in use by another run_server.py (pid {holder or 'unknown'}): "
                f"stop it (kill {holder or 'PID'}) or name another directory with --data-dir"
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1

    def _make(self) -> None:
        if not self.path.exists():
            self.path.mkdir(parents=True, mode=0o700)
            above = self.path.parent.stat()
            if os.name == "posix" and os.geteuid() == 0 and above.st_uid != 0:
                os.chown(self.path, above.st_uid, above.st_gid)  # root in a user's tree: PostgreSQL runs as that user
        for name in ("log", "run", "beat"):
            (self.path / name).mkdir(exist_ok=True)
