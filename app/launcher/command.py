"""Runs Python modules as parts of the service, or once until they end."""

import math
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.launcher.console import Console
from app.launcher.datadir import DataDir
from app.launcher.environment import Environment
from app.launcher.errors import LauncherError
from app.launcher.forks import ForkedProcess, ForkServer
from app.launcher.processes import ManagedProcess

STEP_SECONDS = 600.0
EXCEPTION = re.compile(r"[\w.]+(?:Error|Exception): ")  # the start of a traceback's message
MANUALS = ("(Background on this error", "For further information visit")


class Stopped(Exception):
    """The user asked to stop while the service was starting."""


@dataclass(frozen=True)
class Workshop:
    """The directories, environment and console with which commands run."""

    root: Path
    data: DataDir
    environment: Environment
    console: Console
    fork_server: ForkServer | None = None

    def command(
        self, name: str, arguments: Sequence[str], on_line: Callable[[str], None], death: signal.Signals
    ) -> ManagedProcess:
        """Return a process, not started yet, that runs `python -m arguments` and logs to `<data-dir>/log/<name>.log`.

        `death` is the signal that it gets when the launcher dies.
        """
        kind = ManagedProcess if self.fork_server is None else partial(ForkedProcess, self.fork_server)
        return kind(
            [sys.executable, "-m", *arguments],
            log=self.data.log(name),
            env=self.environment.for_parts(),
            cwd=self.root,
            on_line=on_line,
            tell=self.console.say,
            death_signal=death,
            pid_file=self.data.pid_file(name),
        )

    def run_once(self, name: str, arguments: Sequence[str], stopped: Callable[[], bool]) -> list[str]:
        """Run `python -m arguments` until it ends and return the lines that it wrote.

        Raises LauncherError with its error message when it fails or takes more than 600 s, and Stopped as soon as
        `stopped()` is true.
        """
        lines: list[str] = []
        process = self.command(name, arguments, lines.append, signal.SIGTERM)
        process.start()
        code = process.wait(STEP_SECONDS, stopped)
        if code is None:
            process.stop(signal.SIGTERM, 5)
            if stopped():
                raise Stopped
            raise LauncherError(f"{name} took longer than {STEP_SECONDS:.0f} s: see {process.log}")
        if code != 0:
            said = last_words(lines).removeprefix(f"{name}: ")[:500] or f"exit code {code}"
            raise LauncherError(f"{name} failed: {said} (full output: {process.log})")
        return lines


def last_words(lines: Sequence[str]) -> str:
    """Return the message of the last exception in these lines as one line, or else the last line."""
    told = [line.strip() for line in lines if line.strip() and not line.strip().startswith(MANUALS)]
    heads = [number for number, line in enumerate(told) if EXCEPTION.match(line)]
    return " ".join(told[heads[-1] :] if heads else told[-1:])


class CommandPart:
    """A long-running command whose lines appear on the console with its name in front."""

    def __init__(
        self,
        shop: Workshop,
        name: str,
        arguments: Sequence[str],
        *,
        grace: float,
        death: signal.Signals = signal.SIGTERM,
        before_kill: signal.Signals | None = None,
        to_leave: signal.Signals | None = None,
        ready: str,
    ) -> None:
        self.name = name
        self.to_leave = to_leave  # the signal after which it ends once it has done what it has begun
        self.ready_at = math.inf  # when it wrote a line with this text, after its last start
        self._console, self._ready = shop.console, ready
        self._grace, self._before_kill = grace, before_kill
        self._process = shop.command(name, arguments, self._on_line, death)

    def _on_line(self, line: str) -> None:
        self._console.part(self.name, line)
        if not self.is_ready and self._ready in line:
            self.ready_at = time.monotonic()

    @property
    def is_ready(self) -> bool:
        return self.ready_at < math.inf

    def start(self) -> None:
        self._process.kill()  # children that outlived a killed leader hold ports and connections
        self.ready_at = math.inf
        self._process.start()

    def poll(self) -> int | None:
        return self._process.poll()

    def leave(self) -> None:
        """Send `to_leave`."""
        if self.to_leave:
            self._process.send(self.to_leave)

    def terminate(self) -> None:
        """Send SIGTERM, and wait for nothing."""
        self._process.send(signal.SIGTERM)

    def tail(self, lines: int = 5) -> list[str]:
        """Return no lines: the console has shown them already."""
        del lines
        return []

    def stop(self, *, hurry: Callable[[], bool]) -> None:
        """Send SIGTERM and wait for `grace` seconds; then send `before_kill`, if any; then SIGKILL the group."""
        self.terminate()
        if self._process.wait(self._grace, hurry) is None and self._before_kill:
            self._process.send(self._before_kill)
            self._process.wait(5)
        self._process.kill()
