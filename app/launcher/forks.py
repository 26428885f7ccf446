"""Starts parts of the service by the fork server, which imports the application once.

`ForkServer` is the process that forks, `ForkedProcess` a part that it forks. Linux alone has what they need.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from app.launcher.fork_server import LONGEST_ORDER
from app.launcher.processes import ManagedProcess

PR_SET_CHILD_SUBREAPER = 36
IMPORT_SECONDS, FORK_SECONDS = 120.0, 20.0
MOST_FAILURES = 3
# Room for the command line of a part, where `ps` reads it.
PADDING = "-" * 400
PLACE = re.compile(r'File "([^"<]+)", line (\d+)')


class CannotFork(Exception):
    """There is no fork server, or it does not answer: the part is started in the usual way.

    The text is empty where an order before has said so of the same fork server.
    """


class ForkServer:
    """The process that imports the application and forks parts; itself a part, which a supervisor starts again.

    `engine` is the name of the database's engine, `log` receives its output, `env` its environment. With `base`, a fork
    server of PACKAGES, it is forked by that one and imports the application alone.
    """

    name = "fork-server"

    def __init__(
        self, engine: str, log: Path, env: Mapping[str, str], cwd: Path, base: "ForkServer | None" = None
    ) -> None:
        self._engine, self._log, self._env, self._cwd, self._base = engine, log, dict(env), cwd, base
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._is_ready, self._failures, self._error, self._is_told = False, 0, "", False

    def start(self) -> None:
        """Have it import the application; what is to be forked waits for that."""
        self.stop()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self._log.open("wb") as output:
            self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._is_ready, self._error, self._is_told = False, "", False
            with theirs:
                self._process = self._spawn(theirs.fileno(), output.fileno())

    def _spawn(self, orders: int, output: int) -> "subprocess.Popen[bytes] | Forked":
        argv = ["app.launcher.fork_server", self._engine, PADDING]
        if self._base is not None:
            with contextlib.suppress(CannotFork):
                return Forked(self._base.fork(argv, self._env, str(self._cwd), output, signal.SIGKILL, orders), None)
        return subprocess.Popen(
            [sys.executable, "-m", *argv], stdin=orders, stdout=output, stderr=subprocess.STDOUT, env=self._env,
            cwd=self._cwd, start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code; None while it runs, and once it could not import MOST_FAILURES times: it stays away then."""
        if self._process is None or self._failures >= MOST_FAILURES:
            return None
        code = self._process.poll()
        if code is not None:
            self._failures = 0 if self._is_ready else self._failures + 1
        return code

    def is_importing(self) -> bool:
        """Whether what is to be forked would wait."""
        with self._lock:
            if self._process is None:
                return False
            try:
                self._await_the_import(0)
            except BlockingIOError:
                return True
            except (OSError, ValueError):  # it has ended: `fork` says so
                return False
            return False

    @property
    def refusal(self) -> str:
        """Why it cannot fork, once it imports no more: the error with its file and line; "" where it can."""
        if self._is_ready:
            return ""
        if self._error or not (lines := self.tail(30)):
            return self._error or f"its import has ended: see {self._log}"
        places = PLACE.findall("\n".join(lines))  # of a traceback
        return f"{lines[-1]} ({':'.join(places[-1])})" if places else lines[-1]

    def tail(self, lines: int = 5) -> list[str]:
        """The last lines that it has written."""
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return []

    def stop(self, *, hurry: Callable[[], bool] = lambda: False) -> None:
        """End it. The parts go on."""
        del hurry
        with self._lock:
            if self._process is not None:
                self._give_up(self._process)
                self._process.wait()
                self._process = None

    def fork(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, output: int, death_signal: int, *orders: int
    ) -> int:
        """Start `python -m argv` and return its pid: it is a child of this process. Raises CannotFork.

        `orders` is the file of its standard input, if it has one.
        """
        order = {"argv": [*argv], "env": {**env}, "cwd": cwd, "death_signal": death_signal, "parent": os.getpid()}
        with self._lock:
            try:
                if self._process is None:
                    raise ProcessLookupError("it was stopped")
                self._await_the_import(IMPORT_SECONDS)
                with _adopting():
                    self._orders.settimeout(FORK_SECONDS)
                    socket.send_fds(self._orders, [json.dumps(order).encode()], [output, *orders])
                    told = self._receive()
            except (OSError, ValueError) as error:
                # What it answers later would be taken for the answer to the next order. A part that was forked ends.
                if self._process is not None:
                    self._give_up(self._process)
                why = f"the process that forks the parts does not answer ({error}): see {self._log}"
                is_told, self._is_told = self._is_told, True
                raise CannotFork("" if is_told else why) from error
        if "pid" not in told:
            raise CannotFork(f"a part could not be forked: {told['error']}")
        return int(told["pid"])

    def _give_up(self, process: "subprocess.Popen[bytes] | Forked") -> None:
        self._orders.close()
        process.kill()

    def _await_the_import(self, seconds: float) -> None:
        if not self._is_ready:
            self._orders.settimeout(seconds)
            self._error = self._receive().get("error", "")
            if self._error:
                raise ValueError(self._error)
            self._is_ready = True

    def _receive(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._orders.recv(LONGEST_ORDER))  # nothing, where it has ended: ValueError
        return told


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
            if not isinstance(output, int):
                return Forked(self._fork(output.fileno()), None)
            reading, writing = os.pipe()
            try:
                pid = self._fork(writing)
            except BaseException:
                os.close(reading)
                raise
            finally:
                os.close(writing)
            return Forked(pid, open(reading, "rb"))  # noqa: PTH123 (its reader closes it)
        except CannotFork as error:
            if str(error):
                self.tell(f"{error}; this part imports the application itself")
            return super()._spawn(output)

    def _fork(self, output: int) -> int:
        env, cwd = self.env if self.env is not None else os.environ, str(self.cwd or Path.cwd())
        return self._fork_server.fork(self.argv[2:], env, cwd, output, int(self.death_signal))


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
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # SIGCHLD is ignored: nobody is told how it ended, as with Popen
                    pid, status = self.pid, 0
                self._code = os.waitstatus_to_exitcode(status) if pid else None
            return self._code

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)
