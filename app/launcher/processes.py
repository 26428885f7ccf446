"""Identifies and ends processes, also those that this process did not start."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for the condition: True as soon as it holds, False after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name: state, parent, group, …; [] when there is no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _ps(*arguments: str) -> list[str]:
    done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def identity_of(pid: int) -> str | None:
    """A text that is different for a later process with the same pid: its start time. None when there is no process."""
    if Path("/proc/self/stat").exists():
        fields = stat_fields(pid)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{fields[19]}" if fields and fields[0] not in "ZX" else None
    lines = _ps("-o", "lstart=", "-p", str(pid))
    return lines[0].replace(" ", "_") if lines else None


def command_line(pid: int) -> str:
    """The arguments of a process; "" when there is none."""
    if Path("/proc/self/cmdline").exists():
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return raw.replace(b"\0", b" ").decode(errors="surrogateescape").strip()
    return " ".join(_ps("-o", "args=", "-p", str(pid)))


def group_members(group: int) -> list[int]:
    """The pids of a process group that live. The kernel reuses the group's number only after all have ended."""
    if Path("/proc/self/stat").exists():
        found = ((int(entry.name), stat_fields(int(entry.name))) for entry in Path("/proc").iterdir()
                 if entry.name.isdecimal())  # fmt: skip
        return [pid for pid, fields in found if fields and fields[0] not in "ZX" and int(fields[2]) == group]
    rows = (line.split() for line in _ps("-A", "-o", "pid=,pgid="))
    return [int(pid) for pid, pgid in rows if int(pgid) == group]


def kill_group(group: int) -> None:
    """SIGKILL every process of a group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # no process; macOS reports EPERM when only zombies are left
        return


class PidFile:
    """A file that identifies one child, so that the launcher after a killed one can end that child and its group."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, pid: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(f"{pid} {identity_of(pid) or '-'}\n", encoding="ascii")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[int, str] | None:
        try:
            pid, identity = self.path.read_text(encoding="ascii").split()
            return int(pid), identity
        except (OSError, ValueError):
            return None

    def end_survivor(self, first: signal.Signals, seconds: float) -> bool:
        """End the process that the file names, and its group. True when there was one, and it has ended.

        Sends `first`, waits for `seconds`, then sends SIGKILL. Ignores another process that has the same pid.
        """
        named = self._read()
        self.remove()
        if named is None:
            return False
        pid, identity = named
        alive = identity_of(pid)
        if alive is None:
            return self._end_orphans(pid, identity)
        if alive != identity:
            return False  # another process has this pid now
        os.kill(pid, first)
        wait_until(lambda: identity_of(pid) != identity, seconds)
        kill_group(pid)
        return wait_until(lambda: identity_of(pid) != identity, seconds)

    @staticmethod
    def _end_orphans(group: int, identity: str) -> bool:
        """End the children of a leader that has ended. The kernel does not reuse the group's number while they live."""
        boot, _, started = identity.partition(":")
        members = [pid for pid in group_members(group) if _began_after(pid, boot, started)]
        if members:
            kill_group(group)
            wait_until(lambda: not group_members(group), 5)
        return bool(members)


def _began_after(pid: int, boot: str, started: str) -> bool:
    this_boot, _, began = (identity_of(pid) or "").partition(":")
    return this_boot == boot and began.isdecimal() and started.isdecimal() and int(began) >= int(started)
