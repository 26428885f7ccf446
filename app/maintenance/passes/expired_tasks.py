"""Revokes the pending tasks past their `expires_at`: they never start."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements.batches import lock_batch
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task import IS_PENDING, Task
from app.services.execution import ends

BATCH = 500


def revoke_expired(db: Session) -> int:
    """Revoke a batch of them. Returns how many."""
    with transaction(db):
        ids = lock_batch(db, select(Task.id).where(IS_PENDING, Task.expires_at <= STATEMENT_TIME), BATCH)
        return ends.end_tasks(db, ends.expired(), Task.id.in_(ids)) if ids else 0


def _run(db: Session, _: Round) -> None:
    revoke_expired(db)


PASS = Pass("revoke_expired", EACH_ROUND, Needs.DATABASE, _run)
