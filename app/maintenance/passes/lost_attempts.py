"""Ends the attempts that lost workers held."""

import logging
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements.batches import lock_batch
from app.db.statements.conditions import has_rows
from app.db.statements.expressions import greatest
from app.ddl.clock import NOW
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task import IS_RUNNING, Task
from app.models.worker import WorkerProcess
from app.services.execution import ends

logger = logging.getLogger(__name__)

BATCH = 500


def end_lost_attempts(db: Session, *, silent_for: timedelta | None) -> int:
    """End the attempts of stopped workers, and of workers without a heartbeat for that long. Returns how many."""
    with transaction(db):
        ids = _attempts_of_lost_workers(db, silent_for, BATCH)
        ended = ends.end_tasks(db, ends.lost(_how(silent_for)), Task.id.in_(ids)) if ids else 0
    for task_id in ids:
        logger.warning("maintenance: task %s: its worker is lost, and the attempt has ended", task_id)
    return ended


def _how(silent_for: timedelta | None) -> str:
    return "its worker has stopped" + (
        f", or sent no heartbeat for {silent_for.total_seconds():g} s" if silent_for else ""
    )


def _attempts_of_lost_workers(db: Session, silent_for: timedelta | None, limit: int) -> list[UUID]:
    """The running tasks, at most `limit`, of workers that have stopped; their rows are locked until the commit.

    With `silent_for` also those of workers without a heartbeat for that time.
    """
    # In subqueries: FOR UPDATE would lock the workers of a join, and their heartbeats would wait.
    worker = WorkerProcess.id == Task.worker_id
    stopped_at = select(WorkerProcess.stopped_at).where(worker).scalar_subquery()
    gone: ColumnElement[bool] = stopped_at.is_not(None)
    if silent_for is not None:
        # Without a row of the worker (it never registered, or was forgotten) the task's own age decides.
        # A claim is a sign of life too: after a partition a child may be back before its parent's next heartbeat.
        heartbeat_at = select(WorkerProcess.heartbeat_at).where(worker).scalar_subquery()
        sign_of_life = greatest(Task.started_at, func.coalesce(heartbeat_at, Task.started_at))
        gone = gone | (sign_of_life < NOW - silent_for)
    attempts = select(Task.id).where(IS_RUNNING, gone)
    # Found without locks first: nearly always there is none, and an UPDATE of a running task would wait for its look.
    found = db.scalars(attempts.limit(limit)).all()
    return lock_batch(db, attempts.where(Task.id.in_(found)), limit) if found else []


def _run(db: Session, this: Round) -> None:
    end_lost_attempts(db, silent_for=this.silent_for)


def _has_work() -> ColumnElement[bool]:
    return has_rows(select(Task.id).where(IS_RUNNING))


PASS = Pass("end_lost_attempts", EACH_ROUND, Needs.DATABASE, _run, _has_work)
