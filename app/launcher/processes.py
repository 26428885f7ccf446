"""Child processes that end with the launcher.

Each has a session, a death signal, a log file and a stop deadline. The last functions identify and end processes, also
those that this process did not start.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from app.launcher.logfile import LogFile, to_stderr

CHILD = Path(__file__).with_name("child.py")
LINE_BYTES = 64 * 1024  # a longer line is taken in pieces: it needs no more memory than this
TAIL_BYTES = 4000
TAIL_LINES = 20


class _Spawner:
    """Starts every child from one thread that never ends.

    The kernel sends the death signal when the *thread* that started the child ends, not the process.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._work = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pid = 0

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._pid != os.getpid():  # the first call, or the first after a fork: threads do not survive it
                self._pid, self._work = os.getpid(), queue.SimpleQueue()
                threading.Thread(target=self._serve, name="spawner", daemon=True).start()
        result: Future[subprocess.Popen[bytes]] = Future()
        self._work.put((start, result))
        return result.result()

    def _serve(self) -> None:
        work = self._work
        while True:
            start, result = work.get()
            try:
                result.set_result(start())
            except BaseException as error:  # noqa: BLE001 - the caller raises it
                result.set_exception(error)


_SPAWNER = _Spawner()


class ManagedProcess:
    """One program, which can be started again after it ended.

    `log` receives its output, and `on_line` each line of it. With `on_line`, the log is bounded as `LogFile` says, its
    pipe is read whatever becomes of the log, `tell` gets a line about one that cannot be written, and lines for which
    `is_kept` is false are forgotten. Without, the program writes into the file itself. With `pid_file`, the next
    launcher ends a child that survived this one. `child.py` describes `identity` and `death_signal`.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        identity: str = "same",
        death_signal: signal.Signals = signal.SIGKILL,
        on_line: Callable[[str], None] | None = None,
        tell: Callable[[str], None] = to_stderr,
        is_kept: Callable[[bytes], bool] = lambda _line: True,
        standard_input: bytes = b"",
        pid_file: Path | None = None,
    ) -> None:
        self.argv = [str(part) for part in argv]
        self.log, self.env, self.cwd = log, env, cwd
        self.identity, self.death_signal = identity, death_signal
        self.on_line, self.tell, self.is_kept, self.standard_input = on_line, tell, is_kept, standard_input
        self.pid_file = PidFile(pid_file) if pid_file else None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._log_start = 0  # where a log without `on_line` had its end at the last start
        self._last_lines: deque[str] = deque(maxlen=TAIL_LINES)  # of the last start, with `on_line`

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def start(self) -> None:
        """Start the program. Ends a child that a killed launcher left first."""
        if self.pid_file:
            self.pid_file.end_survivor(self.death_signal, 10)
        if self.on_line:
            self._start_with_reader(self.on_line)
        else:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as output:
                self._log_start = output.tell()
                self._process = _SPAWNER.run(lambda: self._spawn(output))
        if self.pid_file:
            self.pid_file.write(self.pid)
        self._write_standard_input()

    def _start_with_reader(self, on_line: Callable[[str], None]) -> None:
        self._join_reader()  # two at once would write into one log
        self._last_lines.clear()
        self._process = _SPAWNER.run(lambda: self._spawn(subprocess.PIPE))
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, on_line), daemon=True)
        self._reader.start()

    def _write_standard_input(self) -> None:
        if self._process and self._process.stdin:
            with contextlib.suppress(BrokenPipeError):  # it ended before it read: its exit code and log say why
                self._process.stdin.write(self.standard_input)
                self._process.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def _spawn(self, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
        wrapper = [sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), self.identity, str(int(self.death_signal))]
        return subprocess.Popen(
            [*wrapper, *self.argv],
            stdin=subprocess.PIPE if self.standard_input else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(self.env) if self.env is not None else None,
            cwd=self.cwd,
            start_new_session=True,  # a terminal's Ctrl-C reaches the launcher alone, which stops the parts in order
        )

    def _read(self, stream: IO[bytes], on_line: Callable[[str], None]) -> None:
        with stream, contextlib.closing(LogFile(self.log, self.tell)) as log:
            while line := stream.readline(LINE_BYTES):
                if not self.is_kept(line):
                    continue
                log.write(line)
                text = line.decode(errors="replace").rstrip("\r\n")
                self._last_lines.append(text[:TAIL_BYTES])
                on_line(text)

    def poll(self) -> int | None:
        """Return the exit code; None while it runs, and before the first start."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float, hurry: Callable[[], bool] = lambda: False) -> int | None:
        """Wait for the end and return the exit code; None after `seconds`, or as soon as `hurry()` is true."""
        wait_until(lambda: not self.running or hurry(), seconds)
        code = self.poll()
        if code is not None:
            self._finish()
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, not to its children."""
        if self._process and self.running:
            self._process.send_signal(number)

    def stop(self, number: signal.Signals, grace: float, hurry: Callable[[], bool] = lambda: False) -> int | None:
        """Send a signal, wait for `grace` seconds or until `hurry()`, then SIGKILL the group. Returns the exit code."""
        self.send(number)
        self.wait(grace, hurry)
        return self.kill()

    def kill(self) -> int | None:
        """SIGKILL the program and its group. Returns the exit code; None before the first start."""
        if self._process is None:
            return None
        kill_group(self._process.pid)
        code = self._process.wait()
        self._finish()
        return code

    def _finish(self) -> None:
        self._join_reader()
        if self.pid_file:
            self.pid_file.remove()

    def _join_reader(self) -> None:
        if self._reader:
            self._reader.join(timeout=2)  # not for ever: a child that outlived the program may hold the pipe

    def tail(self, lines: int = 5) -> list[str]:
        """Return the last lines of its output since the last start, also those that the log could not take."""
        if self._reader:
            if not self.running:
                self._join_reader()
            return [line for line in list(self._last_lines) if line.strip()][-lines:]
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - TAIL_BYTES))
            return [line for line in log.read().decode(errors="replace").splitlines() if line.strip()][-lines:]
        return []


# -- Identifies and ends processes, also those that this process did not start -----------------------------------------

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
    """Return the fields of /proc/PID/stat after the command: state, parent, group, …; [] without a process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _ps(*arguments: str) -> list[str]:
    done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def identity_of(pid: int) -> str | None:
    """Return a text that is another for a later process with the same pid: its start. None without a process."""
    if Path("/proc/self/stat").exists():
        fields = stat_fields(pid)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{fields[19]}" if fields and fields[0] not in "ZX" else None
    lines = _ps("-o", "lstart=", "-p", str(pid))
    return lines[0].replace(" ", "_") if lines else None


def command_line(pid: int) -> str:
    """Return the arguments of a process; "" when there is none."""
    if Path("/proc/self/cmdline").exists():
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return raw.replace(b"\0", b" ").decode(errors="surrogateescape").strip()
    return " ".join(_ps("-o", "args=", "-p", str(pid)))


def group_members(group: int) -> list[int]:
    """Return the pids of a process group that live. The kernel reuses the group's number only after all have ended."""
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
