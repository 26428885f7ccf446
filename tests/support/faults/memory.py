"""A process that may not have more memory than so much: by the kernel where it lets us say so, else by a watcher."""

import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
WATCH_SECONDS = 0.01


class MemoryLimit(ABC):
    """`how` tells what ends the process, `kills()` how often it has."""

    how: str

    @abstractmethod
    def kills(self) -> int: ...

    @abstractmethod
    def lift(self) -> None:
        """Forget it; what it was for has ended."""


class _Cgroup(MemoryLimit):
    """The kernel's own OOM killer, in a control group for this one process. Only what it takes from now on counts."""

    def __init__(self, root: Path, limit: str, events: str, pid: int, size: int) -> None:
        self._group = root / f"task-service-test-{pid}"
        self._events = self._group / events
        self._group.mkdir()
        try:
            (self._group / limit).write_text(str(size), encoding="ascii")
            (self._group / "cgroup.procs").write_text(str(pid), encoding="ascii")
            self.kills()
        except BaseException:
            self.lift()
            raise

    def kills(self) -> int:
        told = dict(line.split() for line in self._events.read_text(encoding="ascii").splitlines())
        return int(told["oom_kill"])

    def lift(self) -> None:
        with suppress(OSError):  # somebody is still in it, or it never came to be
            self._group.rmdir()


class _Version2(_Cgroup):
    how = "the kernel, by a cgroup (version 2)"

    def __init__(self, pid: int, size: int) -> None:
        super().__init__(CGROUPS, "memory.max", "memory.events", pid, size)


class _Version1(_Cgroup):
    how = "the kernel, by a cgroup (version 1)"

    def __init__(self, pid: int, size: int) -> None:
        super().__init__(CGROUPS / "memory", "memory.limit_in_bytes", "memory.oom_control", pid, size)


class _Watcher(MemoryLimit):
    """The signal that the kernel would send, sent by a thread of ours once the process holds so much more."""

    how = "a watcher that sends the kernel's signal: no control group can be made here"

    def __init__(self, pid: int, size: int) -> None:
        self._process = psutil.Process(pid)
        self._limit = self._process.memory_info().rss + size
        self._kills = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()

    def kills(self) -> int:
        return self._kills

    def lift(self) -> None:
        self._over.set()
        self._thread.join(5)

    def _watch(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while not self._over.wait(WATCH_SECONDS):
                if self._process.memory_info().rss > self._limit:
                    self._kills += 1
                    os.kill(self._process.pid, signal.SIGKILL)
                    return


@contextmanager
def memory_limit(pid: int, megabytes: int) -> Iterator[MemoryLimit]:
    """This process, and what it forks from now on, may take so much more memory; the first way that works here."""
    limit = _first_that_works(pid, megabytes << 20)
    try:
        yield limit
    finally:
        limit.lift()


def _first_that_works(pid: int, size: int) -> MemoryLimit:
    for kind in (_Version2, _Version1):
        # Not root, no such controller, or a file system that may only be read.
        with suppress(OSError, KeyError):
            return kind(pid, size)
    return _Watcher(pid, size)
