"""The memory of the worker's processes."""

import re
from collections.abc import Iterable
from pathlib import Path

_PSS = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)


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
