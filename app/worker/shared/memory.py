"""The memory of processes, as Linux tells it: what one has for itself, and what those of a worker take together."""

import re
from collections.abc import Iterable
from pathlib import Path

_PRIVATE = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB$", re.MULTILINE)


def private_bytes(pid: int) -> int | None:
    """Return the bytes of its own and shared memory, also those in the swap; None if it is gone or no Linux tells.

    Reads no page table, unlike the sizes of the heartbeat: some 20 us, which the time between two looks allows.
    """
    try:
        found = _PRIVATE.findall(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return None
    return sum(map(int, found)) * 1024 if found else None


# -- What the processes of a worker take together: a page that several share is divided among them ---------------------

# Between two looks at processes that run nothing: each look at one costs milliseconds of the kernel's time.
IDLE_LOOK_SECONDS = 30.0
_PSS = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)


class Sizes:
    """Bytes of a worker's processes when they were last looked at, and at the look before."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._before: dict[int, int] = {}  # for a child that has gone since
        self._next_look = 0.0

    def are_due(self, now: float, *, is_busy: bool) -> bool:
        """Return whether to look at `now` (monotonic seconds): always where any child runs something."""
        return is_busy or now >= self._next_look

    def look(self, pids: Iterable[int], now: float) -> None:
        """Read those of these processes."""
        self._last, self._before = sizes_of(pids), self._last
        self._next_look = now + IDLE_LOOK_SECONDS

    @property
    def total(self) -> int | None:
        """The bytes of all processes, where Linux says them."""
        return sum(self._last.values()) or None

    def of(self, pid: int) -> int | None:
        """Return the bytes of one process."""
        return (self._before | self._last).get(pid)


def sizes_of(pids: Iterable[int]) -> dict[int, int]:
    """Return the bytes of each process, where Linux says them: a shared page is divided among its processes."""
    sizes = {pid: _proportional_size(pid) for pid in pids}
    return {pid: size for pid, size in sizes.items() if size is not None}


def _proportional_size(pid: int) -> int | None:
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:  # it has ended, or this is not Linux
        return None
    return None if found is None else int(found[1]) * 1024
