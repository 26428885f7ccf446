"""The memory of the worker's processes."""

import re
from collections.abc import Iterable
from pathlib import Path

# Between two looks at processes that run nothing: each look at one costs milliseconds of the kernel's time.
IDLE_SECONDS = 30.0
_PSS = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)


class Sizes:
    """Bytes of a worker's processes when they were last looked at, and at the look before."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._before: dict[int, int] = {}  # for a child that has gone since
        self._next_look = 0.0

    def are_due(self, now: float, *, is_busy: bool) -> bool:
        """Whether to look at `now` (monotonic seconds): always where any child runs something."""
        return is_busy or now >= self._next_look

    def look(self, pids: Iterable[int], now: float) -> None:
        """Read those of these processes."""
        self._last, self._before = sizes_of(pids), self._last
        self._next_look = now + IDLE_SECONDS

    @property
    def total(self) -> int | None:
        """That of all, where Linux tells."""
        return sum(self._last.values()) or None

    def of(self, pid: int) -> int | None:
        """That of one of them."""
        return (self._before | self._last).get(pid)


def sizes_of(pids: Iterable[int]) -> dict[int, int]:
    """Bytes of each of these processes, where Linux tells: a page that several of them share is divided among them."""
    sizes = {pid: _proportional_size(pid) for pid in pids}
    return {pid: size for pid, size in sizes.items() if size is not None}


def _proportional_size(pid: int) -> int | None:
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:  # it has ended, or this is not Linux
        return None
    return None if found is None else int(found[1]) * 1024
