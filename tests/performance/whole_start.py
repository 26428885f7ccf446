"""`run_server.py` as a user starts it, on its own servers: CPU, time and memory until it is ready, and while it is idle."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.launcher.ports import free_loopback_port
from app.launcher.processes import ManagedProcess
from tests.performance.processes import cpu_seconds, memory, tree
from tests.support.services import ROOT, process_environment
from tests.support.waiting import wait_for

STARTED = "Ctrl-C stops everything."
START_SECONDS = 120.0
# What is begun at a start is over then: passes that run once a minute, the files that Python compiles.
SETTLE_SECONDS, IDLE_SECONDS = 30.0, 30.0


class WholeStart:
    """One that is ready. `seconds` and `cpu` are those of its start, all processes together."""

    def __init__(self, process: ManagedProcess, data: Path, seconds: float) -> None:
        self._process, self._data = process, data
        self.seconds, self.cpu = seconds, cpu_seconds([process.pid])

    def memory(self) -> float:
        """MiB of all Python processes; a page that several of them share is divided among them."""
        python = [each.pid for each in tree(self._process.pid) if Path(each.exe()).name.startswith("python")]
        return sum(memory(pid)["pss"] for pid in python)

    def idle_cpu(self) -> float:
        """Percent of a core, of all processes, while nothing is asked of them."""
        time.sleep(SETTLE_SECONDS)
        before = self._scheduled()
        time.sleep(IDLE_SECONDS)
        return 100 * (self._scheduled() - before) / IDLE_SECONDS

    def _scheduled(self) -> float:
        """CPU seconds to the nanosecond: what wakes for less than a tick counts too (Linux)."""
        threads = [
            f"/proc/{each.pid}/task/{thread.id}" for each in tree(self._process.pid) for thread in each.threads()
        ]
        return sum(int(Path(each, "schedstat").read_text().split()[0]) for each in threads if Path(each).exists()) / 1e9

    def replace_worker(self) -> float:
        """Kill `worker1`. Returns after how many seconds another one serves in its place."""
        pid = int((self._data / "run" / "worker1.pid").read_text(encoding="ascii").split()[0])
        before = len(self._log())
        begun = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: " ready." in self._log()[before:], 60, "another worker to be ready")
        return time.perf_counter() - begun

    def _log(self) -> str:
        return (self._data / "log" / "worker1.log").read_text(encoding="utf-8")


@contextmanager
def whole_start(data: Path) -> Iterator[WholeStart]:
    """Start it on this data directory, and stop it in the end."""
    log = data.with_suffix(".log")
    log.unlink(missing_ok=True)  # that of the start before
    options = ["--data-dir", str(data), "--port", str(free_loopback_port())]
    process = ManagedProcess(
        [sys.executable, "run_server.py", *options], log=log, env=process_environment({}), cwd=ROOT,
        death_signal=signal.SIGTERM,
    )  # fmt: skip
    begun = time.perf_counter()
    process.start()
    try:
        wait_for(lambda: STARTED in process.log.read_text(encoding="utf-8"), START_SECONDS, "run_server.py to be ready")
        yield WholeStart(process, data, time.perf_counter() - begun)
    finally:
        process.stop(signal.SIGTERM, 30)
