"""The keeper's passes over the table. Each is one short transaction, or several in batches, and may run twice."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, exists, func, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.batches import batch
from app.db.session import transaction
from app.messaging import hints
from app.models.task import TERMINAL, Task, TaskStatus
from app.models.worker import WorkerProcess
from app.services.execution import rescue
from app.services.execution.transitions import NOW, STATEMENT_TIME, transition

BATCH = 500

# Rows of workers that have been gone for this long tell nobody anything.
FORGET_WORKERS_AFTER = timedelta(days=1)

PENDING = Task.status == TaskStatus.PENDING.value
RUNNING = Task.status == TaskStatus.RUNNING.value
DISPATCHED = Task.dispatched_at.is_not(None)
DUE_AGAIN = {"dispatch_at": NOW, "dispatched_at": None}


def anything_due(db: Session) -> bool:
    """Whether a message is owed for any row."""
    with transaction(db):
        return bool(db.scalar(select(exists().where(PENDING, Task.dispatch_at <= STATEMENT_TIME))))


def send_again(db: Session, ids: Select[UUID]) -> int:
    """Make a batch of these pending rows due again. Returns how many."""
    statement = update(Task).where(Task.id.in_(batch(ids, BATCH)), PENDING).values(DUE_AGAIN).returning(Task.id)
    with transaction(db):
        return len(db.execute(statement.execution_options(synchronize_session=False)).all())


def resend_all(db: Session) -> int:
    """Make every dispatched row due again: the broker has lost them all. Returns how many."""
    count = 0
    while True:
        taken = send_again(db, select(Task.id).where(PENDING, DISPATCHED))
        count += taken
        if taken < BATCH:
            return count


def rescue_lost(db: Session, *, silent_too: bool) -> int:
    """End the attempts of workers that have said goodbye and, with `silent_too`, of those whose lease is over."""
    lease = timedelta(seconds=get_settings().worker_lease_seconds)
    worker = WorkerProcess
    gone: ColumnElement[bool] = worker.stopped_at.is_not(None)
    if silent_too:
        # No worker's row at all (it never came to register, or was forgotten): the task's own age decides.
        # A claim is a sign of life as well: after a partition a child may be back before its parent beats again.
        unheard = func.greatest(worker.heartbeat_at, Task.started_at) < NOW - lease
        gone = gone | unheard
    attempts = (
        select(Task.id)
        .outerjoin(worker, worker.id == Task.worker_id)
        .where(RUNNING, gone)
        .limit(BATCH)
        .with_for_update(of=Task, skip_locked=True)
    )
    with transaction(db):
        ids = list(db.scalars(attempts))
        return rescue.lost(db, Task.id.in_(ids)) if ids else 0


def revoke_expired(db: Session) -> int:
    """Pending tasks past their `expires_at` never start. Returns how many were revoked."""
    over = Task.expires_at <= STATEMENT_TIME
    rows = batch(select(Task.id).where(PENDING, over), BATCH)
    statement = transition(
        TaskStatus.REVOKED,
        Task.id.in_(rows),
        over,
        sources=[TaskStatus.PENDING],
        values={"status_reason": "expired"},
    )
    with transaction(db):
        revoked = [row.id for row in db.execute(statement)]
        hints.changes(db, *revoked)
        return len(revoked)


def delete_requested(db: Session) -> int:
    """Delete the tasks whose deletion was asked for while they ran, now that they have ended."""
    ended = Task.status.in_(sorted(TERMINAL))
    rows = batch(select(Task.id).where(Task.delete_requested_at.is_not(None), ended), BATCH)
    with transaction(db):
        statement = delete(Task).where(Task.id.in_(rows)).returning(Task.id)
        return len(db.execute(statement.execution_options(synchronize_session=False)).all())


def forget_workers(db: Session) -> int:
    """Drop the rows of workers that are long gone and hold nothing."""
    holds = exists().where(RUNNING, Task.worker_id == WorkerProcess.id)
    statement = delete(WorkerProcess).where(WorkerProcess.heartbeat_at < STATEMENT_TIME - FORGET_WORKERS_AFTER, ~holds)
    with transaction(db):
        rows = db.execute(statement.returning(WorkerProcess.id).execution_options(synchronize_session=False)).all()
        return len(rows)
