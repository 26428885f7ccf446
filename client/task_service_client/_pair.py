"""What differs with and without an event loop: `generate.py` puts `sleep` in the place of `async_sleep`, and so on."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Turns = threading.Lock
"""One thread at a time."""


def AsyncTurns() -> Any:  # noqa: N802 (as the class Turns)
    """One coroutine at a time: an `asyncio.Lock`."""
    import asyncio

    return asyncio.Lock()


async def async_sleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


async def async_in_thread(call: Callable[[], T]) -> T:
    """Return what a call returns that may wait."""
    import asyncio

    return await asyncio.to_thread(call)


def in_thread(call: Callable[[], T]) -> T:
    return call()
