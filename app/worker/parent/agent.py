"""The worker's parent process and the database: its heartbeat, the losses of its children, the bodies to be stopped.

A thread of its own, because Celery's event loop must not wait for a database. Every few seconds one UPDATE, and, while
anything runs, one query a second, whatever the number of tasks.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.exc import DBAPIError

from app.core.config import Settings
from app.db.outage import first_line, is_outage, is_passing
from app.db.postgresql import workers
from app.db.session import SessionLocal, transaction
from app.models.task import Task, TaskStatus
from app.services.execution import rescue
from app.worker.parent import held_attempts
from app.worker.parent.body_stopper import BodyStopper, living
from app.worker.parent.completions import Completions
from app.worker.parent.heartbeat_guard import HeartbeatGuard
from app.worker.parent.held_attempts import HeldAttempt
from app.worker.parent.stall_detector import StallDetector
from app.worker.shared.delivery import DELIVERY_LEASES
from app.worker.shared.slot_table import STOP_TEXTS, SlotTable, Stop

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
LOOK_SECONDS = 1.0
_OUTCOME = select(Task.status, Task.attempt, Task.error_message)
_FOLLOWS = {TaskStatus.PENDING: "the task runs again", TaskStatus.REVOKED: "the task is revoked"}


@dataclass(frozen=True)
class Loss:
    """The child that ran this task's attempt is gone.

    `overran` is the attempt's hard time limit in seconds, where that killed it; `how` is for the log.
    """

    task_id: UUID
    pid: int
    overran: float | None
    how: str = field(default="no child runs it any more", compare=False)


@dataclass(frozen=True)
class Node:
    """What the worker says of itself in `worker_processes`, and how its consumer is started anew."""

    name: str
    pid: int
    queues: Callable[[], tuple[str, ...]]
    concurrency: int
    restart_consumer: Callable[[], None]


class Agent:
    """Beats and reports for one worker process. Started by the worker's bootstep, stopped when it has shut down."""

    def __init__(
        self,
        worker_id: UUID,
        settings: Settings,
        table: SlotTable,
        stopper: BodyStopper,
        completions: Completions,
    ) -> None:
        self._worker_id = worker_id
        self._settings = settings
        self._table = table
        self._stopper = stopper
        self._completions = completions
        self._guard = HeartbeatGuard(stopper, table, settings.worker_lease_seconds)
        self._stall: StallDetector | None = None
        self._node: Node | None = None
        self._losses: SimpleQueue[Loss] = SimpleQueue()
        self._unwritten: list[Loss] = []
        self._suspects: set[HeldAttempt] = set()
        self._next_beat = 0.0
        self._hand_back_at: float | None = None
        self._leaves_at_once = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, node: Node) -> None:
        """Register the worker and go on beating for it."""
        self._node = node
        self._stall = StallDetector(self._table, node.queues, node.concurrency)
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._thread.start()
        self._guard.start()

    def report(self, loss: Loss) -> None:
        """Have the row say what became of the attempt, as soon as the database can be reached. Never blocks."""
        self._losses.put(loss)

    def shut_down(self, grace_seconds: float) -> None:
        """The worker takes no more tasks: give back what still runs after so many seconds. For a signal's handler."""
        self._hand_back_at = time.monotonic() + grace_seconds
        self._leaves_at_once = not grace_seconds

    @property
    def is_leaving(self) -> bool:
        return self._hand_back_at is not None

    @property
    def patience(self) -> float:
        """For how many seconds to go on writing the outcomes that the children have left behind."""
        return STOP_SECONDS if self._leaves_at_once else self._settings.worker_lease_seconds * DELIVERY_LEASES

    def stop(self) -> None:
        """Give back what this worker still holds and say that it has stopped. Waits for a few seconds at most."""
        if self._thread is None:
            return
        self._guard.stop()
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        self._thread = None
        # A thread of its own: a database that has fallen silent must not keep the process from ending.
        goodbye = threading.Thread(target=self._attempt, args=(self._say_goodbye,), name="goodbye", daemon=True)
        goodbye.start()
        goodbye.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if time.monotonic() >= self._next_beat:
                self._attempt(self._beat)
                self._attempt(self._look)
                self._attempt(self._restart_if_stalled)
            elif self._table.busy():
                self._attempt(self._look)
            self._attempt(self._write_losses)
            self._wait(LOOK_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Until the next look is due, a loss comes in, or the worker stops (within half a second)."""
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            try:
                self._unwritten.append(self._losses.get(timeout=min(0.5, left)))
            except Empty:
                continue
            return

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if is_passing(error):
                logger.warning("worker agent: the database does not answer: %s", first_line(error))
            else:
                logger.exception("worker agent")

    # -- the heartbeat -----------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        assert self._node is not None
        begun = time.monotonic()
        row = {
            "name": self._node.name,
            "pid": self._node.pid,
            "queues": list(self._node.queues()),
            "concurrency": self._node.concurrency,
        }
        with SessionLocal() as db, transaction(db):
            workers.beat(db, self._worker_id, row)
        self._guard.beaten(begun)
        self._next_beat = begun + self._settings.worker_heartbeat_seconds

    def _restart_if_stalled(self) -> None:
        assert self._node is not None
        if self._stall is not None and self._hand_back_at is None and self._stall.is_stalled():
            logger.error("no message arrives although messages wait: the consumer is started anew")
            self._node.restart_consumer()

    # -- what must stop ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Compare the rows of this worker with its children, and stop what must not go on."""
        before = living(self._table.busy())
        with SessionLocal() as db:
            held = held_attempts.read(db, self._worker_id)
        after = living(self._table.busy())
        for state in held_attempts.cancelled(held, after):
            self._stopper.stop(state, Stop.CANCELLED)
        for state in held_attempts.lost(held, before, after):
            self._stopper.stop(state, Stop.LOST)
        if self._hand_back_at is not None and time.monotonic() >= self._hand_back_at:
            for state in after:
                if state.in_body:
                    self._stopper.stop(state, Stop.HANDED_BACK)
        self._stopper.forget(after)
        self._end_orphans(held_attempts.orphans(held, list(self._table.used()), self._completions.held()))

    def _end_orphans(self, orphans: list[HeldAttempt]) -> None:
        again = [row for row in orphans if row in self._suspects]
        self._suspects = set(orphans)
        for row in again:
            loss = Loss(row.task_id, row.pid, overran=None)
            if loss not in self._unwritten:  # it may have to wait for long, and each entry costs a try at every look
                self._unwritten.append(loss)

    # -- what was lost -----------------------------------------------------------------------------------------------

    def _write_losses(self) -> None:
        while True:
            try:
                self._unwritten.append(self._losses.get_nowait())
            except Empty:
                break
        for loss in list(self._unwritten):
            if self._still_holds(loss):
                continue
            try:
                self._write_loss(loss)
            except DBAPIError as error:
                if is_outage(error):
                    raise
                logger.warning("the loss of task %s could not be written yet: %s", loss.task_id, first_line(error))
            else:
                self._unwritten.remove(loss)

    def _still_holds(self, loss: Loss) -> bool:
        """The child was told to end and is not gone yet: until then no other worker may start the task."""
        busy = any((state.pid, state.task_id) == (loss.pid, loss.task_id) for state in living(self._table.busy()))
        return busy or any(loss.task_id == task_id for task_id, _ in self._completions.held())

    def _write_loss(self, loss: Loss) -> None:
        # This task, run by this worker, in the child that is gone: another attempt of it matches nothing here.
        attempt = (Task.id == loss.task_id, Task.worker_id == self._worker_id, Task.worker_pid == loss.pid)
        why = self._stopper.why_ended(loss.task_id, loss.pid)
        if why is None and self._hand_back_at is not None:
            why = Stop.HANDED_BACK  # a signal to the whole group has reached the child as well
        with SessionLocal() as db, transaction(db):
            workers.limit_lock_waits(db)
            if loss.overran is not None:
                ended = rescue.overran(db, loss.overran, *attempt)
            elif why is not None:
                ended = rescue.handed_back(db, STOP_TEXTS[why], *attempt)
            else:
                ended = rescue.lost(db, *attempt)
            outcome = db.execute(_OUTCOME.where(Task.id == loss.task_id)).one() if ended else None
        _tell(loss, loss.how if why is None else STOP_TEXTS[why], outcome)

    def _say_goodbye(self) -> None:
        """Give back what is left (its children are gone by now) and say that this worker beats no more."""
        self._write_losses()
        with SessionLocal() as db, transaction(db):
            workers.limit_lock_waits(db)
            rescue.handed_back(db, STOP_TEXTS[Stop.HANDED_BACK], Task.worker_id == self._worker_id)
            workers.say_stopped(db, self._worker_id)


def _tell(loss: Loss, why: str, outcome: Row[TaskStatus, int, str | None] | None) -> None:
    """Log in one line which child died, and what follows for its task."""
    if outcome is None:
        logger.warning("process %d ended (%s): it no longer held an attempt of task %s", loss.pid, why, loss.task_id)
        return
    status, attempt, error = outcome
    has_failed = status == TaskStatus.FAILED
    logger.log(
        logging.ERROR if has_failed else logging.WARNING,
        "task %s: attempt %d ended with its process %d (%s): %s",
        loss.task_id,
        attempt,
        loss.pid,
        why,
        f"the task has failed: {error}" if has_failed else _FOLLOWS[TaskStatus(status)],
    )
