"""Ends long-lived responses on shutdown.

uvicorn tells the application of a shutdown only after every open connection has closed. Event streams, and requests
that wait for a task, must therefore receive the signal themselves.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_shutdown(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block, SIGTERM and SIGINT call `stop` in this event loop, then the server's own handler."""
    if threading.current_thread() is not threading.main_thread():  # a test server gets no signals
        yield
        return
    loop = asyncio.get_running_loop()
    with ExitStack() as restored:
        for number in _SIGNALS:
            _chain(number, lambda: loop.call_soon_threadsafe(stop), restored)
        yield


def _chain(number: signal.Signals, before: Callable[[], object], restored: ExitStack) -> None:
    previous = signal.getsignal(number)
    if not callable(previous):
        return

    def handle(received: int, frame: FrameType | None) -> None:
        before()
        previous(received, frame)

    signal.signal(number, handle)
    restored.callback(signal.signal, number, previous)
