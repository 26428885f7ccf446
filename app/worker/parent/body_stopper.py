"""Stops bodies that must not go on: first by an exception in the body, then, when the grace time is over, by SIGKILL.

For the worker's parent process. Whether a child still runs what is to be stopped is read from the slot table at the
last moment, so that no other task of this worker is hurt.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from billiard.common import human_status

from app.worker.shared.slot_table import STOP_SIGNAL, Phase, SlotState, SlotTable, Stop

logger = logging.getLogger(__name__)


class BodyStopper:
    """One in each worker. Its methods may be called from several threads."""

    def __init__(self, table: SlotTable, grace_seconds: float) -> None:
        self._table = table
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()
        # Since when an attempt is ordered to stop (monotonic seconds), and why a child (process id) was ended.
        self._orders: dict[tuple[UUID, int], float] = {}
        self._ended: dict[int, Stop] = {}
        self._limits: dict[int, float] = {}

    def stop(self, state: SlotState, why: Stop) -> None:
        """Have this attempt stop: call it again and again until the attempt is gone from the table."""
        with self._lock:
            if has_ended(state.pid):
                return
            since = self._orders.get((state.task_id, state.attempt))
            if since is None:
                logger.info("task %s: attempt %d is told to stop: %s", state.task_id, state.attempt, why.name.lower())
                self._orders[state.task_id, state.attempt] = time.monotonic()
                self._table.order(state, why)
                _send(state.pid, STOP_SIGNAL)
            elif time.monotonic() - since >= self._grace_seconds:
                self._kill(state, why)

    def kill(self, state: SlotState, why: Stop) -> None:
        """End the child at once, if it still runs this attempt, or still writes its end as in `state`."""
        with self._lock:
            self._kill(state, why)

    def note_ended(self, pid: int, why: Stop) -> None:
        """Note that this worker itself ends the child with this process id.

        Takes no lock: a signal's handler calls it.
        """
        self._ended[pid] = why

    def why_ended(self, pid: int) -> Stop | None:
        """Return why this worker itself ended the child with this process id; None if it did not."""
        return self._ended.get(pid)

    def limit_of(self, pid: int) -> float:
        """Return the time limit, in seconds, of the body that this child ran when it was killed for it."""
        return self._limits[pid]

    def interrupt(self, state: SlotState) -> None:
        """Raise SoftTimeLimitExceeded in the body of this attempt, unless it has been told to stop."""
        with self._lock:
            if not self._is_ordered(state) and not has_ended(state.pid):
                self._table.order(state, Stop.SOFT_TIME_LIMIT)
                _send(state.pid, STOP_SIGNAL)

    def end_uninterrupted(self, state: SlotState) -> None:
        """End the child if the soft time limit has not reached its body: it is in a call that nothing interrupts."""
        with self._lock:
            if not self._is_ordered(state) and not self._table.has_met_soft_limit(state):
                self._kill(state, Stop.SOFT_TIME_LIMIT)

    def _is_ordered(self, state: SlotState) -> bool:
        return (state.task_id, state.attempt) in self._orders

    def forget(self, busy: list[SlotState]) -> None:
        """Drop the orders of attempts that are gone."""
        held = {(state.task_id, state.attempt) for state in busy}
        with self._lock:
            self._orders = {order: since for order, since in self._orders.items() if order in held}

    def _kill(self, state: SlotState, why: Stop) -> None:
        if has_ended(state.pid):  # its slot keeps its last state, and its number may be another process's by now
            return
        # Frozen first: what the table says then is still so when the SIGKILL follows.
        _send(state.pid, signal.SIGSTOP)
        if self._table.read(state.slot) != state or not (state.in_body or state.phase is Phase.DELIVERING):
            _send(state.pid, signal.SIGCONT)
            return
        logger.warning("task %s: attempt %d is killed: %s", state.task_id, state.attempt, why.name.lower())
        self._ended[state.pid] = why
        is_soft = why is Stop.SOFT_TIME_LIMIT
        self._limits[state.pid] = state.deadlines.soft_limit if is_soft else state.deadlines.limit
        _send(state.pid, signal.SIGKILL)


def _send(pid: int, number: int | None) -> None:
    assert number is not None, "a child with a slot can be signalled"
    with suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, number)


def living(states: Iterable[SlotState]) -> list[SlotState]:
    """Return the states whose children live: the slot of a dead one keeps its last state."""
    return [state for state in states if not has_ended(state.pid)]


def has_ended(pid: int) -> bool:
    """Return whether this child is gone, or only waits to be reaped."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13; the pool reaps its children twice a second
        return not _exists(pid)
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def how_ended(pid: int) -> str | None:
    """Return how this child ended, as Celery puts it; None while it runs, and once the pool has reaped it."""
    if not hasattr(os, "waitid"):
        return None
    try:
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if end is None:
        return None
    return str(human_status(end.si_status if end.si_code == os.CLD_EXITED else -end.si_status))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
