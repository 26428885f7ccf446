"""Processes whose clock is wrong: libfaketime between a process and its C library.

Not a patch of `time.time` in Python: Celery, kombu and psycopg2 have taken their own names for the clock by the time
any module of ours is loaded, and their C code asks the system. The library comes from the package `libfaketime`
(PyPI, Linux on x86-64) or from the distribution's (`apt-get install libfaketime`).
"""

import importlib.util
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

VENDORED = Path("vendor", "libfaketime", "src", "libfaketime.so.1")
SYSTEM = "usr/lib*/**/faketime/libfaketime.so.1"
HOUR = 3600


class WrongClock:
    """`.environment` is that of a process, and of all its children, whose clock is so many hours ahead (or behind).

    Only the wall clock: waiting and time limits use the monotonic one, which no wrong date reaches on real machines.
    """

    def __init__(self, file: Path, hours: float) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.jump(hours)
        off = _offset(self.environment)
        # A library for another machine is ignored with a line on stderr: the test would run on the right time.
        if abs(off - hours * HOUR) > 60:  # starting Python takes a moment
            raise RuntimeError(f"the clock of a process was to be {hours:+g} h off, and is {off / HOUR:+.2f} h")

    @staticmethod
    def remove_leftovers(since: float) -> None:
        """Remove the shared memory of processes that were killed after that time, in seconds since 1970."""
        for path in Path("/dev/shm").glob("*faketime_*"):
            number = path.name.rpartition("_")[2]
            if number.isdecimal() and not Path("/proc", number).exists() and path.stat().st_mtime >= since:
                path.unlink(missing_ok=True)

    def jump(self, hours: float) -> None:
        """Now it is so far off; running processes see it within a second."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{hours * HOUR:+.0f}\n", encoding="ascii")
        written.replace(self._file)


@cache
def library() -> Path:
    """Where libfaketime is. Raises RuntimeError with the way to get it: a missing one must not skip a test."""
    found = importlib.util.find_spec("libfaketime")
    candidates = [Path(found.origin).parent / VENDORED] if found and found.origin else []
    candidates += sorted(Path("/").glob(SYSTEM))
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise RuntimeError("no libfaketime: pip install libfaketime, or apt-get install libfaketime")


def _offset(environment: dict[str, str]) -> float:
    program = [sys.executable, "-I", "-S", "-c", "import time; print(time.time())"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout) - time.time()
