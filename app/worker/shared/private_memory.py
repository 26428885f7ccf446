"""The memory that a process has for itself, as Linux tells it: what TASK_MEMORY_BYTES counts.

Pages of files are left out, since the kernel drops them where memory is short: polars maps the files that it reads.
"""

import re
from pathlib import Path

_FIELDS = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB$", re.MULTILINE)


def private_bytes(pid: int) -> int | None:
    """Return the bytes of its own and shared memory, also those in the swap; None if it is gone or no Linux tells.

    Reads no page table, unlike the sizes of the heartbeat: some 20 us, which the time between two looks allows.
    """
    try:
        found = _FIELDS.findall(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return None
    return sum(map(int, found)) * 1024 if found else None
