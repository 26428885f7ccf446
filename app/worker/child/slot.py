"""The pool child's side of a stop order: its seat on the board, and the signal that makes it look there.

The handler does something only while a body runs that listens, and only where the order names that very attempt:
Celery's own signal for the purpose (SIGUSR1) killed idle children when it was measured.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from billiard import current_process
from celery import signals

from app.worker.shared.slot_table import Seat, Stop, board

# Windows has neither the signal nor a pool that forks.
SIGNAL: int | None = getattr(signal, "SIGUSR2", None)

mine = Seat(board, None, os.getpid())
_listener: Callable[[Stop], None] | None = None


def _sit_down(**_: Any) -> None:
    """A child has been forked: the seat of its index, which no other living child has."""
    global mine  # noqa: PLW0603 (one per process)
    number = getattr(current_process(), "index", None)
    if SIGNAL is not None and number is not None and number < len(board):
        mine = Seat(board, number, os.getpid())
        signal.signal(SIGNAL, _heed)


def _heed(*_: Any) -> None:
    """Pass an order on, once: what the listener raises must find nothing armed on its way out."""
    global _listener  # noqa: PLW0603 (one body at a time: a child is one process)
    listener = _listener
    why = None if listener is None else mine.order()
    if listener is not None and why is not None:
        _listener = None
        listener(why)


@contextmanager
def listening(listener: Callable[[Stop], None]) -> Iterator[None]:
    """An order for the attempt on the seat reaches `listener`, in the main thread, while the block runs.

    It may be older than the block: it is looked for once at its start.
    """
    global _listener  # noqa: PLW0603
    try:
        _listener = listener
        _heed()
        yield
    finally:
        _listener = None


def stand_up(task: Any = None, **_: Any) -> None:
    """Celery's `task_postrun`."""
    if task is None or not task.request.is_eager:  # a body may `apply()` another task: that is not its own end
        mine.idle()


signals.worker_process_init.connect(_sit_down, weak=False)
signals.task_postrun.connect(stand_up, weak=False)
