"""The one object of a process that runs attempts, and its parts: its slot, the count of its tasks, the writing thread.

Such a process is a pool child, or the worker itself in a pool that does not fork.
"""

import logging
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Protocol
from uuid import UUID

from billiard import current_process
from celery import signals

from app.core.config import Settings, get_settings
from app.core.fork import PerProcess
from app.core.ids import new_id
from app.core.task_bodies import ServiceThread
from app.db.outage import first_line
from app.db.sql import prepared
from app.messaging import hints
from app.services.execution.attempts import WorkerIdentity
from app.worker.child.log_capture import TaskLogs
from app.worker.shared.delivery import Undeliverable, deliver
from app.worker.shared.hand_over import HandOver
from app.worker.shared.memory import private_bytes
from app.worker.shared.rate_limits import RateLimits
from app.worker.shared.slot_table import NO_LIMITS, NO_TASK, STOP_SIGNAL, Deadlines, Phase, SlotState, SlotTable, Stop

logger = logging.getLogger(__name__)

StopListener = Callable[[Stop], None]


def _nothing() -> None:
    pass


class Slot:
    """This child's slot in the table. Without one (a pool that does not fork) nothing is written and no order comes."""

    def __init__(
        self, table: SlotTable | None = None, number: int = 0, pid: int = 0, *, tells_memory: bool = False
    ) -> None:
        """`tells_memory`: the parent is to see how much memory the process had when an attempt began."""
        self._tells_memory, self._memory = tells_memory, 0
        self._table, self._number, self._pid = table, number, pid
        self._claims, self._claimed_at, self._left, self._begun = 0, 0.0, 0, 0
        self._named: tuple[int, UUID] = (-1, NO_TASK)
        self._state: tuple[UUID, int] = (NO_TASK, 0)
        self._deadlines = NO_LIMITS
        self._listener: StopListener | None = None
        if table is not None:
            table.take_over(number)
            self._begun = table.read(number).begun
        self.idle()

    @property
    def is_seen(self) -> bool:
        """Return whether the parent sees what is written here."""
        return self._table is not None

    def idle(self) -> None:
        """Say that this process holds no row any more: one that names it is an orphan."""
        self._left = 0
        self._write(Phase.IDLE, NO_TASK, 0)

    def claiming(self) -> None:
        self._claims += 1
        self._left = 0
        self._write(Phase.CLAIMING, NO_TASK, 0)

    def running(
        self,
        task_id: UUID,
        attempt: int,
        deadlines: Deadlines = NO_LIMITS,
        claimed_at: float = 0.0,
        left: int = 0,
        named: tuple[int, UUID] = (-1, NO_TASK),
    ) -> None:
        """`claimed_at` and `left` as in `SlotState`; `named` are its `task_name` and `celery_id`."""
        self._claimed_at, self._left, self._named = claimed_at, left, named
        self._begun += 1
        self._deadlines = deadlines
        if self._tells_memory:
            self._memory = private_bytes(self._pid) or 0
        self._write(Phase.RUNNING, task_id, attempt, deadlines)

    def not_begun(self) -> None:
        """Drop the deadlines of the row that `running` named last: it is given back before its body."""
        self._begun -= 1
        self._deadlines = NO_LIMITS
        self._write(Phase.RUNNING, *self._state)

    def settled(self) -> None:
        self._deadlines = NO_LIMITS
        self._write(Phase.SETTLED, *self._state)

    def delivering(self) -> None:
        """Say that the body has ended. The deadlines stay: the end, too, has to be written in time."""
        self._write(Phase.DELIVERING, *self._state, self._deadlines)

    def soft_limit_met(self) -> Callable[[], None]:
        """Return what notes that the soft time limit has reached the attempt that is in the slot now."""
        return _nothing if self._table is None else partial(self._table.soft_limit_met, self._number, self._begun)

    def order(self) -> Stop | None:
        """Return why the attempt in this slot must stop, or None."""
        return None if self._table is None else self._table.ordered(self._number, *self._state)

    @contextmanager
    def listening(self, listener: StopListener) -> Iterator[None]:
        """Pass an order for the attempt in the slot to `listener`, in the main thread, while the block runs.

        The order may be older than the block: it is looked for once at its start.
        """
        try:
            self._listener = listener
            self.on_signal()
            yield
        finally:
            self._listener = None

    def on_signal(self, *_: object) -> None:
        """Handle STOP_SIGNAL: pass an order on, once, where a body listens and the order names its attempt."""
        listener, why = self._listener, self.order()
        if listener is None and why is Stop.SOFT_TIME_LIMIT:
            self.soft_limit_met()()  # before the body, which is told at its start, or after it
        if listener is not None and why is not None:
            if why is not Stop.SOFT_TIME_LIMIT:  # which a body may catch, and go on until another order
                self._listener = None  # first: what the listener raises must not meet a second order on its way out
            listener(why)

    def _write(self, phase: Phase, task_id: UUID, attempt: int, deadlines: Deadlines = NO_LIMITS) -> None:
        self._state = (task_id, attempt)
        if self._table is not None:
            extra = (deadlines, self._claimed_at, self._left, self._begun, *self._named, self._memory)
            state = SlotState(self._number, self._pid, self._claims, phase, attempt, task_id, *extra)
            self._table.write(state)


