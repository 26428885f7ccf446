"""Revokes the pending tasks past their `expires_at`: they never start."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements.batches import lock_batch
from app.db.statements.conditions import has_rows
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task import IS_PENDING, Task
from app.services.execution import ends

BATCH = 500
_EXPIRED = select(Task.id).where(IS_PENDING, Task.expires_at <= STATEMENT_TIME)


def revoke_expired(db: Session) -> int:
    """Revoke a batch of them. Returns how many."""
    with transaction(db):
        ids = lock_batch(db, _EXPIRED, BATCH)
        return ends.end_tasks(db, ends.expired(), Task.id.in_(ids)) if ids else 0


def _run(db: Session, _: Round) -> None:
    revoke_expired(db)


def _has_work() -> ColumnElement[bool]:
    return has_rows(_EXPIRED.order_by(Task.expires_at))


PASS = Pass("revoke_expired", EACH_ROUND, Needs.DATABASE, _run, _has_work)
