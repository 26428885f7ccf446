"""A process that may have only so much more memory: by the kernel's OOM killer where possible, else by a watcher."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

WATCH_SECONDS = 0.01
# Of each version of control groups: its root for memory, the file of the limit, the file of the events.
CGROUPS = {
    2: (Path("/sys/fs/cgroup"), "memory.max", "memory.events"),
    1: (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.oom_control"),
}


class CgroupLimit:
    """The kernel's OOM killer, in a control group for this one process. Only memory that is taken from now on counts."""

    def __init__(self, version: int, pid: int, size: int) -> None:
        root, limit, events = CGROUPS[version]
        self.how = f"the kernel, by a cgroup (version {version})"
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
        with suppress(OSError):  # a process is still in it, or it was never made
            self._group.rmdir()


class WatchedLimit:
    """The signal that the kernel would send, sent by a thread once the process holds so much more."""

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
def memory_limit(pid: int, megabytes: int) -> Iterator[CgroupLimit | WatchedLimit]:
    """This process, and what it forks from now on, may take so much more memory; the first way that works here.

    `how` tells what ends the process, `kills()` how often it has.
    """
    limit = _first_that_works(pid, megabytes << 20)
    try:
        yield limit
    finally:
        limit.lift()


def _first_that_works(pid: int, size: int) -> CgroupLimit | WatchedLimit:
    for version in CGROUPS:
        # Not root, no such controller, or a file system that may only be read.
        with suppress(OSError, KeyError):
            return CgroupLimit(version, pid, size)
    return WatchedLimit(pid, size)
