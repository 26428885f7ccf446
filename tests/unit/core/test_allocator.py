"""What an API process keeps of the memory that password hashes took."""

import asyncio
import ctypes
import sys

import pytest

from app.core import api_process
from tests.support.sources import run_program

on_glibc = pytest.mark.skipif(api_process._glibc() is None, reason="there is no glibc here")
# Prints how many KiB are left of hashes in five threads, at the least of some looks.
HASHING = """
import asyncio, os, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from app.core import api_process as allocator
from app.core.security import hash_password

allocator.TRIM_SECONDS = 0.01
held = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon:"))

async def main(block):
    hash_password("the backend is loaded")
    async with block:
        await asyncio.sleep(0.05)
        before = held()
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(hash_password, ["a password"] * 12))
            hash_password("and one more, which is the only one now")
            looks = []
            for _ in range(20):
                looks.append(held() - before)
                await asyncio.sleep(0.01)
        print(min(looks))

asyncio.run(main({block}))
"""


def left_of_hashes(block: str) -> int:
    return int(run_program(HASHING.replace("{block}", block)))


@on_glibc
def test_what_hashes_took_is_given_back_whichever_threads_made_them() -> None:
    assert left_of_hashes("allocator.single_malloc_arena()") < left_of_hashes("nullcontext()") / 8


@pytest.mark.parametrize("libc", [object(), None], ids=["musl", "macOS"])
def test_without_glibc_nothing_is_changed(monkeypatch: pytest.MonkeyPatch, libc: object) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    monkeypatch.setattr(sys, "platform", "linux" if libc else "darwin")
    api_process._glibc.cache_clear()

    async def run() -> set[str]:
        async with api_process.single_malloc_arena():
            return {task.get_name() for task in asyncio.all_tasks()}

    try:
        assert not any(name.startswith("allocator") for name in asyncio.run(run()))
    finally:
        api_process._glibc.cache_clear()
