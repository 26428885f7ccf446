"""What maintenance deletes: requested tasks, what exceeds RETENTION_BYTES, old rows, files nobody sees."""

import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import claim_holds, files, retention
from app.db.statements.batches import delete_batch
from app.db.statements.dependencies import is_needed
from app.db.statements.reads import has_rows
from app.db.statements.tables import CLAIMED_TURNS
from app.db.statements.writes import changed_rows
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.rounds import AT_NEXT_ROUND, EACH_MINUTE, EACH_ROUND, Needs, Pass, Round
from app.models.task import IS_RUNNING, TERMINAL, Task
from app.models.task_count import FORGET_BATCH
from app.models.worker import WorkerProcess
from app.services.bulk import steps
from app.services.files.deletion import delete_dropped, reason_of
from app.services.operations import error_group_service, stats_service
from app.services.schedules import runs as schedule_runs
from app.services.tasks import task_counts
from app.storage import storage

logger = logging.getLogger(__name__)

REQUESTED_BATCH = 500
_REQUESTED = (Task.delete_requested_at.is_not(None), or_(*(Task.status == status.value for status in sorted(TERMINAL))))


def delete_requested(db: Session) -> int:
    """Delete a batch of them. Returns how many."""
    with transaction(db):
        return delete_batch(db, Task, *_REQUESTED, ~is_needed(), limit=REQUESTED_BATCH)


def _delete_requested(db: Session, _: Round) -> None:
    delete_requested(db)


def _any_is_requested() -> ColumnElement[bool]:
    return has_rows(select(Task.id).where(*_REQUESTED))


DELETE_REQUESTED = Pass("delete_requested", EACH_ROUND, Needs.DATABASE, _delete_requested, _any_is_requested)


# -- Deletes what users keep beyond RETENTION_BYTES: one batch of each, and the next at the next round -----------------

TRIM_SECONDS = 2.0
TRIM_BATCH = 500
# Deleting large values takes time: one batch of a user's tasks deletes at most so many bytes, or one task.
TRIM_BYTES = 64 * 1024**2
TRIM_USERS = 10
# However little a user may keep: a client has this long to read a result.
SPARED = timedelta(hours=1)


def trim_stored(db: Session, limit: int) -> bool:
    """Delete the tasks that ended first, of users whose ended tasks take more than `limit` bytes.

    Deletes one batch of each of a few users, and returns whether it may have left more to delete. A task stays for an
    hour after its end, also if it alone is larger than `limit`; then all that ended before it goes.
    """
    with transaction(db):
        found = retention.users_beyond(db, limit, TRIM_USERS)
    more = len(found) == TRIM_USERS
    for user_id, stored in found:
        wanted = min(stored - limit, TRIM_BYTES)
        with transaction(db):
            deleted, freed = retention.delete_oldest(db, user_id, wanted, SPARED, TRIM_BATCH)
        more = more or deleted == TRIM_BATCH or (freed >= wanted and stored - freed > limit)
        if deleted:
            logger.info(
                "maintenance: %d tasks of user %s deleted by RETENTION_BYTES: %d bytes", deleted, user_id, freed
            )
    return more


def _trim(db: Session, this: Round) -> float | None:
    limit = this.settings.retention_bytes
    return AT_NEXT_ROUND if limit and trim_stored(db, limit) else None


TRIM_STORED = Pass("trim_stored", TRIM_SECONDS, Needs.DATABASE, _trim)


# -- Deletes what is of no use any more. Where more of it may be left, the next round goes on --------------------------

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
    return this.run_batches(db, stats_service.forget_stats, stats_service.FORGET_BATCH)


def _error_groups(db: Session, this: Round) -> float | None:
    return this.run_batches(db, error_group_service.forget_error_groups, error_group_service.FORGET_BATCH)


def _schedule_runs(db: Session, this: Round) -> float | None:
    return this.run_batches(db, schedule_runs.forget, schedule_runs.FORGET_BATCH)


FORGET_PASSES = tuple(
    Pass(f"forget{run.__name__}", EACH_MINUTE, Needs.DATABASE, run)
    for run in (_workers, _claimed_turns, _sums, _bulk, _stats, _error_groups, _schedule_runs)
)


# -- Files and artifacts: drops what nobody will see, and has the bytes of what is dropped deleted ---------------------

FILES_SECONDS, EACH_HOUR, FILES_BATCH = 2.0, 3600.0, 500
# An object store that does not answer: the process gives up before.
DELETE_SECONDS = 120


def _drop_files(db: Session, this: Round) -> float | None:
    return _in_batches(files.drop_what_is_over, db, this)


def _delete_contents(db: Session, _: Round) -> None:
    waiting = files.dropped(db, 1)
    db.rollback()
    if not waiting:
        return
    if storage().deletes_in_process:
        error = delete_dropped(db)
        reason = None if error is None else reason_of(error)
    else:
        reason = _delete_in_another_process()
    if reason is not None:
        logger.warning("contents of deleted files stay in the storage for now: %s. See STORAGE_URL", reason)


def _delete_in_another_process() -> str | None:
    """Return why something stays."""
    command = [sys.executable, "-m", "app.services.files.deletion"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DELETE_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return "it does not answer"
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else None


def _forget_uses(db: Session, this: Round) -> float | None:
    return _in_batches(files.forget_uses, db, this)


def _in_batches(statement: Callable[[Session, int], int], db: Session, this: Round) -> float | None:
    def batch(db: Session) -> int:
        with transaction(db):
            return statement(db, FILES_BATCH)

    return this.run_batches(db, batch, FILES_BATCH)


def _there_are_dropped_files() -> ColumnElement[bool]:
    return has_rows(files.to_be_deleted())


DROP_FILES = Pass("drop_files", FILES_SECONDS, Needs.DATABASE, _drop_files, files.is_any_over)
DELETE_CONTENTS = Pass("delete_contents", FILES_SECONDS, Needs.THREAD, _delete_contents, _there_are_dropped_files)
FORGET_USES = Pass("forget_uses_of_files", EACH_HOUR, Needs.DATABASE, _forget_uses)
