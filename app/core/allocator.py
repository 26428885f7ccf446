"""Bounds the memory that glibc's malloc keeps in an API process. Other C libraries are left alone.

A password hash takes 19 MiB. By default, each thread that has hashed keeps that memory in an arena of its own that
never shrinks. With a single arena the threads share the memory, and it is returned to the system every few seconds. A
lower M_MMAP_THRESHOLD would map each hash anew, which makes a login half as slow again.
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
    """Return glibc, or None: musl and macOS lack these functions or name others so."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None


@asynccontextmanager
async def single_malloc_arena() -> AsyncIterator[None]:
    """Limit malloc to one arena for the rest of the process, and trim it every TRIM_SECONDS while the block runs."""
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
        glibc.malloc_trim(0)  # short, and releases the interpreter's lock
