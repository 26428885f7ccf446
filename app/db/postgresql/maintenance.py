"""The statements of maintenance: the leader's lease, and rows that several processes share out (SKIP LOCKED)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, bindparam, case, column, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW, STATEMENT_TIME
from app.db.postgresql.batches import batch
from app.db.postgresql.schema.types import TextList
from app.db.postgresql.transitions import move_tasks
from app.db.rows import changed_rows
from app.models.maintenance import MaintenanceLease
from app.models.task import Task, TaskStatus
from app.models.worker import WorkerProcess

LEASE_ROW = 1
PENDING = Task.status == TaskStatus.PENDING.value
RUNNING = Task.status == TaskStatus.RUNNING.value
DISPATCHED = Task.dispatched_at.is_not(None)


def take_lease(db: Session, me: UUID, lease: timedelta, rescue_pause: timedelta) -> tuple[bool, str | None] | None:
    """Take or renew the lease for the time `lease`; None while another process holds it.

    After a gap of a third of `rescue_pause` without a renewal, and in a new row, rescuing waits for `rescue_pause`.
    Returns whether rescuing is allowed now, and the stored broker epoch.
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
        MaintenanceLease.rescue_after <= NOW, MaintenanceLease.broker_epoch
    )
    # Read first: ON CONFLICT locks the row even where it changes nothing, and most processes stand by.
    if db.execute(select(~mine).where(MaintenanceLease.id == LEASE_ROW)).scalar_one_or_none():
        return None
    row = db.execute(statement).one_or_none()
    return None if row is None else (row[0], row[1])


def make_due_again(db: Session, ids: Select[UUID], limit: int) -> int:
    """Make a batch of these pending tasks due again, at most `limit`. Returns how many."""
    statement = update(Task).where(Task.id.in_(batch(ids, limit)), PENDING)
    due = {"dispatch_at": NOW, "dispatched_at": None}
    return changed_rows(db.execute(statement.values(due).execution_options(synchronize_session=False)))


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
    attempts = select(Task.id).outerjoin(worker, worker.id == Task.worker_id).where(RUNNING, gone).limit(limit)
    return list(db.scalars(attempts.with_for_update(of=Task, skip_locked=True)))


def revoke_expired(db: Session, limit: int) -> list[UUID]:
    """Revoke a batch of the pending tasks past their `expires_at`. Returns the ids of the revoked ones."""
    over = Task.expires_at <= STATEMENT_TIME
    rows = batch(select(Task.id).where(PENDING, over), limit)
    values = {"status_reason": "expired"}
    return move_tasks(db, TaskStatus.REVOKED, Task.id.in_(rows), over, sources=[TaskStatus.PENDING], values=values)


_LINES = (
    func.unnest(bindparam("p_queues", type_=TextList), bindparam("p_priorities", type_=TextList))
    .table_valued(column("queue", Text), column("priority", Text), name="lines")
    .render_derived()
)
_OLDEST = (
    select(Task.id, Task.dispatched_at)
    .where(PENDING, DISPATCHED, Task.queue == _LINES.c.queue, Task.priority == _LINES.c.priority)
    .order_by(Task.dispatched_at)
    .limit(1)
    .lateral("oldest")
)
_OLDEST_OF_LINES = select(_LINES.c.queue, _LINES.c.priority, _OLDEST.c.id, NOW).select_from(
    _LINES.join(_OLDEST, true())
)


def oldest_dispatched(
    db: Session, lines: Sequence[tuple[str, str]], older_than: timedelta
) -> list[tuple[str, str, UUID, datetime]]:
    """The oldest dispatched pending task of each line (queue, priority), if it was sent that long ago.

    One index lookup for each line. Returns queue, priority, the task's id, and the database's time.
    """
    statement = _OLDEST_OF_LINES.where(_OLDEST.c.dispatched_at < STATEMENT_TIME - older_than)
    queues, priorities = [queue for queue, _ in lines], [priority for _, priority in lines]
    rows = db.execute(statement, {"p_queues": queues, "p_priorities": priorities})
    return [(row[0], row[1], row[2], row[3]) for row in rows]
