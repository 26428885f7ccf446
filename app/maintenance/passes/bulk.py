"""Does bulk deeds, as long as there are running ones: in each round, a step for each user who has any."""

from threading import Event

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.db.statements.conditions import has_rows
from app.maintenance.rounds import AT_NEXT_ROUND, Needs, Pass, Round
from app.maintenance.steps import Steps, take_steps as take_steps_of
from app.models.bulk_deed import BulkDeed, DeedState
from app.services.bulk import steps

IDLE_SECONDS = 0.5
DEEDS = Steps("bulk: a batch of deed", steps.running, steps.step, "its user can abort it")


def take_steps(db: Session, stopping: Event) -> bool:
    """Take one step for each user who has a running deed. Returns whether any has moved."""
    return take_steps_of(db, DEEDS, stopping)


def _run(db: Session, this: Round) -> float | None:
    return AT_NEXT_ROUND if take_steps(db, this.stopping) else None


def _has_work() -> ColumnElement[bool]:
    return has_rows(select(BulkDeed.id).where(BulkDeed.state == DeedState.RUNNING.value))


PASS = Pass("do_bulk", IDLE_SECONDS, Needs.THREAD, _run, _has_work)
