"""Deletes the tasks whose deletion was requested while they ran, once they have ended."""

from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements.batches import delete_batch
from app.db.statements.dependencies import is_needed
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task import TERMINAL, Task

BATCH = 500


def delete_requested(db: Session) -> int:
    """Delete a batch of them. Returns how many."""
    ended = Task.status.in_(sorted(TERMINAL))
    with transaction(db):
        return delete_batch(db, Task, Task.delete_requested_at.is_not(None), ended, ~is_needed(), limit=BATCH)


def _run(db: Session, _: Round) -> None:
    delete_requested(db)


PASS = Pass("delete_requested", EACH_ROUND, Needs.DATABASE, _run)
