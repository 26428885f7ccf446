"""A process that has imported the application, and forks the parts that a test starts: API, worker, beat.

To import it takes a second of CPU for each part, to fork a few milliseconds. The parts get a session, an environment, a
directory and a log of their own, as `ManagedProcess` gives them. Where a variable of its
environment acts at an import (READ_AT_IMPORT), a part is started the usual way.

`python -m tests.support.fork_server FD` is the process itself. Over the socket FD it gets the orders of the one that started it,
and tells the pids of what it forked and how they ended. When the socket is closed, it ends with all its children.
"""

import ctypes
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

import pytest

from app.launcher.process import ManagedProcess
from tests.support.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
# Variables that act while a process imports: on a clock, on functions that are replaced.
READ_AT_IMPORT = ("LD_PRELOAD", "FAILPOINTS")
SECRET = "only-to-import-0123456789abcdef0123456789abcdef"
ALLOWED = "TEST_FORKS_PARTS"
PR_SET_PDEATHSIG = 1
LONGEST_ORDER = 1 << 18
START_SECONDS, END_SECONDS = 60 * PATIENCE, 20 * PATIENCE


class ForkedProcess(ManagedProcess):
    """A `python -m module …` that the fork server forks."""

    def _spawn(self, output: IO[bytes] | int) -> Any:
        assert not isinstance(output, int)
        return ForkServer.of_this_process().fork(self.argv[2:], dict(self.env or {}), str(self.cwd), output)


def can_fork(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Only in a session of pytest, and not where it measures: `tests/load` and `performance_test.py` start all anew."""
    if sys.platform != "linux":  # prctl and SOCK_SEQPACKET
        return False
    reads = any(env.get(name) for name in READ_AT_IMPORT) or env.get("PYTHONPATH") != str(ROOT)
    return os.environ.get(ALLOWED) == "1" and [*argv[:2]] == [sys.executable, "-m"] and not reads


@contextmanager
def nothing_forked() -> Iterator[None]:
    """For tests that measure time or memory of a process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(ALLOWED, "0")
        yield


class Forked:
    """The part of `subprocess.Popen` that `ManagedProcess` uses."""

    stdin = stdout = None

    def __init__(self, fork_server: "ForkServer", pid: int) -> None:
        self._fork_server, self.pid = fork_server, pid

    def poll(self) -> int | None:
        return self._fork_server.code_of(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    """The side of the process that starts parts; one for each test process and mark of its servers."""

    _made: ClassVar[dict[str, "ForkServer"]] = {}
    _making = threading.Lock()

    @classmethod
    def of_this_process(cls) -> "ForkServer":
        from tests.support import reaper

        mark = os.environ.get(reaper.VARIABLE, "")
        with cls._making:
            if mark in cls._made and cls._made[mark].has_failed:
                cls._made.pop(mark).close()
            if mark not in cls._made:
                cls._made[mark] = cls()
            return cls._made[mark]

    @classmethod
    def end(cls, mark: str) -> None:
        """With the servers of this mark."""
        fork_server = cls._made.pop(mark, None)
        if fork_server is not None:
            fork_server.close()

    def __init__(self) -> None:
        from tests.support.services import process_environment

        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._codes: dict[int, int] = {}
        self.has_failed = False  # another one is started for the next part
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], env=process_environment(_to_import()), start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self._socket.settimeout(START_SECONDS)

    def fork(self, argv: Sequence[str], env: Mapping[str, str], cwd: str, log: IO[bytes]) -> Forked:
        order = json.dumps({"argv": [*argv], "env": {**env}, "cwd": cwd}).encode()
        with self._lock:
            try:
                socket.send_fds(self._socket, [order], [log.fileno()])
                while True:
                    kind, pid, code = self._receive()
                    if kind == "forked":
                        self._codes.pop(pid, None)  # of an earlier process of that number
                        return Forked(self, pid)
                    self._codes[pid] = code
            except (OSError, RuntimeError):
                self.has_failed = True
                raise

    def code_of(self, pid: int) -> int | None:
        with self._lock:
            self._socket.setblocking(False)
            try:
                while True:
                    kind, pid_told, code = self._receive()
                    assert kind == "ended", f"{kind} {pid_told}: an answer to no question"
                    self._codes[pid_told] = code
            except BlockingIOError:
                return self._codes.get(pid)
            finally:
                self._socket.settimeout(START_SECONDS)

    def _receive(self) -> tuple[str, int, int]:
        told = self._socket.recv(LONGEST_ORDER)
        if not told:
            raise RuntimeError("the process that forks the parts of tests has ended: see its error output")
        kind, pid, code = json.loads(told)
        return kind, pid, code

    def close(self) -> None:
        """It ends with all that it forked."""
        self._socket.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _to_import() -> dict[str, str]:
    from tests.support.databases import DIALECT, PLACEHOLDERS

    engine = {"DATABASE_URL": PLACEHOLDERS[DIALECT]} if DIALECT in PLACEHOLDERS else {}
    return {"SECRET_KEY": SECRET, "APP_ENV": "development", "CELERY_BROKER_URL": "memory://", **engine}


# -- the process itself ------------------------------------------------------------------------------------------------


def serve(orders: socket.socket) -> dict[str, Any]:
    """Fork at each order. Returns the order in the child, and never in this process."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    chosen = selectors.DefaultSelector()
    chosen.register(orders, selectors.EVENT_READ)
    chosen.register(woken, selectors.EVENT_READ)
    children: set[int] = set()
    while True:
        for key, _ in chosen.select():
            if key.fileobj is woken:
                woken.recv(4096)
                _tell_ended(orders, children)
                continue
            order, fds, *_ = socket.recv_fds(orders, LONGEST_ORDER, 1)
            if not order:
                _end(children)
            pid = os.fork()
            if pid == 0:
                os.setsid()  # before it is told of: whoever kills it then kills its group
                orders.send(json.dumps(["forked", os.getpid(), 0]).encode())
                chosen.close()
                signal.set_wakeup_fd(-1)
                for each in (orders, woken, wake):
                    each.close()
                return {**json.loads(order), "log": fds[0]}
            os.close(fds[0])
            children.add(pid)


def _tell_ended(orders: socket.socket, children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        orders.send(json.dumps(["ended", pid, os.waitstatus_to_exitcode(status)]).encode())


def _end(children: set[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def become(order: dict[str, Any], parent: int) -> None:
    """What a process is that was started as `python -m argv[0] …`."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(order["cwd"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (order["log"], 1), (order["log"], 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(order["log"])
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    named = [path for path in order["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [order["cwd"], *named, *(path for path in sys.path[1:] if path not in named)]
    sys.argv = order["argv"]


def main() -> None:
    orders = socket.socket(fileno=int(sys.argv[1]))
    import_the_application()
    parent = os.getpid()
    order = serve(orders)
    become(order, parent)
    runpy.run_module(order["argv"][0], run_name="__main__", alter_sys=True)


def import_the_application() -> None:
    """All that API, worker and beat import, and nothing that has read the settings."""
    import celery.apps.beat
    import celery.apps.worker
    import celery.bin.celery
    import celery.concurrency.prefork
    import celery.worker.consumer  # noqa: F401
    import uvloop  # noqa: F401

    import app.api.http.protocol
    import app.celery_app
    import app.main
    import app.worker.bootsteps
    from app.core.config import get_settings

    del sys.modules["app.main"], app.main  # made anew from the settings of the part
    get_settings.cache_clear()
    assert threading.active_count() == 1, threading.enumerate()


if __name__ == "__main__":
    main()
