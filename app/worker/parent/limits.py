"""Ends bodies beyond a limit: of their time, of their memory, and of the time without a heartbeat of their worker.

Each limit has a thread of the parent, which looks at what the slots of the children show.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from uuid import UUID

from app.worker.parent.body_stopper import BodyStopper, living
from app.worker.shared.memory import private_bytes
from app.worker.shared.slot_table import Phase, SlotState, SlotTable, Stop

logger = logging.getLogger(__name__)

TIME_LOOK_SECONDS = 0.1
TAKE_BACK_SECONDS = 0.2
# A child whose body is over its hard limit may take so long to write its end, while the database answers its parent: a
# body may have left a lock or broken descriptors behind, and no limit of the body applies then.
DELIVERY_SECONDS = 10.0


class TimeLimits:
    """A thread of the parent that compares the deadlines in the slots with the time."""

    def __init__(
        self,
        table: SlotTable,
        stopper: BodyStopper,
        take_back: Callable[[SlotState], None],
        is_answered: Callable[[], bool],
        grace_seconds: float,
    ) -> None:
        """`is_answered`: whether the database answers this process.

        `grace_seconds`: how long the soft time limit may take to reach a body.
        """
        self._table, self._stopper, self._take_back, self._is_answered = table, stopper, take_back, is_answered
        self._delivering: dict[int, tuple[SlotState, float]] = {}
        self._taken_back: dict[int, float] = {}
        self._grace_seconds = grace_seconds
        # Of each slot the attempt that overran its hard limit last: the kill is tried until it succeeds, and told once.
        self._overran: dict[int, tuple[UUID, int]] = {}
        # Of each slot the attempt that was interrupted last, and when.
        self._interrupted: dict[int, tuple[tuple[UUID, int], float]] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        self._stopping.clear()
        threading.Thread(target=self._run, name="time-limits", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(TIME_LOOK_SECONDS):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Interrupt or kill the bodies whose time is over at `now` (monotonic seconds)."""
        for state in self._table.busy():
            # Twice the child's own time: what it has not begun by then, it gives back itself, if it comes to that.
            if state.left and now >= state.claimed_at + TAKE_BACK_SECONDS != self._taken_back.get(state.slot):
                self._taken_back[state.slot] = state.claimed_at + TAKE_BACK_SECONDS
                self._take_back(state)
            if state.phase is Phase.DELIVERING:
                self._end_delivery(state, now)
            if not state.in_body:
                continue
            if now >= state.deadlines.hard:
                self._end_overrun(state)
            elif now >= state.deadlines.soft:
                self._interrupt(state, now)

    def _end_overrun(self, state: SlotState) -> None:
        """Kill a body over its hard time limit; the log tells it once."""
        attempt = state.task_id, state.attempt
        if self._overran.get(state.slot) != attempt:
            self._overran[state.slot] = attempt
            limit = state.deadlines.limit
            logger.error("task %s: hard time limit (%gs) exceeded, its process is killed", state.task_id, limit)
        self._stopper.kill(state, Stop.OVERRAN)

    def _interrupt(self, state: SlotState, now: float) -> None:
        """Interrupt a body over its soft time limit, once; end its process where that does not reach it in time."""
        attempt = state.task_id, state.attempt
        interrupted, since = self._interrupted.get(state.slot, (None, now))
        if interrupted != attempt:
            self._interrupted[state.slot] = attempt, now
            logger.warning("task %s: soft time limit exceeded", state.task_id)
            self._stopper.interrupt(state)
        elif now >= since + self._grace_seconds:
            self._stopper.end_uninterrupted(state)

    def _end_delivery(self, state: SlotState, now: float) -> None:
        """Kill a child that has been writing the end of one attempt for too long. Without a time limit it may go on."""
        seen, since = self._delivering.get(state.slot, (None, now))
        if seen != state:
            self._delivering[state.slot], since = (state, now), now
        if now >= max(state.deadlines.hard, since) + DELIVERY_SECONDS and self._is_answered():
            logger.error("task %s: its process cannot write its end, and is killed", state.task_id)
            self._stopper.kill(state, Stop.OVERRAN)


# -- Kills bodies that take more memory than TASK_MEMORY_BYTES, before the kernel kills what it chooses ----------------
# The parent looks; no limit of the operating system is set. Native code, such as that of polars, ends its process where
# an allocation is refused, and RLIMIT_AS counts what a process has reserved and never used.

MEMORY_LOOK_SECONDS = 0.1


class MemoryLimit:
    """A thread of the parent that compares the children's memory with what they had when their attempts began."""

    def __init__(self, table: SlotTable, stopper: BodyStopper, limit: int | None) -> None:
        """`limit` is the number of bytes that an attempt may take; None for no limit, and then no thread starts."""
        self._table, self._stopper, self._limit = table, stopper, limit
        self._stopping = threading.Event()

    def start(self) -> None:
        if self._limit is None:
            return
        if private_bytes(os.getpid()) is None:
            logger.warning(
                "TASK_MEMORY_BYTES has no effect: this system does not tell the memory of a process in /proc"
            )
            return
        self._stopping.clear()
        threading.Thread(target=self._run, args=(self._limit,), name="memory-limit", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self, limit: int) -> None:
        while not self._stopping.wait(MEMORY_LOOK_SECONDS):
            self.look(limit)

    def look(self, limit: int) -> None:
        """Kill the bodies whose processes have taken more than `limit` bytes since the attempts began."""
        for state in self._table.busy():
            if not state.in_body:
                continue
            size = private_bytes(state.pid)
            if size is not None and size > state.memory + limit:
                taken = (size - state.memory) >> 20
                logger.error("task %s: its process has taken %d MiB, and is killed", state.task_id, taken)
                self._stopper.kill(state, Stop.OUT_OF_MEMORY)


# -- Ends the bodies of a worker that cannot beat, before another worker may start their tasks -------------------------
# Two thirds of the lease after the last heartbeat that got through. A thread apart from the one that beats, which may
# hang on a connection that has gone silent. A child whose body has ended is left alone: it runs nothing twice, and the
# database refuses an outcome that comes too late. Until a heartbeat gets through again, the children take nothing: one
# of them may reach the database before its parent does.

HEARTBEAT_LOOK_SECONDS = 0.25


class HeartbeatGuard:
    """Watches the heartbeat; `beaten` reports one."""

    def __init__(self, stopper: BodyStopper, table: SlotTable, lease_seconds: float) -> None:
        self._stopper = stopper
        self._table = table
        self._allowed = lease_seconds * 2 / 3
        self._last_beat = 0.0
        self._stopping = threading.Event()

    def start(self) -> None:
        self._last_beat = time.monotonic()
        self._stopping.clear()
        threading.Thread(target=self._run, name="heartbeat-guard", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def beaten(self, sent: float) -> None:
        """Note that a heartbeat which was sent at this moment (monotonic seconds) has been committed."""
        self._last_beat = sent

    def _run(self) -> None:
        while not self._stopping.wait(HEARTBEAT_LOOK_SECONDS):
            silent = time.monotonic() - self._last_beat
            self._table.is_cut_off = silent > self._allowed
            if self._table.is_cut_off:
                self._end_bodies(silent)

    def _end_bodies(self, silent: float) -> None:
        for state in living(self._table.busy()):
            if state.phase is Phase.RUNNING:
                logger.error("no heartbeat for %.0f s: the body of task %s is ended", silent, state.task_id)
                self._stopper.kill(state, Stop.NO_HEARTBEAT)
