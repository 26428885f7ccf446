"""Workers: which there are, which tasks they can run, what they run, and their drain.

Each function that opens a transaction is one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.origin import current_actor
from app.core.served_tasks import served_tasks
from app.db.session import transaction
from app.db.statements import claim_holds, reads, workers
from app.errors import WorkerNotFound
from app.models.queue import HoldKind
from app.models.worker import WorkerEvent, WorkerProcess, WorkerState
from app.services import audit
from app.services.audit import Subject

# How many tasks are looked at for those of a worker, and how many are shown.
LOOK, SHOWN = 10_000, 20


@dataclass
class WorkerInfo:
    """A worker as `GET /workers/` shows it. `running` are rows of its running tasks."""

    name: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int
    running: Sequence[Any]
    started_at: datetime
    last_heartbeat_at: datetime
    state: WorkerState
    processed: int
    version: str | None
    memory_bytes: int | None
    build_id: str | None = None
    task_names: Sequence[str] | None = None
    facts: Mapping[str, Any] | None = None


def list_workers(db: Session, name: str | None = None) -> list[WorkerInfo]:
    """Return the workers that have not stopped, by name, with the tasks that they run; with `name` that one alone."""
    found = workers.not_stopped(db, worker_lease(), name)
    running: dict[Any, list[Any]] = {}
    for task in workers.running_on(db, [worker.id for worker, _ in found]):
        running.setdefault(task.worker_id, []).append(task)
    draining = {held for held, *_ in claim_holds.held(db, HoldKind.WORKER)}
    return [
        _state_of(worker, running.get(worker.id, []), lost=lost, draining=str(worker.id) in draining)
        for worker, lost in found
    ]


def get_worker(db: Session, name: str) -> WorkerInfo:
    """Return one of them. Raises WorkerNotFound."""
    for worker in list_workers(db, name):
        return worker
    raise WorkerNotFound


def last_tasks(db: Session, name: str) -> Sequence[Any]:
    """Return the newest tasks whose last attempt a worker of this name ran, of the newest LOOK of all tasks."""
    reads.limit_read(db, get_settings().costly_read_seconds)
    return workers.newest_of(db, name, LOOK, SHOWN)


def lost_attempts(db: Session, name: str) -> Sequence[Any]:
    """Return the attempts that were lost with a worker of this name, with what became of the task, by the same look."""
    reads.limit_read(db, get_settings().costly_read_seconds)
    return workers.lost_attempts_of(db, name, LOOK, SHOWN)


def drain_worker(db: Session, name: str, *, commit: bool = True) -> WorkerInfo:
    """Let this worker begin nothing, from the commit on, and leave once what it runs has ended.

    What outlasts SHUTDOWN_GRACE_SECONDS is handed back. All claims wait from this call to the commit. A second time
    does nothing. Raises WorkerNotFound, also for a worker that is lost.
    """
    with transaction(db, commit=commit):
        for worker, lost in workers.not_stopped(db, worker_lease(), name):
            if lost:
                break
            if not claim_holds.is_held(db, HoldKind.WORKER, str(worker.id)):
                actor = current_actor()
                audit.record(db, WorkerEvent.DRAINED, Subject("worker", name))
                claim_holds.hold(db, HoldKind.WORKER, str(worker.id), None, actor.id if actor else None)
            return get_worker(db, name)
        raise WorkerNotFound


def _state_of(worker: WorkerProcess, running: list[Any], *, lost: bool, draining: bool) -> WorkerInfo:
    state = WorkerState.LOST if lost else WorkerState.DRAINING if draining else WorkerState.ALIVE
    return WorkerInfo(
        name=worker.name,
        host=worker.name.partition("@")[2],
        pid=worker.pid,
        queues=worker.queues,
        concurrency=worker.concurrency,
        running=running,
        started_at=worker.started_at,
        last_heartbeat_at=worker.heartbeat_at,
        state=state,
        processed=worker.processed,
        version=worker.version,
        memory_bytes=worker.memory_bytes,
        build_id=worker.build_id,
        task_names=worker.task_names,
        facts=worker.facts,
    )


# -- Which workers live, and which tasks they can run ------------------------------------------------------------------


def worker_lease() -> timedelta:
    """Return for how long after its last heartbeat a worker counts as living."""
    return timedelta(seconds=get_settings().worker_lease_seconds)


def look_at_workers(db: Session | Connection) -> None:
    """Read the workers, unless this process has done so within a second: one small SELECT."""
    served = served_tasks()
    if served.is_due():
        served.learn((worker.queues, worker.task_names) for worker in workers.live(db, worker_lease()))


def look_at_workers_for(db: Session | Connection, waits: Iterable[str | None]) -> None:
    """Look at the workers if a task is ready, by its `Task.waits`: the answer tells whether a worker knows it."""
    if "ready" in waits:
        look_at_workers(db)
