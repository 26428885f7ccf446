"""Runs `async def` bodies, for which Celery has no pool: one event loop for each thread, kept between tasks.

What a body keeps on the loop (an HTTP client, a connection pool) can so be used by the next task.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from app.core.fork import PerProcess

T = TypeVar("T")


class CoroutineRunner:
    """The event loops of one process."""

    def __init__(self) -> None:
        self._local = threading.local()
        # The loop and the task of the coroutine that the main thread runs.
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        # What it raises instead of asyncio's CancelledError.
        self._error: Exception | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end on this thread's loop. Raises RuntimeError inside a running loop, as asyncio does."""
        runner: asyncio.Runner | None = getattr(self._local, "runner", None)
        if runner is None:
            runner = self._local.runner = asyncio.Runner()
        begun = threading.Event()
        try:
            # A copy of the caller's context: the runner would use the one it was made in, another task's.
            return runner.run(self._noted(coroutine, begun), context=contextvars.copy_context())
        except BaseException:
            if not begun.is_set() and not runner.get_loop().is_running():
                # Told to stop before its first step: left on the loop, it would run beside the next task's.
                self.close()
                coroutine.close()
            raise

    async def _noted(self, coroutine: Coroutine[Any, Any, T], begun: threading.Event) -> T:
        """The coroutine, known to `cancel` while it runs."""
        begun.set()
        task = asyncio.current_task()
        if task is None or threading.current_thread() is not threading.main_thread():
            return await coroutine
        self._running = asyncio.get_running_loop(), task
        try:
            return await coroutine
        except asyncio.CancelledError:
            if self._error is None:
                raise
            raise self._error from None
        finally:
            self._running = self._error = None

    def cancel(self) -> bool:
        """Cancel the main thread's coroutine, as asyncio does. For a signal's handler. False where none runs."""
        if self._running is None:
            return False
        loop, task = self._running
        loop.call_soon_threadsafe(task.cancel)  # only this variant wakes a loop that waits for I/O
        return True

    def time_out(self, error: Exception, reached: Callable[[], None]) -> bool:
        """Cancel the main thread's coroutine if it waits, and have it raise `error`, unless it returns something.

        For a signal's handler, which raises the error itself where this returns False: the code of the coroutine runs,
        or there is none. Raised in a loop that waits, it would leave the coroutine there, to go on beside the next
        task's; raised in another task of the loop, it would be that task's failure. `reached` is called once the
        coroutine has been cancelled, which is never where another task does not let the loop go on.
        """
        if self._running is None or asyncio.current_task(self._running[0]) is self._running[1]:
            return False
        self._error = error
        loop, task = self._running
        loop.call_soon_threadsafe(_cancel, loop, task, reached)
        return True

    def close(self) -> None:
        """Close this thread's loop; the next coroutine gets another one."""
        runner: asyncio.Runner | None = self._local.__dict__.pop("runner", None)
        if runner is not None:
            runner.close()


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any], reached: Callable[[], None]) -> None:
    if task.cancel():
        loop.call_soon(reached)  # behind the task's own next step, which this has scheduled


coroutine_runner = PerProcess(CoroutineRunner)
