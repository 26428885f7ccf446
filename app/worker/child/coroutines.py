"""`async def` bodies: Celery has no asyncio pool, so they run on one event loop a process, kept between tasks.

One loop, so that what a body keeps on it (an HTTP client, a connection pool) can be used by the next task.
"""

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_runners = threading.local()
# The loop and task of the coroutine that this process's main thread runs.
_running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end on this thread's loop. Raises RuntimeError inside a running loop, as asyncio does."""
    runner: asyncio.Runner | None = getattr(_runners, "runner", None)
    if runner is None:
        runner = _runners.runner = asyncio.Runner()
    begun = threading.Event()
    try:
        # A copy of the caller's context: a runner would go on with the one it was made in, another task's.
        return runner.run(_noted(coroutine, begun), context=contextvars.copy_context())
    except BaseException:
        if not begun.is_set() and not runner.get_loop().is_running():
            # Told to stop before its first step: left on the loop, it would run beside the next task's.
            del _runners.runner
            runner.close()
            coroutine.close()
        raise


async def _noted(coroutine: Coroutine[Any, Any, T], begun: threading.Event) -> T:
    """The coroutine, known to `cancel_coroutine` while it runs."""
    global _running  # noqa: PLW0603 (bodies run one after another in the main thread)
    begun.set()
    task = asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():
        return await coroutine
    _running = asyncio.get_running_loop(), task
    try:
        return await coroutine
    finally:
        _running = None


def cancel_coroutine() -> bool:
    """From a signal's handler: cancel the coroutine that runs, as asyncio does. False where none runs."""
    if _running is None:
        return False
    loop, task = _running
    loop.call_soon_threadsafe(task.cancel)  # the safe one: only it wakes a loop that waits for I/O
    return True


def _forget_after_fork() -> None:
    _runners.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
