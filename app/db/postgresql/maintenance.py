"""The statements of maintenance: the leader's lease, and rows that several processes share out (SKIP LOCKED)."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW, STATEMENT_TIME
from app.db.postgresql.batches import batch
from app.models.maintenance import LEASE_ROW, MaintenanceLease
from app.models.task import IS_PENDING, IS_RUNNING, Task
from app.models.worker import WorkerProcess

_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '200ms'")


def wait_briefly(db: Session) -> None:
    """Let the statements of this transaction raise OperationalError (`is_locked`) where others keep them waiting.

    A pass must not stand still for one transaction that is not over.
    """
    db.execute(_LOCK_TIMEOUT)


def take_lease(db: Session, me: UUID, lease: timedelta, rescue_pause: timedelta) -> bool | None:
    """Take or renew the lease for the time `lease`; None while another process holds it.

    After a gap of a third of `rescue_pause` without a renewal, and in a new row, rescuing waits for `rescue_pause`.
    Returns whether rescuing is allowed now.
    """
    mine = (MaintenanceLease.holder == me) | (MaintenanceLease.expires_at < NOW)
    first = insert(MaintenanceLease).values(
        id=LEASE_ROW, holder=me, expires_at=NOW + lease, rescue_after=NOW + rescue_pause
    )
    gap = MaintenanceLease.renewed_at < NOW - rescue_pause / 3
    renewed = {
        "holder": me,
        "renewed_at": NOW,
        "expires_at": NOW + lease,
        "rescue_after": case((gap, NOW + rescue_pause), else_=MaintenanceLease.rescue_after),
    }
    statement = first.on_conflict_do_update(index_elements=[MaintenanceLease.id], set_=renewed, where=mine).returning(
        MaintenanceLease.rescue_after <= NOW
    )
    # Read first: ON CONFLICT locks the row even where it changes nothing, and most processes stand by.
    if db.execute(select(~mine).where(MaintenanceLease.id == LEASE_ROW)).scalar_one_or_none():
        return None
    return db.execute(statement).scalar_one_or_none()


def attempts_of_lost_workers(db: Session, silent_for: timedelta | None, limit: int) -> list[UUID]:
    """The running tasks, at most `limit`, of workers that have stopped; their rows are locked until the commit.

    With `silent_for` also those of workers without a heartbeat for that time.
    """
    worker = WorkerProcess
    gone: ColumnElement[bool] = worker.stopped_at.is_not(None)
    if silent_for is not None:
        # Without a row of the worker (it never registered, or was forgotten) the task's own age decides.
        # A claim is a sign of life too: after a partition a child may be back before its parent's next heartbeat.
        gone = gone | (func.greatest(worker.heartbeat_at, Task.started_at) < NOW - silent_for)
    attempts = select(Task.id).outerjoin(worker, worker.id == Task.worker_id).where(IS_RUNNING, gone).limit(limit)
    return list(db.scalars(attempts.with_for_update(of=Task, skip_locked=True)))


def expired_tasks(db: Session, limit: int) -> list[UUID]:
    """A batch of the pending tasks past their `expires_at`. Their rows are locked until the commit."""
    return list(db.scalars(batch(select(Task.id).where(IS_PENDING, Task.expires_at <= STATEMENT_TIME), limit)))
