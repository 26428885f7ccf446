"""Deletes what is of no use any more. Where more of it may be left, the next round goes on."""

from datetime import timedelta

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from app.db.rows import changed_rows
from app.db.session import transaction
from app.db.statements import claim_holds
from app.db.statements.tables import CLAIMED_TURNS
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.rounds import EACH_MINUTE, Needs, Pass, Round
from app.models.task import IS_RUNNING, Task
from app.models.task_count import FORGET_BATCH
from app.models.worker import WorkerProcess
from app.services.bulk import steps
from app.services.operations import error_adding, stats_adding
from app.services.schedules import runs as schedule_runs
from app.services.tasks import task_counts

# Rows of workers that stopped this long ago are of no use.
FORGET_WORKERS_AFTER = timedelta(days=1)

FORGET_TURNS = 1000


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
    claimed, number = CLAIMED_TURNS.c, 0
    clocks = select(claimed.queue, claimed.priority, func.max(claimed.turn)).group_by(claimed.queue, claimed.priority)
    with transaction(db):
        for queue, priority, clock in db.execute(clocks).all():
            line = (claimed.queue == queue, claimed.priority == priority)
            # Not those of claims that are not committed yet: they would have this wait.
            passed = select(claimed.turn).where(*line, claimed.turn < clock).with_for_update(skip_locked=True)
            found = db.scalars(passed).all()
            for at in range(0, len(found), FORGET_TURNS):
                batch = claimed.turn.in_(found[at : at + FORGET_TURNS])
                number += changed_rows(db.execute(delete(CLAIMED_TURNS).where(*line, batch)))
    return number


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


def _schedule_runs(db: Session, this: Round) -> float | None:
    return this.run_batches(db, schedule_runs.forget, schedule_runs.FORGET_BATCH)


PASSES = tuple(
    Pass(f"forget{run.__name__}", EACH_MINUTE, Needs.DATABASE, run)
    for run in (_workers, _claimed_turns, _sums, _bulk, _stats, _error_groups, _schedule_runs)
)
