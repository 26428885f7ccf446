"""What bodies of tasks run in: threads, each of which works for one attempt, and loops for `async def` bodies.

The body of an attempt runs in a thread, or has given it work. A context variable says so, which asyncio and
`asyncio.to_thread` pass on. Threads and executors do not: `Thread.start` and `ThreadPoolExecutor.submit` are wrapped to
hand it on. A thread that an earlier body left behind still belongs to that body's attempt, which has ended: nothing of
it gets into another user's task. A thread of the service's own works for none, whichever body has caused its start.
"""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from app.core.fork import PerProcess

# The attempt (`app.worker.child.attempt_run.AttemptRun`) whose body runs in this context.
_of_context: ContextVar[Any | None] = ContextVar("attempt_of_body", default=None)
# What a thread has: the attempt whose code has started it, and the one whose call it runs now as an executor's thread.
_OF_THREAD, _OF_CALL = "_task_service_attempt", "_task_service_call_of"
_OF_EXECUTOR, _OF_SERVICE = "_task_service_of_executor", "_task_service_of_service"
# In a thread that hands a call to an executor, which may start a thread for it.
_handing_on = threading.local()


class _Process:
    """What this process has. Of one that a body has forked nobody would write anything."""

    runs_bodies = True
    undo: list[Callable[[], None]]


_Process.undo = []


def _in_forked() -> None:
    _Process.runs_bodies = False  # another thread of the body's process may hold a lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked)


def present_attempt() -> Any | None:
    """Return the attempt for which this code runs."""
    if not _Process.runs_bodies:
        return None
    attempt = _of_context.get()
    return attempt if attempt is not None else getattr(threading.current_thread(), _OF_THREAD, None)


@contextmanager
def belongs_to(attempt: Any | None) -> Iterator[None]:
    """While the block runs, this code works for the attempt."""
    token = _of_context.set(attempt)
    try:
        yield
    finally:
        _of_context.reset(token)


def start_for_service(thread: threading.Thread) -> None:
    """Start a thread of the service's own."""
    setattr(thread, _OF_SERVICE, True)
    thread.start()


def is_of_service(thread: threading.Thread) -> bool:
    """Return whether `start_for_service` has started the thread."""
    return hasattr(thread, _OF_SERVICE)


def goes_on(thread: threading.Thread) -> bool:
    """Return whether the thread runs.

    Not by `is_alive`: once an exception of a signal's handler has broken off a `join`, that is False of a thread that
    runs, up to Python 3.12.
    """
    return thread in threading.enumerate()


class ServiceThread:
    """A thread of the service's own, which each `start` starts where it does not run."""

    def __init__(self, target: Callable[[], Any], name: str) -> None:
        self._target, self._name = target, name
        self._lock = threading.RLock()  # the handler of a signal may call `start` as well
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread unless it runs. The thread itself catches what its work raises, and goes on."""
        if self._goes_on():
            return
        with self._lock:
            if not self._goes_on():
                # Noted before: what the handler of a signal raises in its start leaves it running.
                self._thread = threading.Thread(target=self._target, name=self._name, daemon=True)
                start_for_service(self._thread)

    def leave(self) -> None:
        """Leave the thread that calls this, as its last act: the next `start` starts another one."""
        with self._lock:
            if self._thread is threading.current_thread():
                self._thread = None

    def join(self, seconds: float) -> None:
        """Wait for its end, for so many seconds at most."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _goes_on(self) -> bool:
        thread = self._thread
        return thread is not None and goes_on(thread)


def threads_of(attempt: Any) -> list[threading.Thread]:
    """Return the threads that run still and that its code has started, and those of executors that run a call of it.

    A thread of an executor that waits for its next call is none of them.
    """
    return [
        thread
        for thread in threading.enumerate()
        if getattr(thread, _OF_CALL, None) is attempt
        or (getattr(thread, _OF_THREAD, None) is attempt and not hasattr(thread, _OF_EXECUTOR))
    ]


def hand_on() -> None:
    """Have threads work, from now on, for the attempt that started them. A second call changes nothing."""
    _Process.runs_bodies = True
    if not _Process.undo:
        _replace(threading.Thread, "start", _attributing_start(threading.Thread.start))
        _replace(ThreadPoolExecutor, "submit", _attributing_submit(ThreadPoolExecutor.submit))


def hand_on_no_more() -> None:
    """Put back what `hand_on` has replaced."""
    while _Process.undo:
        _Process.undo.pop()()


def _replace(owner: Any, name: str, by: Any) -> None:
    before = getattr(owner, name)
    _Process.undo.append(lambda: setattr(owner, name, before))
    setattr(owner, name, by)


def _attributing_start(start: Callable[[threading.Thread], None]) -> Any:
    def started(self: threading.Thread) -> None:
        attempt = None if is_of_service(self) else present_attempt()
        if attempt is not None:
            setattr(self, _OF_THREAD, attempt)
        if getattr(_handing_on, "is_so", False):
            setattr(self, _OF_EXECUTOR, True)
        start(self)

    return started


def _attributing_submit(submit: Callable[..., Any]) -> Any:
    def submitted(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        attempt = present_attempt()
        _handing_on.is_so = True
        try:
            return submit(self, fn if attempt is None else _AttributedCall(attempt, fn), *args, **kwargs)
        finally:
            _handing_on.is_so = False

    return submitted


class _AttributedCall:
    """A call in an executor's thread, which works for this attempt while it lasts."""

    def __init__(self, attempt: Any, function: Callable[..., Any]) -> None:
        self._attempt, self._function = attempt, function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        thread = threading.current_thread()
        setattr(thread, _OF_CALL, self._attempt)
        try:
            with belongs_to(self._attempt):
                return self._function(*args, **kwargs)
        finally:
            delattr(thread, _OF_CALL)


# -- Runs `async def` bodies, for which Celery has no pool: one event loop for each thread, kept between tasks ---------
# What a body keeps on the loop (an HTTP client, a connection pool) can so be used by the next task.

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
        """Return the coroutine, known to `cancel` while it runs."""
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
        loop.call_soon_threadsafe(_cancel_task, loop, task, reached)
        return True

    def close(self) -> None:
        """Close this thread's loop; the next coroutine gets another one."""
        runner: asyncio.Runner | None = self._local.__dict__.pop("runner", None)
        if runner is not None:
            runner.close()


def _cancel_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any], reached: Callable[[], None]) -> None:
    if task.cancel():
        loop.call_soon(reached)  # behind the task's own next step, which this has scheduled


coroutine_runner = PerProcess(CoroutineRunner)
