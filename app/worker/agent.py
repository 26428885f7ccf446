"""The worker's parent process and the database: one heartbeat, and the losses of its children.

A thread of its own, because Celery's event loop must not wait for a database. One UPDATE every few seconds, whatever
the number of tasks.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from uuid import UUID

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert

from app.core.config import get_settings
from app.db.outage import is_outage
from app.db.session import SessionLocal, transaction
from app.models.task import Task
from app.models.worker import WorkerProcess
from app.services import rescue
from app.services.transitions import NOW
from app.worker.identity import WORKER_ID

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Loss:
    """The child that ran this task's attempt is gone; `overran` is its hard time limit where that killed it."""

    task_id: UUID
    pid: int
    overran: float | None


@dataclass(frozen=True)
class Node:
    """What the worker says of itself in `worker_processes`."""

    name: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int


class Agent:
    """Beats and reports for one worker process. Started by the worker's bootstep, stopped when it has shut down."""

    def __init__(self) -> None:
        self._node: Node | None = None
        self._losses: SimpleQueue[Loss] = SimpleQueue()
        self._unwritten: list[Loss] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, node: Node) -> None:
        """Register the worker and go on beating for it."""
        self._node = node
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._thread.start()

    def report(self, loss: Loss) -> None:
        """Have the row say what became of the attempt, as soon as the database can be reached. Never blocks."""
        self._losses.put(loss)

    def stop(self) -> None:
        """Say goodbye: what this worker still holds is nobody's from now on."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        self._thread = None
        self._attempt(self._say_goodbye)

    def _run(self) -> None:
        interval = get_settings().worker_heartbeat_seconds
        while not self._stopping.is_set():
            self._attempt(self._beat)
            self._attempt(self._write_losses)
            self._wait(interval)

    def _wait(self, seconds: float) -> None:
        """Until the next beat is due, a loss comes in, or the worker stops (within half a second)."""
        waited = 0.0
        while waited < seconds and not self._stopping.is_set():
            step = min(0.5, seconds - waited)
            try:
                self._unwritten.append(self._losses.get(timeout=step))
            except Empty:
                waited += step
            else:
                self._attempt(self._write_losses)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if is_outage(error):
                logger.warning("worker agent: the database is not reachable: %s", error)
            else:
                logger.exception("worker agent")

    def _beat(self) -> None:
        assert self._node is not None
        row = {
            "name": self._node.name,
            "pid": self._node.pid,
            "queues": list(self._node.queues),
            "concurrency": self._node.concurrency,
        }
        statement = (
            insert(WorkerProcess)
            .values(id=WORKER_ID, **row)
            .on_conflict_do_update(index_elements=[WorkerProcess.id], set_={"heartbeat_at": func.clock_timestamp()})
        )
        with SessionLocal() as db, transaction(db):
            db.execute(statement)

    def _write_losses(self) -> None:
        while True:
            try:
                self._unwritten.append(self._losses.get_nowait())
            except Empty:
                break
        while self._unwritten:
            loss = self._unwritten[0]
            # This task, run by this worker, in the child that is gone: another attempt of it matches nothing here.
            attempt = (Task.id == loss.task_id, Task.worker_id == WORKER_ID, Task.worker_pid == loss.pid)
            with SessionLocal() as db, transaction(db):
                if loss.overran is None:
                    rescue.lost(db, *attempt)
                else:
                    rescue.overran(db, loss.overran, *attempt)
            self._unwritten.pop(0)

    def _say_goodbye(self) -> None:
        self._write_losses()
        statement = update(WorkerProcess).where(WorkerProcess.id == WORKER_ID).values({"stopped_at": NOW})
        with SessionLocal() as db, transaction(db):
            db.execute(statement)


agent = Agent()