# -- How many tasks a pool process runs until another one takes its place ----------------------------------------------
# `--max-tasks-per-child` counts tasks: rows and plain messages, and no wake-ups, in which Celery's pool would count.
# `--max-memory-per-child` is the pool's own: it looks at the memory after each message, so after each wake-up.


class TasksLeft:
    """How many tasks this process runs until another one takes its place; without a limit it goes on for ever.

    `may_end`: whether it is a process of a pool that puts another one in its place.
    """

    def __init__(self, most: int | None = None, *, may_end: bool = False) -> None:
        self.number = math.inf if most is None else most
        self._may_end = may_end

    def end(self) -> bool:
        """Have this process run no task any more, and end. Returns False where it goes on."""
        if self._may_end:
            self.number = 0
        return self._may_end

    def count(self, task: Any, **_: Any) -> None:
        """Count one more that is begun. Receives `task_prerun`."""
        if not task.request.is_eager:  # one that the body calls with `apply()` is a part of it
            self.number -= 1


def count_tasks(of_worker: SlotTable) -> TasksLeft:
    """Take the count of its tasks over from the pool, before a pool process takes messages."""
    loop: Any = getattr(current_process(), "_target", None)  # billiard's `Worker`, which it passes to no signal
    most = getattr(loop, "maxtasks", None)
    left = TasksLeft(most, may_end=loop is not None)
    if most is not None:
        loop.maxtasks = None
        signals.task_prerun.connect(left.count, weak=False)
    if loop is not None:
        loop.wait_for_job = _until_none_is_left(left, loop.wait_for_job)
        loop.on_ready_counter = ReadAnswers(loop.on_ready_counter, of_worker)
    return left


class ReadAnswers:
    """How many answers of this process the parent has read: the process waits for that at its end, up to 30 s.

    All of them, once the worker leaves. What its loop has not read by its end may be read by nobody: Celery has
    forgotten messages whose acceptance it had not read. The broker sends those again; outcomes of rows go another way.
    """

    def __init__(self, counter: Any, of_worker: SlotTable) -> None:
        self._counter, self._of_worker = counter, of_worker

    @property
    def value(self) -> float:
        return math.inf if self._of_worker.is_leaving else float(self._counter.value)


def _until_none_is_left(left: TasksLeft, wait_for_job: Callable[[], Any]) -> Callable[[], Any]:
    """End the process where the pool's own function would when it is told to shut down: it holds no message there."""

    def wait() -> Any:
        if left.number <= 0:
            raise SystemExit
        return wait_for_job()

    return wait


