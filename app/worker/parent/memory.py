"""The memory of the worker's processes."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

_PSS = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)


def memory_of(children: Iterable[int]) -> int | None:
    """Bytes of this process and these children: pages that several share count once. None where Linux does not tell."""
    sizes = [_proportional_size(pid) for pid in {os.getpid(), *children}]
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def _proportional_size(pid: int) -> int | None:
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:  # it has ended, or this is not Linux
        return None
    return None if found is None else int(found[1]) * 1024
