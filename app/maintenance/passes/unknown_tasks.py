"""Takes the tasks out of the way of claims that no live worker knows."""

import logging

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.core.served_tasks import served_tasks
from app.db.session import transaction
from app.db.sql import held_tasks
from app.db.statements.conditions import has_rows
from app.db.statements.held_rows import PENDING, Lines, is_held
from app.db.statements.tables import TASKS
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task import Held, TaskPriority
from app.services.operations.live_workers import look

logger = logging.getLogger(__name__)

# Statements over the front of the lines, and batches of tasks that are known again, in one pass.
MOST_ROUNDS = 10
BATCH = 500


def _run(db: Session, _this: Round) -> None:
    """Hold the tasks that no live worker of their queue knows, and let those go on that one knows again."""
    with transaction(db):
        look(db)
    for queues, names in served_tasks().served() or []:
        for _ in range(MOST_ROUNDS):
            with transaction(db):
                released = held_tasks.release_known(db, queues, names, BATCH)
            if released < BATCH:
                break
        if names is None:
            continue
        lines = [(queue, priority.value) for queue in queues for priority in TaskPriority]
        for _ in range(MOST_ROUNDS):
            with transaction(db):
                held = held_tasks.hold_unknown(db, Lines([q for q, _ in lines], [p for _, p in lines]), names)
            if not held:
                break
            logger.warning("maintenance: %d tasks of %s wait: no live worker knows them", held, ", ".join(queues))


def _has_work() -> ColumnElement[bool]:
    # Those to hold are ready: the wake-ups look for these.
    return has_rows(select(TASKS.c.id).where(PENDING, is_held(Held.NAME)))


PASS = Pass("hold_unknown_tasks", EACH_ROUND, Needs.DATABASE, _run, _has_work)
