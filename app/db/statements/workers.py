"""Workers: their heartbeats, those that are alive, and what they run."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, bindparam, exists, null, select, update
from sqlalchemy.orm import Session, aliased

from app.db.connections import of
from app.db.statements.writes import engine_name, upsert
from app.ddl.clock import NOW, STATEMENT_TIME
from app.ddl.columns import Base, Duration
from app.models.task import AttemptOutcome, Task, TaskAttempt, TaskStatus
from app.models.worker import WorkerProcess

_LOCK_SECONDS = 0.5
_TABLE = Base.metadata.tables[WorkerProcess.__tablename__]


class LiveWorker(NamedTuple):
    """A worker that sends heartbeats. `task_names` are the tasks that it can run; None if it does not say."""

    id: UUID
    name: str
    queues: list[str]
    concurrency: int
    task_names: list[str] | None


_LIVE = select(
    WorkerProcess.id, WorkerProcess.name, WorkerProcess.queues, WorkerProcess.concurrency, WorkerProcess.task_names
).where(
    WorkerProcess.stopped_at.is_(None),
    WorkerProcess.heartbeat_at > STATEMENT_TIME - bindparam("p_lease", type_=Duration),
)

_NEWER = aliased(WorkerProcess)


def live(db: Session | Connection, lease: timedelta) -> Sequence[LiveWorker]:
    """Return the workers that have sent a heartbeat within `lease`."""
    return [LiveWorker(*row) for row in db.execute(_LIVE, {"p_lease": lease})]


def not_stopped(db: Session, lease: timedelta, name: str | None) -> list[tuple[WorkerProcess, bool]]:
    """Return the last start of each name, unless stopped, by name; and whether it sent no heartbeat in `lease`."""
    newer = exists().where(_NEWER.name == WorkerProcess.name, _NEWER.started_at > WorkerProcess.started_at)
    lost = WorkerProcess.heartbeat_at <= STATEMENT_TIME - lease
    found = select(WorkerProcess, lost).where(WorkerProcess.stopped_at.is_(None), ~newer).order_by(WorkerProcess.name)
    if name is not None:
        found = found.where(WorkerProcess.name == name)
    return [(worker, silent) for worker, silent in db.execute(found)]


def running_on(db: Session, ids: Sequence[UUID]) -> Sequence[Any]:
    """Return id, worker_id, name, celery_task_name, started_at, progress of what these workers run, oldest first."""
    columns = (Task.id, Task.worker_id, Task.name, Task.celery_task_name, Task.started_at, Task.progress)
    running = select(*columns).where(Task.status == TaskStatus.RUNNING.value, Task.worker_id.in_(ids))
    return db.execute(running.order_by(Task.started_at)).all()


def newest_of(db: Session, name: str, look: int, limit: int) -> Sequence[Any]:
    """Return the newest tasks whose last attempt this worker ran, at most `limit`, among the newest `look` of all.

    No index has the worker of an ended task. Rows of id, name, celery_task_name, queue, status, started_at,
    finished_at, cancel_requested_at.
    """
    columns = ("id", "name", "celery_task_name", "queue", "status", "started_at", "finished_at", "cancel_requested_at")
    table = Task.__table__.c
    rows = select(*(table[each] for each in columns), table.worker).order_by(table.id.desc()).limit(look).subquery()
    found = select(*(rows.c[each] for each in columns)).where(rows.c.worker == name)
    return db.execute(found.order_by(rows.c.id.desc()).limit(limit)).all()


def lost_attempts_of(db: Session, name: str, look: int, limit: int) -> Sequence[Any]:
    """Return the attempts that were lost with this worker, the newest task first, among the newest `look` of all tasks.

    Rows of id, name, number, started_at, and of the task now: status, worker, cancel_requested_at.
    """
    newest = select(Task.id).order_by(Task.id.desc()).limit(look).subquery()
    of_worker = (TaskAttempt.worker == name, TaskAttempt.outcome == AttemptOutcome.WORKER_LOST)
    columns = (TaskAttempt.number, TaskAttempt.started_at, Task.status, Task.worker, Task.cancel_requested_at)
    found = (
        select(Task.id, Task.name, *columns)
        .join(TaskAttempt, TaskAttempt.task_id == Task.id)
        .join(newest, newest.c.id == TaskAttempt.task_id)
        .where(*of_worker)
    )
    return db.execute(found.order_by(Task.id.desc(), TaskAttempt.number.desc()).limit(limit)).all()


def say_stopped(db: Session, worker_id: UUID) -> None:
    """Note that this worker sends no more heartbeats: what it still holds may be rescued at once."""
    stopped = update(WorkerProcess).where(WorkerProcess.id == worker_id).values({"stopped_at": NOW})
    db.execute(stopped.execution_options(synchronize_session=False))


def beat(db: Session, worker_id: UUID, row: dict[str, Any], changing: dict[str, Any]) -> None:
    """Register the worker with these columns, or note that a registered one is alive, with those that change."""
    upsert(
        db,
        _TABLE,
        [{"id": worker_id, **row, **changing}],
        lambda _, new: {"heartbeat_at": NOW, "stopped_at": null(), **{name: new[name] for name in changing}},
    )


def limit_lock_waits(db: Session) -> None:
    """Have statements of this transaction fail after waiting for a row lock: for one second on MySQL.

    SQLite has no row locks: there it may wait for the one writer for as long as any other statement.
    """
    of(engine_name(db)).limit_lock_waits(db.connection(), _LOCK_SECONDS)
