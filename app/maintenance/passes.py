"""The passes of maintenance over the table. Each is one short transaction, or several in batches, and may run twice."""

import logging
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, exists
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.db.clock import STATEMENT_TIME
from app.db.every_engine.turns import PLACE_BATCH
from app.db.outage import is_locked
from app.db.rows import changed_rows
from app.db.session import transaction
from app.db.sql import batches, claim_holds, maintenance, retention, turns
from app.models.task import IS_RUNNING, TERMINAL, Task
from app.models.worker import WorkerProcess
from app.services.execution import ends

logger = logging.getLogger(__name__)

BATCH = 500
# Deleting large values takes time: one batch of a user's tasks deletes at most so many bytes, or one task.
TRIM_BYTES = 64 * 1024**2
TRIM_USERS = 10
# However little a user may keep: a client has this long to read a result.
SPARED = timedelta(hours=1)

# Rows of workers that stopped this long ago are of no use.
FORGET_WORKERS_AFTER = timedelta(days=1)


def place_due(db: Session) -> None:
    """Give every pending task that has become due its turn, in batches.

    A transaction that holds the turns of its users, and is not over yet, delays the tasks of those users alone.
    """
    if _place_all(db):
        return
    with transaction(db):
        users = turns.users_to_place(db)
    for user_id in users:
        _place_all(db, user_id)


def _place_all(db: Session, user_id: UUID | None = None) -> bool:
    """Place all that is due, of all users or of this one. Returns False where another transaction is in the way."""
    placed = PLACE_BATCH
    try:
        while placed == PLACE_BATCH:
            with transaction(db):
                placed = turns.place_due(db, user_id)
    except OperationalError as error:
        if not is_locked(error):
            raise
        return False
    return True


def forget_claimed_turns(db: Session) -> int:
    """Delete the turns that claims have passed: one for each line says where it stands. Returns how many."""
    with transaction(db):
        return turns.forget_claimed_turns(db)


def ready_queues(db: Session) -> list[str]:
    """The queues in which a task could start now."""
    with transaction(db):
        return turns.ready_queues(db, sorted(known_queues() - claim_holds.paused_queues(db)))


def rescue_lost(db: Session, *, silent_for: timedelta | None) -> int:
    """End the attempts of stopped workers, and of workers without a heartbeat for that long. Returns how many."""
    with transaction(db):
        ids = maintenance.attempts_of_lost_workers(db, silent_for, BATCH)
        ended = ends.end_tasks(db, ends.lost(), Task.id.in_(ids)) if ids else 0
    for task_id in ids:
        logger.warning("maintenance: task %s: its worker is lost, and the attempt has ended", task_id)
    return ended


def revoke_expired(db: Session) -> int:
    """Revoke pending tasks past their `expires_at`: they never start. Returns how many."""
    with transaction(db):
        ids = maintenance.expired_tasks(db, BATCH)
        return ends.end_tasks(db, ends.expired(), Task.id.in_(ids)) if ids else 0


def delete_requested(db: Session) -> int:
    """Delete ended tasks whose deletion was requested while they ran. Returns how many."""
    ended = Task.status.in_(sorted(TERMINAL))
    with transaction(db):
        return batches.delete_batch(db, Task, Task.delete_requested_at.is_not(None), ended, limit=BATCH)


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
            deleted, freed = retention.delete_oldest(db, user_id, wanted, SPARED, BATCH)
        more = more or deleted == BATCH or (freed >= wanted and stored - freed > limit)
        if deleted:
            logger.info(
                "maintenance: %d tasks of user %s deleted by RETENTION_BYTES: %d bytes", deleted, user_id, freed
            )
    return more


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
