"""Signals to stop that wait until what has begun is done."""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class HeldSignals:
    """Of a process. In any thread but the main one, which alone they interrupt, nothing is held."""

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._come: list[int] = []

    def hold(self) -> None:
        """From now on they wait."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.signal(number, self._note)
                self._handlers.setdefault(number, handler)

    def release(self) -> None:
        """Restore their handlers, and raise what has come meanwhile."""
        handlers, self._handlers = self._handlers, {}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        come, self._come = self._come, []
        if come:
            signal.raise_signal(come[0])

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._come.append(number)
