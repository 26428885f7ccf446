"""Ends the attempts that lost workers held."""

import logging
from datetime import timedelta

from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.sql import maintenance
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task import Task
from app.services.execution import ends

logger = logging.getLogger(__name__)

BATCH = 500


def end_lost_attempts(db: Session, *, silent_for: timedelta | None) -> int:
    """End the attempts of stopped workers, and of workers without a heartbeat for that long. Returns how many."""
    with transaction(db):
        ids = maintenance.attempts_of_lost_workers(db, silent_for, BATCH)
        ended = ends.end_tasks(db, ends.lost(), Task.id.in_(ids)) if ids else 0
    for task_id in ids:
        logger.warning("maintenance: task %s: its worker is lost, and the attempt has ended", task_id)
    return ended


def _run(db: Session, this: Round) -> None:
    end_lost_attempts(db, silent_for=this.silent_for)


PASS = Pass("end_lost_attempts", EACH_ROUND, Needs.DATABASE, _run)
