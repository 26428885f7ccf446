"""What the embedded servers have in common: a directory, a port that lasts, a password, one process."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from app.launcher.errors import LauncherError
from app.launcher.files import write_private_file
from app.launcher.pgfiles import number_in, reason
from app.launcher.ports import LOOPBACK, free_loopback_port, is_free
from app.launcher.processes import ManagedProcess, wait_until

START_SECONDS = 60.0
RETRY_SECONDS = 20.0


def discard_line(_line: str) -> None:
    """For a server's lines, which its log alone shows."""


class EmbeddedServer(ABC):
    """Base of `EmbeddedPostgres` and `EmbeddedValkey`, whose docstrings tell how to use them."""

    name: ClassVar[str]  # as a part of the service
    program: ClassVar[str]
    # What the log ends with where another try may help.
    worth_retrying: ClassVar[re.Pattern[str]]

    def __init__(self, directory: Path, settings: Mapping[str, str], log: Path, tell: Callable[[str], None]) -> None:
        self.directory = directory.resolve()
        self.log, self._tell = log, tell
        self.settings = settings
        self.port = 0
        self._password = ""
        self._process: ManagedProcess | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

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

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def stop(self, grace: float = 10, hurry: Callable[[], bool] = lambda: False) -> None: ...

    def kill(self) -> None:
        """SIGKILL, for tests of what happens then."""
        self.process.kill()

    @abstractmethod
    def _process_on(self, port: int) -> ManagedProcess:
        """Return the server's process, not started yet."""

    @abstractmethod
    def _ready(self, port: int) -> bool:
        """Return whether this very server answers there."""

    def _start_on_a_port(self) -> None:
        """Try until it runs: the port may be taken before the bind, or children of a killed server may still end."""
        tries = iter(self._ports())
        why = "it was not ready in time"

        def attempt() -> bool:
            nonlocal why
            if self._start_once(next(tries)):
                return True
            why = reason(self.process.tail(8))
            self.process.kill()
            return not self.worth_retrying.search(why)

        wait_until(attempt, RETRY_SECONDS)
        if self.poll() is not None:
            raise LauncherError(f"{self.program} did not start: {why} ({self.log})")

    def _ports(self) -> Iterator[int]:
        """Ports to try: always the same after the first start, as other parts know it; else the last run's, or any."""
        last = number_in(self.directory / "port")
        while True:
            yield self.port or (last if last and is_free(LOOPBACK, last) else free_loopback_port())

    def _start_once(self, port: int) -> bool:
        self._process = self._process_on(port)
        self._process.start()
        wait_until(lambda: self._ready(port) or self.poll() is not None, START_SECONDS)
        if not self._ready(port):
            return False
        if not self.port:
            write_private_file(self.directory / "port", str(port))
        self.port = port
        return True
