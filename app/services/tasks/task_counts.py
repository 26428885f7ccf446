"""Exact numbers of tasks, and the upkeep of the sums behind them."""

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.outage import is_locked
from app.db.session import transaction
from app.db.sql import prepared, task_counts as statements
from app.db.statements import conditions, task_counting, task_filter, waiting
from app.db.statements.executing import wait_briefly
from app.db.statements.some_rows import delete_some
from app.models.task import ACTIVE, Task, TaskStatus, WaitingReason
from app.models.task_count import FORGET_BATCH, stored_bytes, task_count_changes, task_counts, task_totals
from app.models.task_filter import TaskFilter
from app.services.operations import error_adding, stats_adding, task_sums
from app.services.operations.live_workers import look

FOLD_BATCH = 1000
_SUMS = (task_counts.c.number, task_totals.c.number, stored_bytes.c.bytes)


def fold(db: Session) -> int:
    """Add a batch of changes to the sums, to the numbers by time, to the counters, and to the groups of failures.

    Returns how many; fewer than FOLD_BATCH were all there were, or all that can be done now: the deletion of a user may
    take long, and keeps the groups of that user locked.
    """
    try:
        with transaction(db):
            wait_briefly(db)
            folded = statements.fold(db, FOLD_BATCH)
            stats_adding.add_ended(db, folded.now, folded.ended)
            task_sums.add_ended(db, folded.ended)
            error_adding.add(db, folded.now, folded.ended)
            return folded.taken
    except OperationalError as error:
        if not is_locked(error):
            raise
        return 0


def forget_zeros(db: Session) -> int:
    """Delete a batch of the sums that are 0, such as those of deleted users: of each table. Returns how many in all."""
    with transaction(db):
        return sum(delete_some(db, column.table, column == 0, limit=FORGET_BATCH) for column in _SUMS)


def by_reason(db: Session, wanted: TaskFilter) -> dict[WaitingReason, int]:
    """How many pending tasks wait for each reason that any waits for."""
    look(db)
    pending = (Task.status == TaskStatus.PENDING.value, *task_filter.conditions(wanted))
    # Every pending task is read.
    rows = sa.select(waiting.reason().label("reason")).where(*pending).subquery()
    found = db.execute(sa.select(rows.c.reason, sa.func.count()).group_by(rows.c.reason))
    return {WaitingReason(name): int(number) for name, number in found}


def reads_many(wanted: TaskFilter) -> bool:
    """Whether the number is counted from rows or entries of an index, and not read from the sums."""
    return bool(task_filter.of_rows(replace(wanted, error=None)))


@cache
def _of_users() -> sa.Select[*tuple[Any, ...]]:
    """The numbers of tasks of `users` by status: those that have ended from the sums, the others from their index."""
    parts = [
        sa.select(table.c.user_id, table.c.status, table.c.number).where(conditions.is_one_of(table.c.user_id, "users"))
        for table in (task_totals, task_count_changes)
    ]
    for status in sorted(ACTIVE):
        number, word = sa.func.count().label("number"), sa.literal(status.value).label("status")
        of_users = conditions.is_one_of(Task.user_id, "users")
        parts.append(
            sa.select(Task.user_id, word, number).where(Task.status == status, of_users).group_by(Task.user_id)
        )
    found = sa.union_all(*parts).subquery()
    return sa.select(found.c.user_id, found.c.status, sa.func.sum(found.c.number)).group_by(
        found.c.user_id, found.c.status
    )


def count_of_users(db: sa.Connection, users: Collection[UUID]) -> dict[UUID, dict[str, int]]:
    """How many tasks each of these users has of each status. Exact: one statement, one snapshot."""
    counts = {user: dict.fromkeys(map(str, TaskStatus), 0) for user in users}
    for user, status, number in prepared.execute_prepared(db, _of_users(), {"users": list(users)}):
        counts[user][str(status)] = int(number)
    return counts


def of_users(db: Session, users: Collection[UUID]) -> dict[UUID, dict[str, int]]:
    """As `count_of_users`. One transaction."""
    with transaction(db):
        return count_of_users(db.connection(), users)


def count(db: Session, wanted: TaskFilter) -> dict[str, int]:
    """How many tasks there are, in all (`total`) and of each status. Exact."""
    if wanted.waiting_for is not None:
        look(db)
    by_status = task_counting.by_status(db, wanted, task_filter.of_rows(wanted))
    return {"total": sum(by_status.values()), **{str(status): by_status.get(status, 0) for status in TaskStatus}}
