"""Starts parts of the service by the fork server, which imports the application once.

`ForkServer` is the process that forks, `ForkedProcess` a part that it forks. Linux alone has what they need.
"""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from app.launcher.fork_server import LONGEST_ORDER
from app.launcher.process import ManagedProcess

PR_SET_CHILD_SUBREAPER = 36
IMPORT_SECONDS, FORK_SECONDS = 120.0, 20.0
# Room for the command line of a part, where `ps` reads it.
PADDING = "-" * 400


class CannotFork(Exception):
    """There is no fork server, or it does not answer: the part is started in the usual way."""


class ForkServer:
    """The process that imports the application. It is started at once, and again when it is gone.

    `engine` is the name of the database's engine, `log` receives its output, `env` its environment.
    """

    def __init__(self, engine: str, log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self._engine, self._log, self._env, self._cwd = engine, log, dict(env), cwd
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_ready = False
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.launcher.fork_server", self._engine, PADDING],
                stdin=theirs.fileno(), stdout=output, stderr=subprocess.STDOUT, env=self._env, cwd=self._cwd,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def fork(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, output: int, death_signal: int
    ) -> int:  # fmt: skip
        """Start `python -m argv` and return its pid: it is a child of this process. Raises CannotFork."""
        order = {"argv": [*argv], "env": {**env}, "cwd": cwd, "death_signal": death_signal, "parent": os.getpid()}
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._end()
                self._start()
            try:
                self._await_ready()
                with _adopting():
                    self._orders.settimeout(FORK_SECONDS)
                    socket.send_fds(self._orders, [json.dumps(order).encode()], [output])
                    pid = self._receive()["pid"]
            except (OSError, ValueError) as error:
                self._end()
                raise CannotFork(f"the process that forks the parts has ended ({error}): see {self._log}") from error
        return int(pid)

    def _await_ready(self) -> None:
        if not self._is_ready:
            self._orders.settimeout(IMPORT_SECONDS)
            self._receive()
            self._is_ready = True

    def _receive(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._orders.recv(LONGEST_ORDER))  # nothing, where it has ended: ValueError
        return told

    def close(self) -> None:
        """End it. The parts go on."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._orders.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def _adopting() -> Any:
    """Become the parent of what loses its parent. Not for longer: whatever else does so goes to init."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class ForkedProcess(ManagedProcess):
    """A `python -m module …` that the fork server forks; started in the usual way where that cannot be."""

    def __init__(self, fork_server: ForkServer, argv: Sequence[str | Path], **options: Any) -> None:
        super().__init__(argv, **options)
        self._fork_server = fork_server

    def _spawn(self, output: IO[bytes] | int) -> Any:
        try:
            if output != subprocess.PIPE:
                return Forked(self._fork(output), None)
            reading, writing = os.pipe()
            with open(writing, "wb") as theirs, contextlib.ExitStack() as undo:  # noqa: PTH123
                stream = undo.enter_context(open(reading, "rb"))  # noqa: PTH123
                pid = self._fork(theirs)
                undo.pop_all()
                return Forked(pid, stream)
        except CannotFork as error:
            self.tell(f"{error}; this part imports the application itself")
            return super()._spawn(output)

    def _fork(self, output: Any) -> int:
        env, cwd = self.env if self.env is not None else os.environ, str(self.cwd or Path.cwd())
        return self._fork_server.fork(self.argv[2:], env, cwd, output.fileno(), int(self.death_signal))


class Forked:
    """The part of `subprocess.Popen` that `ManagedProcess` uses, of a child that this process has not forked itself."""

    stdin = None

    def __init__(self, pid: int, stdout: IO[bytes] | None) -> None:
        self.pid, self.stdout = pid, stdout
        self._lock = threading.Lock()
        self._code: int | None = None

    def poll(self) -> int | None:
        with self._lock:
            if self._code is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self._code = os.waitstatus_to_exitcode(status) if pid else None
            return self._code

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
