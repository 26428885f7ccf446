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


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end on this thread's loop. Raises RuntimeError inside a running loop, as asyncio does."""
    runner: asyncio.Runner | None = getattr(_runners, "runner", None)
    if runner is None:
        runner = _runners.runner = asyncio.Runner()
    # A copy of the caller's context: a runner would go on with the one it was made in, another task's.
    return runner.run(coroutine, context=contextvars.copy_context())


def _forget_after_fork() -> None:
    _runners.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
