"""The statements on claim holds: paused queues, and workers that drain.

A hold must stop every claim from its commit on, also one that had begun before. So each claim first locks one row, the
guard, in share mode (`lock_for_claim`) until its commit, and who adds a hold locks it exclusively: he waits for the
claims that are under way, and those that come later wait for his commit and read what he has written. The guard is a
hold of no queue. On SQLite a transaction that locks has the database to itself. On PostgreSQL a trigger stops what is
held (`app/ddl/postgresql.py`), and the guard is the lock of the table.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, String, bindparam, delete, exists, select, text
from sqlalchemy.orm import Session

from app.core.engines import MYSQL, POSTGRESQL
from app.db.statements.batches import BY_PRIMARY_KEY, delete_by_key
from app.db.statements.writes import changed_rows, engine_name, upsert
from app.db.transactions import Executes, Transaction
from app.ddl.columns import Base
from app.models.queue import ClaimHold, HoldKind
from app.models.worker import WorkerProcess

_TABLE = Base.metadata.tables[ClaimHold.__tablename__]
# No queue has this name. It is the first by the primary key: who locks the rows in this order locks the guard first.
_NO_NAME = ""
_GUARD = (HoldKind.QUEUE.value, _NO_NAME)
# InnoDB reads a table in the order of the key that it is told to use, and locks each row as it is read.
_ALL = (
    select(_TABLE.c.kind, _TABLE.c.name)
    .order_by(_TABLE.c.kind, _TABLE.c.name)
    .with_hint(_TABLE, BY_PRIMARY_KEY, MYSQL)
    .with_for_update(read=True)
)


def lock_for_claim(db: Transaction, worker_id: UUID) -> set[str] | None:
    """Return the paused queues; None where this worker drains. No hold is committed until this transaction is over.

    Waits for a hold that is being added.
    """
    found = [tuple(row) for row in db.execute(_ALL)]
    if _GUARD not in found:
        _lock_guard(db)
        found = [tuple(row) for row in db.execute(_ALL)]
    if (HoldKind.WORKER.value, str(worker_id)) in found:
        return None
    return {name for kind, name in found if kind == HoldKind.QUEUE.value and name != _NO_NAME}


def hold(db: Session, kind: HoldKind, name: str, reason: str | None, held_by: UUID | None) -> datetime:
    """Have nothing of this queue, or by this worker, begin once this transaction is committed. Commit soon.

    Waits for the claims that are not over yet, and lets the others wait for the commit. A hold that is there already
    keeps its time, and takes the new reason. Returns that time.
    """
    _lock_guard(db)
    row = {"kind": kind.value, "name": name, "reason": reason, "held_by": held_by}
    upsert(db, _TABLE, [row], lambda _, new: {"reason": new.reason, "held_by": new.held_by})
    return db.execute(select(ClaimHold.since).where(*_of_hold(kind, name))).scalar_one()


def _lock_guard(db: Transaction) -> None:
    """Lock it exclusively until the transaction ends. It is added where it is missing: once in a database's life."""
    if engine_name(db) == POSTGRESQL:
        db.execute(text("LOCK TABLE claim_holds IN EXCLUSIVE MODE"))
        return
    upsert(db, _TABLE, [dict(zip(("kind", "name"), _GUARD, strict=True))])


def forget(db: Session, kind: HoldKind, name: str) -> None:
    """End a hold."""
    db.execute(delete(ClaimHold).where(*_of_hold(kind, name)).execution_options(synchronize_session=False))


_IS_HELD = select(
    exists().where(
        ClaimHold.kind == bindparam("p_kind", type_=String), ClaimHold.name == bindparam("p_name", type_=String)
    )
)


def is_held(db: Executes, kind: HoldKind, name: str) -> bool:
    """Return whether the queue is paused, or the worker drains. One round trip on a prepared connection."""
    (held,) = db.execute(_IS_HELD, {"p_kind": kind.value, "p_name": name}).one_or_none()
    return bool(held)


def _of_hold(kind: HoldKind, name: str) -> tuple[ColumnElement[bool], ...]:
    return ClaimHold.kind == kind.value, ClaimHold.name == name


def held(db: Session, kind: HoldKind) -> Sequence[tuple[str, datetime, str | None, UUID | None]]:
    """Return name, beginning, reason and user of each hold."""
    columns = (ClaimHold.name, ClaimHold.since, ClaimHold.reason, ClaimHold.held_by)
    found = select(*columns).where(ClaimHold.kind == kind.value, ClaimHold.name != _NO_NAME)
    return db.execute(found).all()


def paused_queues(db: Session) -> set[str]:
    """Return the names of the paused queues."""
    return {name for name, *_ in held(db, HoldKind.QUEUE)}


def forget_drains(db: Session) -> int:
    """Delete the holds of workers that were killed while they drained. Returns how many."""
    names = {name for name, *_ in held(db, HoldKind.WORKER)}
    if not names:
        return 0
    alive = select(WorkerProcess.id).where(WorkerProcess.id.in_(map(UUID, names)), WorkerProcess.stopped_at.is_(None))
    gone = names - {str(worker_id) for worker_id in db.scalars(alive)}
    if not gone:
        return 0
    named = (ClaimHold.kind == HoldKind.WORKER.value, ClaimHold.name.in_(gone))
    return changed_rows(db.execute(delete_by_key(ClaimHold).where(*named).execution_options(synchronize_session=False)))
