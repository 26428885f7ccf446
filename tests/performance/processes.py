"""What processes use: CPU time of whole trees, and memory that is their own."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import psutil

MEBI = 1024 * 1024


def tree(pid: int) -> Iterator[psutil.Process]:
    """The process and all below it that live."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        yield root
        yield from root.children(recursive=True)


def cpu_seconds(pids: Iterable[int], *, below: bool = True) -> float:
    """User and system time, of children that have ended as well, since their parent has waited for them."""
    total = 0.0
    for pid in pids:
        for process in tree(pid) if below else [psutil.Process(pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
                total += times.children_user + times.children_system if below else 0.0
    return total


class CpuMeter:
    """CPU seconds by part since it was made; a part is the pids of its trees, and `(pid, False)` is one process alone."""

    def __init__(self, parts: Mapping[str, int | tuple[int, bool]]) -> None:
        self._parts = {name: part if isinstance(part, tuple) else (part, True) for name, part in parts.items()}
        self._begun = self._now()

    def _now(self) -> dict[str, float]:
        return {name: cpu_seconds([pid], below=below) for name, (pid, below) in self._parts.items()}

    def read(self) -> dict[str, float]:
        return {name: value - self._begun[name] for name, value in self._now().items()}


def memory(pid: int) -> dict[str, float]:
    """MiB: `rss`; `uss`, what would be free without it; `pss`, with its share of what it shares (Linux)."""
    info = psutil.Process(pid).memory_full_info()
    return {name: getattr(info, name) / MEBI for name in ("rss", "uss", "pss") if hasattr(info, name)}
