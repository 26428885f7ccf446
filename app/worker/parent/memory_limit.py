"""Kills bodies that take more memory than TASK_MEMORY_BYTES, before the kernel kills what it chooses.

The parent looks; no limit of the operating system is set. Native code, such as that of polars, ends its process where
an allocation is refused, and RLIMIT_AS counts what a process has reserved and never used.
"""

import logging
import os
import threading

from app.worker.parent.body_stopper import BodyStopper
from app.worker.shared.memory import private_bytes
from app.worker.shared.slot_table import SlotTable, Stop

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1


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
        while not self._stopping.wait(LOOK_SECONDS):
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
