"""Deletes what is of no use any more. Where more of it may be left, the next round goes on."""

from datetime import timedelta

from sqlalchemy import delete, exists
from sqlalchemy.orm import Session

from app.db.clock import STATEMENT_TIME
from app.db.rows import changed_rows
from app.db.session import transaction
from app.db.sql import claim_holds, turns
from app.maintenance.rounds import EACH_MINUTE, Needs, Pass, Round
from app.models.task import IS_RUNNING, Task
from app.models.task_count import FORGET_BATCH
from app.models.worker import WorkerProcess
from app.services.bulk import steps
from app.services.operations import error_adding, stats_adding
from app.services.tasks import task_counts

# Rows of workers that stopped this long ago are of no use.
FORGET_WORKERS_AFTER = timedelta(days=1)


def forget_workers(db: Session) -> int:
    """Delete the rows of workers that stopped long ago and hold no task, and drains of workers that are gone.

    Returns how many workers.
    """
    holds = exists().where(IS_RUNNING, Task.worker_id == WorkerProcess.id)
    statement = delete(WorkerProcess).where(WorkerProcess.heartbeat_at < STATEMENT_TIME - FORGET_WORKERS_AFTER, ~holds)
    with transaction(db):
        forgotten = changed_rows(db.execute(statement.execution_options(synchronize_session=False)))
        claim_holds.forget_drains(db)
    return forgotten


def forget_claimed_turns(db: Session) -> int:
    """Delete the turns that claims have passed: one for each line says where it stands. Returns how many."""
    with transaction(db):
        return turns.forget_claimed_turns(db)


def _workers(db: Session, _: Round) -> None:
    forget_workers(db)


def _claimed_turns(db: Session, _: Round) -> None:
    forget_claimed_turns(db)


def _sums(db: Session, this: Round) -> float | None:
    return this.run_batches(db, task_counts.forget_zeros, FORGET_BATCH)


def _bulk(db: Session, this: Round) -> float | None:
    return this.run_batches(db, steps.forget_finished, steps.FORGET_BATCH)


def _stats(db: Session, this: Round) -> float | None:
    return this.run_batches(db, stats_adding.forget, stats_adding.FORGET_BATCH)


def _error_groups(db: Session, this: Round) -> float | None:
    return this.run_batches(db, error_adding.forget, error_adding.FORGET_BATCH)


PASSES = tuple(
    Pass(f"forget{run.__name__}", EACH_MINUTE, Needs.DATABASE, run)
    for run in (_workers, _claimed_turns, _sums, _bulk, _stats, _error_groups)
)
