"""The worker's parent process and the database: its heartbeat, the losses of its children, the bodies to be stopped.

A thread of its own, because Celery's event loop must not wait for a database. Every few seconds one UPDATE, and, while
anything runs, one query a second, whatever the number of tasks.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from app.core.config import get_settings
from app.db.outage import first_line, is_outage, is_passing
from app.db.session import SessionLocal, transaction
from app.models.task import Task
from app.models.worker import WorkerProcess
from app.services.execution import rescue
from app.services.execution.transitions import NOW
from app.worker.parent import held_attempts as holdings
from app.worker.parent.body_stopper import Warden, living
from app.worker.parent.completions import completions
from app.worker.parent.heartbeat_guard import Fence
from app.worker.parent.held_attempts import Holding
from app.worker.parent.stall_detector import StallDetector
from app.worker.shared.delivery import DELIVERY_LEASES
from app.worker.shared.identity import WORKER_ID
from app.worker.shared.slot_table import WHY, Stop, board

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
LOOK_SECONDS = 1.0
# Somebody may hold the row of one task for long: the heartbeat, and with it all the others, must not wait for that.
LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '500ms'")


@dataclass(frozen=True)
class Loss:
    """The child that ran this task's attempt is gone; `overran` is its hard time limit where that killed it."""

    task_id: UUID
    pid: int
    overran: float | None


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

    def __init__(self) -> None:
        self.warden = Warden(board)
        self._fence = Fence(self.warden, board)
        self._stall: StallDetector | None = None
        self._node: Node | None = None
        self._losses: SimpleQueue[Loss] = SimpleQueue()
        self._unwritten: list[Loss] = []
        self._suspects: set[Holding] = set()
        self._next_beat = 0.0
        self._hand_back_at: float | None = None
        self._leaves_at_once = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, node: Node) -> None:
        """Register the worker and go on beating for it."""
        self._node = node
        self._hand_back_at = None
        self._stall = StallDetector(board, node.queues, node.concurrency)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._thread.start()
        self._fence.start()

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
        """For how many seconds the ends that its children have left behind may still be tried to be written."""
        return STOP_SECONDS if self._leaves_at_once else get_settings().worker_lease_seconds * DELIVERY_LEASES

    def stop(self) -> None:
        """Say goodbye: what this worker still holds is nobody's from now on. Waits for a few seconds at most."""
        if self._thread is None:
            return
        self._fence.stop()
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
                self._attempt(self._see_to_arrivals)
            elif board.busy():
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
                logger.warning("worker agent: the database has no answer: %s", first_line(error))
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
        statement = (
            insert(WorkerProcess)
            .values(id=WORKER_ID, **row)
            .on_conflict_do_update(index_elements=[WorkerProcess.id], set_={"heartbeat_at": NOW, "stopped_at": None})
        )
        with SessionLocal() as db, transaction(db):
            db.execute(statement)
        self._fence.beaten(begun)
        self._next_beat = begun + get_settings().worker_heartbeat_seconds

    def _see_to_arrivals(self) -> None:
        assert self._node is not None
        if self._stall is not None and self._hand_back_at is None and self._stall.is_stalled():
            logger.error("nothing arrives although messages wait: the consumer is started anew")
            self._node.restart_consumer()

    # -- what must stop ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Hold the rows of this worker against its children, and stop what must not go on."""
        before = living(board.busy())
        with SessionLocal() as db:
            held = holdings.read(db)
        after = living(board.busy())
        for sight in holdings.cancelled(held, after):
            self.warden.stop(sight, Stop.CANCELLED)
        for sight in holdings.not_ours(held, before, after):
            self.warden.stop(sight, Stop.LOST)
        if self._hand_back_at is not None and time.monotonic() >= self._hand_back_at:
            for sight in after:
                if sight.in_body:
                    self.warden.stop(sight, Stop.HANDED_BACK)
        self.warden.forget(after)
        self._end_orphans(holdings.orphans(held, list(board.taken()), completions.held()))

    def _end_orphans(self, orphans: list[Holding]) -> None:
        again = [row for row in orphans if row in self._suspects]
        self._suspects = set(orphans)
        for row in again:
            logger.error("task %s: no child runs its attempt %d any more", row.task_id, row.attempt)
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
        """The child was told to end and is not gone yet: until then nobody else may start the task."""
        busy = any((sight.pid, sight.task_id) == (loss.pid, loss.task_id) for sight in living(board.busy()))
        return busy or any(loss.task_id == task_id for task_id, _ in completions.held())

    def _write_loss(self, loss: Loss) -> None:
        # This task, run by this worker, in the child that is gone: another attempt of it matches nothing here.
        attempt = (Task.id == loss.task_id, Task.worker_id == WORKER_ID, Task.worker_pid == loss.pid)
        ours = self.warden.given_up(loss.task_id, loss.pid)
        if ours is None and self._hand_back_at is not None:
            ours = Stop.HANDED_BACK  # a signal to the whole group has reached the child as well
        with SessionLocal() as db, transaction(db):
            db.execute(LOCK_TIMEOUT)
            if loss.overran is not None:
                rescue.overran(db, loss.overran, *attempt)
            elif ours is not None:
                rescue.handed_back(db, WHY[ours], *attempt)
            else:
                rescue.lost(db, *attempt)

    def _say_goodbye(self) -> None:
        """Give back what is left (its children are gone by now) and tell the keeper that nobody beats any more."""
        self._write_losses()
        with SessionLocal() as db, transaction(db):
            db.execute(LOCK_TIMEOUT)
            rescue.handed_back(db, WHY[Stop.HANDED_BACK], Task.worker_id == WORKER_ID)
            db.execute(update(WorkerProcess).where(WorkerProcess.id == WORKER_ID).values({"stopped_at": NOW}))


agent = Agent()
