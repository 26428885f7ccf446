"""Revokes the pending tasks past their `expires_at`: they never start."""

from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.sql import maintenance
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task import Task
from app.services.execution import ends

BATCH = 500


def revoke_expired(db: Session) -> int:
    """Revoke a batch of them. Returns how many."""
    with transaction(db):
        ids = maintenance.expired_tasks(db, BATCH)
        return ends.end_tasks(db, ends.expired(), Task.id.in_(ids)) if ids else 0


def _run(db: Session, _: Round) -> None:
    revoke_expired(db)


PASS = Pass("revoke_expired", EACH_ROUND, Needs.DATABASE, _run)
