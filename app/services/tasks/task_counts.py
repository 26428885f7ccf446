"""Exact numbers of tasks, and the upkeep of the sums behind them."""

from dataclasses import replace

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.outage import is_locked
from app.db.session import transaction
from app.db.sql import maintenance, task_counts, task_filter
from app.db.statements import task_counting
from app.models.task import TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.services.operations import error_adding, stats_adding
from app.services.operations.live_workers import look

FOLD_BATCH = 1000


def fold(db: Session) -> int:
    """Add a batch of changes to the sums, to the numbers by time, and to the groups of failures.

    Returns how many; fewer than FOLD_BATCH were all there were, or all that can be done now: the deletion of a user may
    take long, and keeps the groups of that user locked.
    """
    try:
        with transaction(db):
            maintenance.wait_briefly(db)
            folded = task_counts.fold(db, FOLD_BATCH)
            stats_adding.add_ended(db, folded.now, folded.ended)
            error_adding.add(db, folded.now, folded.ended)
            return folded.taken
    except OperationalError as error:
        if not is_locked(error):
            raise
        return 0


def forget_zeros(db: Session) -> int:
    """Delete a batch of the sums that are 0, such as those of deleted users. Returns how many."""
    with transaction(db):
        return task_counts.forget_zeros(db)


def by_reason(db: Session, wanted: TaskFilter) -> dict[WaitingReason, int]:
    """How many pending tasks wait for each reason that any waits for."""
    look(db)
    return task_counts.count_by_reason(db, wanted)


def reads_many(wanted: TaskFilter) -> bool:
    """Whether the number is counted from rows or entries of an index, and not read from the sums."""
    return bool(task_filter.of_rows(replace(wanted, error=None)))


def count(db: Session, wanted: TaskFilter) -> dict[str, int]:
    """How many tasks there are, in all (`total`) and of each status. Exact."""
    if wanted.waiting_for is not None:
        look(db)
    by_status = task_counting.by_status(db, wanted, task_filter.of_rows(wanted))
    return {"total": sum(by_status.values()), **{str(status): by_status.get(status, 0) for status in TaskStatus}}
