"""The statements of maintenance: the leader's lease, and rows that several processes share out (SKIP LOCKED)."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.clock import NOW, STATEMENT_TIME
from app.db.connecting import of
from app.db.rows import changed_rows
from app.db.statements.assigning import assign
from app.db.statements.batches import lock_batch
from app.db.statements.expressions import greatest
from app.db.statements.upserting import engine_name, upsert
from app.models.maintenance import LEASE_ROW, MaintenanceLease
from app.models.task import IS_PENDING, IS_RUNNING, Task
from app.models.worker import WorkerProcess

_LOCK_SECONDS = 0.2
_LEASES = Base.metadata.tables[MaintenanceLease.__tablename__]


def wait_briefly(db: Session) -> None:
    """Let the statements of this transaction raise OperationalError (`is_locked`) where others keep them waiting.

    A pass must not stand still for one transaction that is not over. MySQL waits for a second. SQLite waits as always:
    there each pass would wait for the one writer.
    """
    of(engine_name(db)).limit_lock_waits(db.connection(), _LOCK_SECONDS)


def take_lease(db: Session, me: UUID, lease: timedelta, rescue_pause: timedelta) -> bool | None:
    """Take or renew the lease for the time `lease`; None while another process holds it.

    After a gap of a third of `rescue_pause` without a renewal, and in a new row, rescuing waits for `rescue_pause`.
    Returns whether rescuing is allowed now.
    """
    row = _LEASES.c
    # At its very end too: SQLite tells milliseconds, and a release ends the lease at once.
    mine = (row.holder == me) | (row.expires_at <= NOW)
    # Read first, without a lock: most processes stand by.
    is_mine = db.execute(select(mine).where(row.id == LEASE_ROW)).scalar_one_or_none()
    if is_mine is None:
        now = db.execute(select(NOW)).scalar_one()
        first = {"id": LEASE_ROW, "holder": me, "expires_at": now + lease, "rescue_after": now + rescue_pause}
        upsert(db, _LEASES, [first])
    elif not is_mine:
        return None
    gap = row.renewed_at < NOW - rescue_pause / 3
    renewed = {
        "holder": me,
        "renewed_at": NOW,
        "expires_at": NOW + lease,
        "rescue_after": case((gap, NOW + rescue_pause), else_=row.rescue_after),
    }
    renewal = assign(update(_LEASES).where(row.id == LEASE_ROW, mine), renewed)
    if not changed_rows(db.execute(renewal)):
        return None
    return db.execute(select(row.rescue_after <= NOW).where(row.id == LEASE_ROW)).scalar_one()


def attempts_of_lost_workers(db: Session, silent_for: timedelta | None, limit: int) -> list[UUID]:
    """The running tasks, at most `limit`, of workers that have stopped; their rows are locked until the commit.

    With `silent_for` also those of workers without a heartbeat for that time.
    """
    # In subqueries: FOR UPDATE would lock the workers of a join, and their heartbeats would wait.
    worker = WorkerProcess.id == Task.worker_id
    stopped_at = select(WorkerProcess.stopped_at).where(worker).scalar_subquery()
    gone: ColumnElement[bool] = stopped_at.is_not(None)
    if silent_for is not None:
        # Without a row of the worker (it never registered, or was forgotten) the task's own age decides.
        # A claim is a sign of life too: after a partition a child may be back before its parent's next heartbeat.
        heartbeat_at = select(WorkerProcess.heartbeat_at).where(worker).scalar_subquery()
        sign_of_life = greatest(Task.started_at, func.coalesce(heartbeat_at, Task.started_at))
        gone = gone | (sign_of_life < NOW - silent_for)
    attempts = select(Task.id).where(IS_RUNNING, gone)
    # Found without locks first: nearly always there is none, and an UPDATE of a running task would wait for its look.
    found = db.scalars(attempts.limit(limit)).all()
    return lock_batch(db, attempts.where(Task.id.in_(found)), limit) if found else []


def expired_tasks(db: Session, limit: int) -> list[UUID]:
    """A batch of the pending tasks past their `expires_at`. Their rows are locked until the commit."""
    return lock_batch(db, select(Task.id).where(IS_PENDING, Task.expires_at <= STATEMENT_TIME), limit)
