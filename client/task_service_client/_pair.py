"""What is done differently with and without an event loop. `generate.py` puts the names on the right for those on the left."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def async_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


async def async_in_thread(call: Callable[[], T]) -> T:
    """Return what a call returns that may wait."""
    return await asyncio.to_thread(call)


def in_thread(call: Callable[[], T]) -> T:
    return call()


class AsyncTurns(asyncio.Lock):
    """One coroutine at a time."""


class Turns:
    """One thread at a time."""

    def __init__(self) -> None:
        import threading

        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
