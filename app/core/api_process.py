"""The memory and the open files of an API process, which serves many connections for a long time.

malloc of glibc keeps one arena, which is trimmed; other C libraries are left alone. A password hash takes 19 MiB: by
default, each thread that has hashed keeps that memory in an arena of its own that never shrinks. With a single arena
the threads share the memory, and it is returned to the system every few seconds. A lower M_MMAP_THRESHOLD would map
each hash anew, which makes a login half as slow again.

Validators of models that few processes need are built at their first use.
"""

import asyncio
import ctypes
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache

from pydantic import BaseModel

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
    loop = asyncio.create_task(_trim_malloc(glibc), name="allocator: trim")
    try:
        yield
    finally:
        loop.cancel()


async def _trim_malloc(glibc: ctypes.CDLL) -> None:
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        glibc.malloc_trim(0)  # short, and releases the interpreter's lock


# -- The limit of open files of this process (RLIMIT_NOFILE). Each connection of a client takes one file ---------------

# More than any API process has connections for. Not the hard limit itself, which may be a billion: programs that this
# process starts may close each possible descriptor in turn.
MOST_FILES = 65_536


def open_files_limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


def raise_open_files_limit() -> None:
    """Raise the soft limit to the hard one, at most to MOST_FILES. It is 1024 on many systems."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# -- Models of pydantic whose validators are built at their first use, in modules that do not say so themselves --------


@contextmanager
def deferred_models() -> Iterator[None]:
    """Have each model that is declared within build its validator at its first use: for imports of other packages."""
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
