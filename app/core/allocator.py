"""What glibc's malloc keeps of an API process for itself; elsewhere than on glibc nothing is changed.

A password hash takes 19 MiB for 20 ms. By default every thread that has hashed keeps them, in an arena of its own that
never shrinks: 76 MiB with four threads. In the one arena that is left they are shared, and given back once in a while.
To have the system map each hash anew (M_MMAP_THRESHOLD) made a login half as dear again: 29 ms instead of 18.
"""

import asyncio
import ctypes
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache

TRIM_SECONDS = 5.0

_M_ARENA_MAX = -8  # of glibc's malloc.h


@lru_cache(maxsize=1)
def _glibc() -> ctypes.CDLL | None:
    """Musl and macOS have no such functions, or others by their names."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None


@asynccontextmanager
async def single_malloc_arena() -> AsyncIterator[None]:
    """One arena from now on, for good; what is free in it goes back every few seconds while the block runs."""
    glibc = _glibc()
    if glibc is None:
        yield
        return
    glibc.mallopt(_M_ARENA_MAX, 1)
    loop = asyncio.create_task(_trim(glibc), name="allocator: trim")
    try:
        yield
    finally:
        loop.cancel()


async def _trim(glibc: ctypes.CDLL) -> None:
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        glibc.malloc_trim(0)  # 0.1 ms, without the interpreter's lock
