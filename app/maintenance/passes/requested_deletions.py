"""Deletes the tasks whose deletion was requested while they ran, once they have ended."""

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements.batches import delete_batch
from app.db.statements.conditions import has_rows
from app.db.statements.dependencies import is_needed
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task import TERMINAL, Task

BATCH = 500
_REQUESTED = (Task.delete_requested_at.is_not(None), or_(*(Task.status == status.value for status in sorted(TERMINAL))))


def delete_requested(db: Session) -> int:
    """Delete a batch of them. Returns how many."""
    with transaction(db):
        return delete_batch(db, Task, *_REQUESTED, ~is_needed(), limit=BATCH)


def _run(db: Session, _: Round) -> None:
    delete_requested(db)


def _has_work() -> ColumnElement[bool]:
    return has_rows(select(Task.id).where(*_REQUESTED))


PASS = Pass("delete_requested", EACH_ROUND, Needs.DATABASE, _run, _has_work)
