"""Numbers of tasks: exact ones, the upkeep of the sums behind them, and how often a value occurs."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.outage import is_locked
from app.db.session import transaction
from app.db.sql import counts as statements, prepared
from app.db.statements import reads, task_filter, task_numbers, task_streams
from app.db.statements.task_filter import own_index
from app.db.transactions import wait_briefly
from app.models.task import ACTIVE, Task, TaskStatus
from app.models.task_count import task_count_changes, task_counts, task_totals
from app.models.task_filter import TaskFilter
from app.services.operations import error_group_service, metrics, stats_service
from app.services.operations.worker_service import look_at_workers
from app.services.tasks.task_queries import PAGE_LOOK

FOLD_BATCH = 1000


def fold(db: Session) -> int:
    """Add a batch of changes to the sums, to the numbers by time, to the counters, and to the groups of failures.

    Returns how many; fewer than FOLD_BATCH were all there were, or all that can be done now: the deletion of a user may
    take long, and keeps the groups of that user locked.
    """
    try:
        with transaction(db):
            wait_briefly(db)
            folded = statements.fold_changes(db, FOLD_BATCH)
            stats_service.add_ended_tasks(db, folded.now, folded.ended)
            metrics.add_ended(db, folded.ended)
            error_group_service.add_failures(db, folded.now, folded.ended)
            return folded.taken
    except OperationalError as error:
        if not is_locked(error):
            raise
        return 0


def by_reason(db: Session, wanted: TaskFilter) -> dict[str, int]:
    """Return how many pending tasks wait for each `WaitingReason` that any waits for, or word of a newer version."""
    look_at_workers(db)
    pending = (Task.status == TaskStatus.PENDING.value, *task_filter.conditions(wanted))
    # Every pending task is read.
    rows = sa.select(task_filter.waiting_reason().label("reason")).where(*pending).subquery()
    found = db.execute(sa.select(rows.c.reason, sa.func.count()).group_by(rows.c.reason))
    return {reason: int(number) for reason, number in found}


def reads_many(wanted: TaskFilter) -> bool:
    """Return whether the number is counted from rows or entries of an index, and not read from the sums."""
    return bool(task_filter.of_rows(replace(wanted, error=None)))


@cache
def _of_users() -> sa.Select[*tuple[Any, ...]]:
    """The numbers of tasks of `users` by status: those that have ended from the sums, the others from their index."""
    parts = [
        sa.select(table.c.user_id, table.c.status, table.c.number).where(reads.is_one_of(table.c.user_id, "users"))
        for table in (task_totals, task_count_changes)
    ]
    for status in sorted(ACTIVE):
        number, word = sa.func.count().label("number"), sa.literal(status.value).label("status")
        of_users = reads.is_one_of(Task.user_id, "users")
        parts.append(
            sa.select(Task.user_id, word, number).where(Task.status == status, of_users).group_by(Task.user_id)
        )
    found = sa.union_all(*parts).subquery()
    return sa.select(found.c.user_id, found.c.status, sa.func.sum(found.c.number)).group_by(
        found.c.user_id, found.c.status
    )


def count_of_users(db: sa.Connection, users: Collection[UUID]) -> dict[UUID, dict[str, int]]:
    """Return how many tasks each of these users has of each status. Exact: one statement, one snapshot."""
    counts = {user: dict.fromkeys(map(str, TaskStatus), 0) for user in users}
    for user, status, number in prepared.execute_prepared(db, _of_users(), {"users": list(users)}):
        counts[user][str(status)] = int(number)
    return counts


def of_users(db: Session, users: Collection[UUID]) -> dict[UUID, dict[str, int]]:
    """Return `count_of_users` in a transaction of its own."""
    with transaction(db):
        return count_of_users(db.connection(), users)


def count(db: Session, wanted: TaskFilter) -> dict[str, int]:
    """Return how many tasks there are, in all (`total`) and of each status. Exact."""
    if wanted.waiting_for is not None:
        look_at_workers(db)
    by_status = task_numbers.numbers_by_status(db, wanted, task_filter.of_rows(wanted))
    return {"total": sum(by_status.values()), **{str(status): by_status.get(status, 0) for status in TaskStatus}}


# -- How often each value of a field occurs among the tasks that a filter finds: the ways to narrow a search down ------

# Rows that are counted one by one, and values of a field that are told.
MOST_COUNTED_ROWS = 1000
MOST_VALUES = 8
# Fields that the sums of ended tasks have, and one that stands in the rows alone.
_FIELDS_OF_SUMS = ("status", "queue", "celery_task_name", "user_id")
FACET_FIELDS = (*_FIELDS_OF_SUMS, "tag")
_FACET_COLUMNS = (*_FIELDS_OF_SUMS, "tags")


@dataclass(frozen=True)
class FacetValue:
    """A value of a field, and in how many tasks it is; in more than that if it `is_more`."""

    value: Any
    number: int
    is_more: bool


def read_facets(db: Session, wanted: TaskFilter, fields: Sequence[str] = FACET_FIELDS) -> dict[str, list[FacetValue]]:
    """Return the values that occur most, of each of these fields.

    Up to MOST_COUNTED_ROWS tasks are counted. Of more, the ended ones are read from the sums where these have the
    filter and the field; other numbers are those of the newest tasks, and are marked. Has DATABASE_COSTLY_READ_SECONDS.
    """
    rows, is_all = _newest_values(db, wanted, _FACET_COLUMNS, get_settings().costly_read_seconds)
    newest = {field: _counted_values(field, rows) for field in fields}
    if is_all or reads_many(wanted) or own_index(wanted) is not None:
        return {field: _largest_values(numbers, is_more=not is_all) for field, numbers in newest.items()}
    active, has_all = _active_values(db, wanted)
    return {
        field: _largest_values(_values_of_sums(db, wanted, field, _counted_values(field, active)), is_more=not has_all)
        if field in _FIELDS_OF_SUMS
        else _largest_values(numbers, is_more=True)
        for field, numbers in newest.items()
    }


def count_newest(db: Session, wanted: TaskFilter) -> tuple[int, bool] | None:
    """Return how many tasks match, MOST_COUNTED_ROWS of the newest at most, and whether there are more.

    None if that takes longer than DATABASE_COSTLY_READ_SECONDS.
    """
    seconds = get_settings().costly_read_seconds
    found = reads.read_within(db, seconds, lambda: _newest_values(db, wanted, ("id",), seconds))
    return None if found is None else (len(found[0]), not found[1])


def _newest_values(
    db: Session, wanted: TaskFilter, columns: Sequence[str], seconds: float
) -> tuple[Sequence[sa.Row[Any]], bool]:  # fmt: skip
    reads.limit_read(db, seconds)
    if wanted.waiting_for is not None:
        look_at_workers(db)
    return task_streams.values_of_newest(db, wanted, columns, MOST_COUNTED_ROWS, PAGE_LOOK)


def _counted_values(field: str, rows: Iterable[sa.Row[Any]]) -> Counter[Any]:
    if field == "tag":
        return Counter(tag for row in rows for tag in row.tags)
    return Counter(getattr(row, field) for row in rows)


def _largest_values(numbers: Counter[Any], *, is_more: bool) -> list[FacetValue]:
    most = sorted(numbers.items(), key=lambda each: (-each[1], str(each[0])))[:MOST_VALUES]
    return [FacetValue(value, number, is_more) for value, number in most if number > 0]


def _values_of_sums(db: Session, wanted: TaskFilter, field: str, active: Counter[Any]) -> Counter[Any]:
    """Return in how many tasks each value is that most ended ones have, or most active ones."""
    parts = [
        sa.select(table.c[field].label("value"), table.c.number).where(
            *task_numbers.conditions_on_numbers(table, wanted)
        )
        for table in (task_counts, task_count_changes)
    ]
    found = sa.union_all(*parts).subquery()
    number = sa.func.sum(found.c.number)
    sums = sa.select(found.c.value, number).group_by(found.c.value)
    largest = sums.order_by(number.desc()).limit(MOST_VALUES)
    frequent = active.most_common(MOST_VALUES)
    named = sums.where(found.c.value.in_([value for value, _ in frequent]))
    ended = {value: int(counted) for statement in (largest, named) for value, counted in db.execute(statement)}
    return Counter({value: ended.get(value, 0) + active[value] for value in {*ended, *dict(frequent)}})


def _active_values(db: Session, wanted: TaskFilter) -> tuple[list[sa.Row[Any]], bool]:
    """Return the tasks that have not ended, MOST_COUNTED_ROWS of each state at most, and whether these are all."""
    rows: list[sa.Row[Any]] = []
    has_all = True
    for status in sorted(ACTIVE & set(wanted.status) if wanted.status else ACTIVE):
        found, is_all = task_streams.values_of_state(db, wanted, status, _FACET_COLUMNS, MOST_COUNTED_ROWS, PAGE_LOOK)
        rows += found
        has_all = has_all and is_all
    return rows, has_all
