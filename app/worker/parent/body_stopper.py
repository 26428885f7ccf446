"""Stops bodies that must not go on: first by an exception in the body, then, when the grace time is over, by SIGKILL.

For the worker's parent process. Whether a child still runs what is to be stopped is read from the board at the last
moment, so that no other task of this worker is hurt.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from app.core.config import get_settings
from app.worker.child.slot import SIGNAL
from app.worker.shared.slot_table import Board, Sight, Stop

logger = logging.getLogger(__name__)

Held = tuple[UUID, int]


class Warden:
    """One a worker. Its methods may be called from several threads."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = threading.Lock()
        # What was ordered, since when (monotonic seconds), and over which tasks this worker ended which children.
        self._orders: dict[Held, float] = {}
        self._given_up: dict[tuple[UUID, int], Stop] = {}

    def stop(self, sight: Sight, why: Stop) -> None:
        """See to it that this attempt stops: call again until it is gone from the board."""
        with self._lock:
            if has_ended(sight.pid):
                return
            since = self._orders.get((sight.task_id, sight.attempt))
            if since is None:
                logger.info("task %s: attempt %d is told to stop: %s", sight.task_id, sight.attempt, why.name.lower())
                self._orders[sight.task_id, sight.attempt] = time.monotonic()
                self._board.order(sight, why)
                _send(sight.pid, SIGNAL)
            elif time.monotonic() - since >= get_settings().cancel_grace_seconds:
                self._kill(sight, why)

    def kill(self, sight: Sight, why: Stop) -> None:
        """End the child at once, if it still runs this attempt."""
        with self._lock:
            self._kill(sight, why)

    def give_up(self, task_id: UUID, pid: int, why: Stop) -> None:
        """Note that this worker itself ends the child (process id) that runs this task.

        Takes no lock: a signal's handler calls it.
        """
        self._given_up[task_id, pid] = why

    def given_up(self, task_id: UUID, pid: int) -> Stop | None:
        """Why this worker itself ended this child over this task, no fault of the task's; None if it did not."""
        return self._given_up.get((task_id, pid))

    def forget(self, busy: list[Sight]) -> None:
        """Drop the orders of attempts that are gone."""
        held = {(sight.task_id, sight.attempt) for sight in busy}
        with self._lock:
            self._orders = {order: since for order, since in self._orders.items() if order in held}

    def _kill(self, sight: Sight, why: Stop) -> None:
        if has_ended(sight.pid):  # its seat may keep saying what it did, and its number may be another's by now
            return
        # Frozen first: what the board says then is still so when the SIGKILL follows.
        _send(sight.pid, signal.SIGSTOP)
        if self._board.read(sight.seat) != sight or not sight.in_body:
            _send(sight.pid, signal.SIGCONT)
            return
        logger.warning("task %s: attempt %d is killed: %s", sight.task_id, sight.attempt, why.name.lower())
        self._given_up[sight.task_id, sight.pid] = why
        _send(sight.pid, signal.SIGKILL)


def _send(pid: int, number: int | None) -> None:
    assert number is not None, "a child with a seat is one that can be signalled"
    with suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, number)


def living(sights: Iterable[Sight]) -> list[Sight]:
    """Those whose children live: a dead one's seat goes on saying what it did."""
    return [sight for sight in sights if not has_ended(sight.pid)]


def has_ended(pid: int) -> bool:
    """Whether this child of ours is gone, or only waits to be reaped."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13; the pool reaps its children twice a second
        return not _exists(pid)
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
