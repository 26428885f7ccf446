"""Ends what a killed test session left behind; a program of its own, started as `reaper.py MARK DIRECTORY`.

Every process of a session carries MARK in its environment. The session holds the write end of the reaper's
standard input and never writes: end of file means that the session is over, however it ended. Death signals reach a
session's direct children alone, not the pool children of a worker that was killed with it; this reaches all.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

VARIABLE = "TEST_SESSION"


def marked(mark: str) -> list[int]:
    """The living processes whose environment at their start carried the mark."""
    needle = f"{VARIABLE}={mark}".encode()
    if not Path("/proc/self/environ").exists():
        return _marked_by_ps(needle.decode())
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and needle in _environment(entry) and not _is_zombie(entry)
    ]


def _environment(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or somebody else's
        return []


def _is_zombie(entry: Path) -> bool:
    try:
        return (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _marked_by_ps(needle: str) -> list[int]:
    done = subprocess.run(["ps", "-E", "-A", "-o", "pid=,command="], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in done.stdout.splitlines() if needle in line]


def describe(pid: int) -> str:
    """A process as a line of a failure message."""
    try:
        return f"{pid}: {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')}"
    except OSError:
        return str(pid)


def end_marked(mark: str, seconds: float = 5) -> None:
    """SIGKILL them until none is left: one may be forking while it is counted."""
    deadline = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.05)


def unmarked() -> dict[str, str]:
    """This process's environment, for a process that is of no session."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


def start(mark: str, directory: Path) -> "subprocess.Popen[bytes]":
    """A reaper of what carries the mark, and of the directory; it acts once its standard input is closed.

    It carries no mark: the end of a session around this one would kill it before it has removed the directory. It may
    live a few seconds longer than that session.
    """
    program = [sys.executable, "-I", "-S", __file__, mark, str(directory)]
    return subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, env=unmarked()
    )


def dismiss(mark: str, reaper: "subprocess.Popen[bytes]") -> None:
    """End what carries the mark, and its reaper."""
    end_marked(mark)
    assert reaper.stdin is not None
    reaper.stdin.close()
    reaper.wait(timeout=30)  # else there is a ResourceWarning


def main() -> None:
    mark, directory = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_marked(mark)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
