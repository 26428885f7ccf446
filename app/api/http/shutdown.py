"""Hearing that the server is told to stop, in time for answers that would go on for as long as their clients like.

uvicorn waits for every open connection, and only then tells the application: event streams, and requests that wait
for a task, must hear the signal itself.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def told_to_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block, a signal that ends the process also has `stop` run in this event loop."""
    if threading.current_thread() is not threading.main_thread():  # a test's server: it hears no signals
        yield
        return
    loop = asyncio.get_running_loop()
    with ExitStack() as restored:
        for number in _SIGNALS:
            _chain(number, lambda: loop.call_soon_threadsafe(stop), restored)
        yield


def _chain(number: signal.Signals, before: Callable[[], object], restored: ExitStack) -> None:
    servers = signal.getsignal(number)
    if not callable(servers):
        return

    def handle(received: int, frame: FrameType | None) -> None:
        before()
        servers(received, frame)

    signal.signal(number, handle)
    restored.callback(signal.signal, number, servers)
