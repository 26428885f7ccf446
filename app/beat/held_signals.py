"""Holds SIGTERM and SIGINT back until what has begun is done.

Python runs their handlers in the main thread alone, so nothing is held in another one. A signal mask would not do:
another thread would take the signal, and the handler would interrupt the main thread all the same.
"""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class HeldSignals:
    """Those of this process."""

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._arrived: list[int] = []

    def hold(self) -> None:
        """Note what arrives from now on, until `release`."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._handlers[number] = signal.signal(number, self._note)

    def release(self) -> None:
        """Restore the handlers, and raise the first signal that has arrived meanwhile."""
        handlers, self._handlers = self._handlers, {}
        for number in reversed(handlers):  # SIGTERM last: the handler of one that arrives now may raise
            signal.signal(number, handlers[number])
        arrived, self._arrived = self._arrived, []
        if arrived:
            signal.raise_signal(arrived[0])

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._arrived.append(number)
