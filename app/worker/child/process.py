"""The one object of a process that runs attempts: a pool child, or the worker itself in a pool that does not fork."""

import os
import signal
import time
from dataclasses import dataclass, field
from uuid import UUID

from billiard import current_process

from app.core.config import Settings, get_settings
from app.core.fork import PerProcess
from app.core.ids import new_id
from app.services.execution.attempts import WorkerIdentity
from app.worker.child.flusher import Flusher
from app.worker.child.slot import Slot
from app.worker.child.task_logs import TaskLogs
from app.worker.child.tasks_left import TasksLeft
from app.worker.shared.hand_over import HandOver
from app.worker.shared.rate_limits import RateLimits
from app.worker.shared.slot_table import STOP_SIGNAL, SlotTable

LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class ChildProcess:
    """What every attempt in this process uses. `worker_id` is the worker's incarnation, shared by all its children."""

    worker_id: UUID
    settings: Settings
    slot: Slot = field(default_factory=Slot)
    hand_over: HandOver = field(default_factory=HandOver)
    tasks_left: TasksLeft = field(default_factory=TasksLeft)
    of_worker: SlotTable = field(default_factory=lambda: SlotTable(0))
    """What the parent says to all its children."""
    rate_limits: RateLimits = field(default_factory=lambda: RateLimits({}))
    logs: TaskLogs | None = None
    """Where the lines of bodies go; None where none are kept."""
    pid: int = field(default_factory=os.getpid)  # asked once: it is a system call
    flusher: Flusher = field(init=False)
    """What writes the lines and the output of running bodies. There before any of their threads, which share it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "flusher", Flusher(self.settings.progress_interval_seconds))

    def is_leaving(self) -> bool:
        """Whether the worker shuts down: this process takes nothing more."""
        return self.of_worker.is_leaving

    def is_cut_off(self) -> bool:
        """Whether the worker's heartbeats do not get through: a row that it took would soon be another worker's."""
        return self.of_worker.is_cut_off

    def wait_for_parent(self, until: float) -> bool:
        """Wait until the parent is not behind with writing, or it is `until` (monotonic seconds). Whether it is not.

        What the parent has not written runs again where the worker dies: claims that are faster than ends must not add
        to it for ever.
        """
        while self.of_worker.is_behind or self.hand_over.is_full():
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def identity(self, node_name: str) -> WorkerIdentity:
        """This process as a claim names it: the node's name, the worker's incarnation, the process id."""
        return WorkerIdentity(node_name, self.worker_id, self.pid)


def start_child(
    worker_id: UUID, table: SlotTable, hand_over: HandOver, tasks_left: TasksLeft, rate_limits: RateLimits
) -> None:
    """Runs in a forked child: take the slot of its index, which no other living child has."""
    settings = get_settings()
    hand_over.become_child()
    slot = Slot()
    number = getattr(current_process(), "index", None)
    if STOP_SIGNAL is not None and number is not None and number < len(table):
        slot = Slot(table, number, os.getpid(), tells_memory=settings.task_memory_bytes is not None)
        signal.signal(STOP_SIGNAL, slot.on_signal)
    child_process.replace(
        ChildProcess(
            worker_id,
            settings,
            slot,
            hand_over,
            tasks_left,
            of_worker=table,
            rate_limits=rate_limits,
            logs=TaskLogs.of(settings),
        )
    )


def _outside_a_worker() -> ChildProcess:
    return ChildProcess(new_id(), get_settings())


child_process = PerProcess(_outside_a_worker)