# -- The thread of a pool process that writes what running bodies log and emit, several times a second -----------------

# After a failed try. What comes meanwhile is kept in bounds.
FLUSH_PAUSE_SECONDS = 2.0
# Writing takes a fifth of the time at most, however fast a body logs: the interpreter's lock is the body's.
FLUSH_SHARE = 4


class Waiting(Protocol):
    """What one attempt has to write. `what` names it in the worker's log."""

    what: ClassVar[str]
    task_id: UUID

    def write(self, db: prepared.PreparedConnection) -> None:
        """Write what waits. It still waits where this raises."""

    def give_up(self, why: str) -> None:
        """Give up what the database refuses."""


class Flusher:
    """Writes what has called `wake`, `interval` seconds later. Starts with the first one."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._woken: deque[Waiting] = deque()
        self._some = threading.Event()
        self._thread = ServiceThread(self._run, "task-logs")

    def wake(self, waiting: Waiting) -> None:
        """Say that there is something to write. Called from the body: takes time only once in the process."""
        self._woken.append(waiting)
        self._thread.start()
        self._some.set()

    def _run(self) -> None:
        pause = self._interval
        while True:
            self._some.wait()
            time.sleep(pause)
            self._some.clear()
            begun = time.monotonic()
            try:
                failed = not self.flush()
            except BaseException:  # no other thread writes it meanwhile
                logger.exception("what bodies have written waits: an unexpected error")
                self._some.set()
                failed = True
            pause = FLUSH_PAUSE_SECONDS if failed else max(self._interval, FLUSH_SHARE * (time.monotonic() - begun))

    def flush(self) -> bool:
        """Write what waits. Returns False where that was not possible, and will be tried again."""
        done = True
        for _ in range(len(self._woken)):
            waiting, is_written = self._woken.popleft(), False
            try:
                is_written = self._write(waiting)
            finally:
                if not is_written:
                    self._woken.append(waiting)
                    self._some.set()
                    done = False
        return done

    def _write(self, waiting: Waiting) -> bool:
        try:
            deliver(waiting.write, seconds=0)
        except Undeliverable as error:
            logger.warning("%s of task %s wait: %s", waiting.what, waiting.task_id, error)
            return False
        except Exception as error:  # noqa: BLE001 (what others wait for is still to be written)
            waiting.give_up(first_line(error))
            return True
        try:
            hints.changed(waiting.task_id)
        except BaseException:  # it is written: who follows finds it a little later
            logger.exception("no hint that task %s has new %s", waiting.task_id, waiting.what)
        return True


# -- The object with all parts, and how a process gets it --------------------------------------------------------------

PARENT_LOOK_SECONDS = 0.005


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
        """Return whether the worker shuts down: this process takes nothing more."""
        return self.of_worker.is_leaving

    def is_cut_off(self) -> bool:
        """Return whether no heartbeat gets through: a row that the worker took would soon be another worker's."""
        return self.of_worker.is_cut_off

    def wait_for_parent(self, until: float) -> bool:
        """Wait until the parent is not behind with writing, or it is `until` (monotonic seconds). Whether it is not.

        What the parent has not written runs again where the worker dies: claims that are faster than ends must not add
        to it for ever.
        """
        while self.of_worker.is_behind or self.hand_over.is_full():
            if time.monotonic() >= until:
                return False
            time.sleep(PARENT_LOOK_SECONDS)
        return True

    def identity(self, node_name: str) -> WorkerIdentity:
        """Return this process as a claim names it: the node's name, the worker's incarnation, the process id."""
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
    logs = TaskLogs.of(settings)
    child_process.replace(ChildProcess(worker_id, settings, slot, hand_over, tasks_left, table, rate_limits, logs))


def _outside_a_worker() -> ChildProcess:
    return ChildProcess(new_id(), get_settings())


child_process = PerProcess(_outside_a_worker)
