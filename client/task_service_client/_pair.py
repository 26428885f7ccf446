"""What differs with and without an event loop: `generate.py` puts `sleep` in the place of `async_sleep`, and so on."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
GRACE_SECONDS = 5.0
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


_begun: set[Any] = set()


async def async_as_a_whole(work: Callable[[], Any]) -> Any:
    """Return what a coroutine returns. It goes on to its end also where the caller is cancelled meanwhile."""
    import asyncio

    task = asyncio.ensure_future(work())
    _begun.add(task)
    task.add_done_callback(_begun.discard)
    return await asyncio.shield(task)


def as_a_whole(work: Callable[[], Any]) -> Any:
    """Return what a call returns. Where Ctrl-C interrupts the caller, the call has some seconds to end."""
    from concurrent.futures import Future, wait

    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller)
            done.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True).start()
        wait([done])  # before Python 3.13, a join that was interrupted counts as done
    except BaseException:
        wait([done], GRACE_SECONDS)
        raise
    return done.result()


async def async_rest() -> None:
    """Wait until what was begun as a whole in this event loop has ended."""
    import asyncio

    loop = asyncio.get_running_loop()
    await asyncio.gather(*(task for task in _begun if task.get_loop() is loop), return_exceptions=True)


def rest() -> None:
    """Nothing is left: a call has ended when it returns."""


async def async_in_thread(call: Callable[[], T]) -> T:
    """Return what a call returns that may wait."""
    import asyncio

    return await asyncio.to_thread(call)


def in_thread(call: Callable[[], T]) -> T:
    return call()
